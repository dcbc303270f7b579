"""Settings from environment variables, laid over those of the file.

`EVSE_MQTT_BRIDGE__MQTT__HOST` is the key `host` in the table `mqtt`: two underscores between levels, upper or lower
case alike. Text is taken as it is; numbers, `true` and `false`, tables and arrays are written as JSON. A variable
replaces what the file says, and one that names a single key wins over one that gives a whole table.
"""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from evse_mqtt_bridge.config.errors import Issue
from evse_mqtt_bridge.config.location import VARIABLE_PREFIX
from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, setting_at, settings, variable_name

__all__ = ["Variable", "overlay", "read_variables"]

_INDEX = re.compile(r"[0-9]{1,6}")
_IN_WORDS = {"object": "a JSON object", "array": "a JSON array of objects"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that is a setting: its name, the key that it sets, and the value, which may be a secret."""

    name: str
    path: KeyPath
    value: object = field(repr=False)


def read_variables(environ: Mapping[str, str]) -> tuple[list[Variable], list[Issue]]:
    """The settings among the variables, and what is wrong with those that begin like one."""
    variables: dict[KeyPath, Variable] = {}
    issues = []
    for name, text in sorted(environ.items()):
        if not name.upper().startswith(VARIABLE_PREFIX):
            continue
        path = _path(name)
        setting = setting_at(path)
        if setting is None or (setting.path[-1] == EACH and isinstance(path[-1], str)):
            issues.append(Issue((), f"unknown variable; {_nearest(name, path)}", name))
        elif path in variables:
            issues.append(Issue(path, f"is also set by {variables[path].name}; set one of them", name))
        elif setting.kind == "string" and not _is_text(text):
            issues.append(Issue(path, "is not UTF-8 text", name))
        else:
            try:
                variables[path] = Variable(name, path, _value(setting, text))
            except (ValueError, RecursionError):
                words = _IN_WORDS.get(setting.kind, setting.expected)
                issues.append(Issue(path, f"expected {words}", name))
    return list(variables.values()), issues


def overlay(data: dict[str, Any], variables: Sequence[Variable]) -> list[Issue]:
    """Sets the variables in `data`, in place: whole tables first, then single keys; station by station.

    A secret and the file that holds it are two ways to say one thing, so that setting either takes the place of both.
    """
    issues = []
    given = {variable.path for variable in variables}
    for item in sorted(variables, key=lambda item: (_indices(item.path), len(item.path))):
        *outer, key = item.path
        try:
            table = _inner(data, outer, empty=[] if isinstance(key, int) else {})
            if isinstance(key, int) and isinstance(table, list):
                table[key : key + 1] = [deepcopy(item.value)] if key <= len(table) else table[key]
            elif isinstance(key, str) and isinstance(table, dict):
                partner = _partner(key)
                if (*outer, partner) not in given:
                    table.pop(partner, None)
                table[key] = deepcopy(item.value)
        except IndexError:
            issues.append(Issue(item.path, "stations are counted from 0, without a gap", item.name))
    return issues


def _inner(data: object, path: Sequence[str | int], empty: object) -> object:
    """What stands at `path`, made where it is missing; `None` where the way is no table. IndexError for a gap."""
    for part, following in zip(path, [*path, None][1:], strict=True):
        made = deepcopy(empty) if following is None else [] if isinstance(following, int) else {}
        if isinstance(part, int) and isinstance(data, list):
            if part == len(data):
                data.append(made)
            data = data[part]
        elif isinstance(part, str) and isinstance(data, dict):
            data = data.setdefault(part, made)
        else:
            return None
    return data


def _indices(path: KeyPath) -> list[int]:
    return [part for part in path if isinstance(part, int)]


def _partner(key: str) -> str:
    return key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"


def _path(name: str) -> KeyPath:
    parts = name[len(VARIABLE_PREFIX) :].lower().split("__")
    return tuple(int(part) if _INDEX.fullmatch(part) else part for part in parts)


def _value(setting: Setting, text: str) -> object:
    """The value that a text stands for; ValueError for one that cannot be."""
    if setting.kind == "string":
        return text
    value = json.loads(text.lower() if setting.kind == "boolean" else text, object_pairs_hook=_unique)
    if isinstance(value, dict) != (setting.kind == "object") or isinstance(value, list) != (setting.kind == "array"):
        raise ValueError
    return value


def _is_text(text: str) -> bool:
    """Whether the bytes of a variable were UTF-8; Python has surrogates for those that were not."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _nearest(name: str, path: KeyPath) -> str:
    """Which known variable was meant; the index of a station is taken over from the name."""
    index = next(iter(_indices(path)), 0)
    known = [tuple(index if part == EACH else part for part in s.path) for s in settings() if not _in_free_table(s)]
    similar = get_close_matches(name.upper(), [variable_name(known_path) for known_path in known], n=1, cutoff=0)
    return f"the nearest known one is {similar[0]}"


def _in_free_table(setting: Setting) -> bool:
    table = setting_at(setting.path[:-1])
    return table is not None and table.is_free
