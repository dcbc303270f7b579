"""What is wrong with a configuration and at which key, before it is known on which line that stands."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, format_path, setting_at, settings

__all__ = ["QUOTES_HINT", "Issue", "printable", "validation_issues"]


QUOTES_HINT = "; text is written in double quotes"


class Issue(NamedTuple):
    """One thing that is wrong, in words without any value; `variable` where the environment's variable is at fault."""

    path: KeyPath
    message: str
    variable: str = ""


def printable(file: Path | None) -> str:
    """A file's name as part of one line."""
    name = str(file or "")
    return name if name.isprintable() else repr(name)


def validation_issues(error: ValidationError) -> Iterator[Issue]:
    """Pydantic's errors in the project's words."""
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        if path[-1] == "[key]":
            yield Issue(path[:-1], f"expected a key of {detail['ctx']['error']}")
        elif detail["type"] == "extra_forbidden":
            yield Issue(path, f"unknown key; {_nearest(path)}")
        elif detail["type"] == "missing":
            yield Issue(path, _missing(path))
        else:
            setting = setting_at(path)
            how = _how_to_write(setting, detail["input"]) if setting else ""
            yield Issue(path, f"expected {setting.expected if setting else 'something else'}{how}")


def _how_to_write(setting: Setting, given: object) -> str:
    """What to write, where what was given is of another type, and may look right all the same."""
    table = format_path(tuple(part for part in setting.path if part != EACH))
    match setting.kind, given:
        case "array", _:
            return f", each written as [[{table}]]"
        case "object", _ if setting.section is not None:
            return f", written as [[{table}]]" if EACH in setting.path else f", written as [{table}]"
        case "string", _ if not isinstance(given, str) and not setting.expected.startswith('"'):
            return QUOTES_HINT
        case "integer" | "number" | "boolean", str():
            return "; written without quotes"
    return ""


def _missing(path: KeyPath) -> str:
    other = (*path[:-1], f"{path[-1]}_file")
    if setting_at(other):
        return f"is missing; set {path[-1]}, or {path[-1]}_file"
    setting = setting_at(path)
    return f"is missing; expected {setting.expected if setting else 'a value'}"


def _nearest(path: KeyPath) -> str:
    """Which known key was meant: the same word in another table, a similar word in this one, or what there is."""
    word = str(path[-1]).lower().replace("-", "_")
    table = tuple(EACH if isinstance(part, int) else part for part in path[:-1])
    here = [str(s.path[-1]) for s in settings() if s.path[:-1] == table]
    same = [s.path for s in settings() if s.path[-1] == word]
    if same and word not in here:
        return f"the nearest known one is {format_path(max(same, key=lambda other: other[:1] == table[:1]))}"
    if similar := get_close_matches(word, here, n=1):
        return f"the nearest known one is {format_path((*path[:-1], similar[0]))}"
    return f"known here are {', '.join(here)}"
