"""Errors and warnings about a configuration, by key; load.py adds the line of the file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, format_path, setting_at, settings

__all__ = ["QUOTES_HINT", "Issue", "printable", "validation_issues"]


QUOTES_HINT = "; put text in double quotes"

_PORT_HINT = "write its port into mqtt.port"
_WEBSOCKET_HINT = f'{_PORT_HINT} and its path into mqtt.websocket_path, and set mqtt.transport = "websockets"'

_URL_HINTS: Mapping[str, str] = {
    **dict.fromkeys(("mqtt", "tcp"), _PORT_HINT),
    **dict.fromkeys(("mqtts", "ssl", "tls"), f"{_PORT_HINT}, and add [mqtt.tls]"),
    "ws": _WEBSOCKET_HINT,
    "wss": f"{_WEBSOCKET_HINT}; and add [mqtt.tls]",
}
"""What to do with a URL in place of `mqtt.host`, by its scheme."""


class Issue(NamedTuple):
    """An error or warning about one key; the message never contains a value, as that could be a secret.

    Attributes:
        path: The key; empty if an environment variable names no known key.
        message: The error, and what to do.
        variable: The environment variable that causes the issue, if any.
    """

    path: KeyPath
    message: str
    variable: str = ""


def printable(file: Path | None) -> str:
    """Return a file name that fits on one line."""
    name = str(file or "")
    return name if name.isprintable() else repr(name)


def validation_issues(error: ValidationError) -> Iterator[Issue]:
    """Translate Pydantic's errors."""
    for detail in error.errors(include_url=False):
        path = detail["loc"]
        if path[-1] == "[key]":
            yield Issue(path[:-1], f"expected a key of {detail['ctx']['error']}")
        elif detail["type"] == "extra_forbidden":
            yield Issue(path, f"unknown key; {_suggestion(path)}")
        elif detail["type"] == "missing":
            yield Issue(path, _missing(path))
        else:
            setting = setting_at(path)
            hint = _syntax_hint(setting, detail["input"]) if setting else ""
            yield Issue(path, f"expected {setting.expected if setting else 'something else'}{hint}")


def _syntax_hint(setting: Setting, value: object) -> str:
    """Return how to write a value whose type is wrong, as `"1883"` may look right to the user."""
    table = format_path(tuple(part for part in setting.path if part != EACH))
    match setting.kind, value:
        case "array", _ if setting.section is not None:
            return f", each written as [[{table}]]"
        case "object", _ if setting.section is not None:
            return f", written as [[{table}]]" if EACH in setting.path else f", written as [{table}]"
        case "string", str() if setting.path == ("mqtt", "host") and (hint := _URL_HINTS.get(value.split("://")[0])):
            return f"; {hint}"
        case "string", _ if not isinstance(value, str) and not setting.expected.startswith('"'):
            return QUOTES_HINT
        case "integer" | "number" | "boolean", str():
            return "; remove the quotes"
    return ""


def _missing(path: KeyPath) -> str:
    alternative = (*path[:-1], f"{path[-1]}_file")
    if setting_at(alternative):
        return f"is missing; set {path[-1]} or {path[-1]}_file"
    setting = setting_at(path)
    return f"is missing; expected {setting.expected if setting else 'a value'}"


def _suggestion(path: KeyPath) -> str:
    """Suggest the same key in another table, else a similar key in this table, else list this table's keys."""
    name = str(path[-1]).lower().replace("-", "_")
    table = tuple(EACH if isinstance(part, int) else part for part in path[:-1])
    keys = [str(setting.path[-1]) for setting in settings() if setting.path[:-1] == table]
    same_name = [setting.path for setting in settings() if setting.path[-1] == name]
    if same_name and name not in keys:
        return f"did you mean {format_path(max(same_name, key=lambda other: other[:1] == table[:1]))}?"
    from difflib import get_close_matches  # noqa: PLC0415  # only an error needs it

    if similar := get_close_matches(name, keys, n=1):
        return f"did you mean {format_path((*path[:-1], similar[0]))}?"
    return f"known keys: {', '.join(keys)}"
