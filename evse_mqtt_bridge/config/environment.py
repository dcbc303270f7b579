"""Reads settings from environment variables, which override the configuration file.

`EVSE_MQTT_BRIDGE__MQTT__HOST` sets the key `host` in the table `mqtt`: two underscores separate levels, and case does
not matter. Text is used as it is; numbers, `true` and `false`, tables and arrays are JSON. Matching quotes around a
value are removed. A variable for a single key takes precedence over a variable for its table.
"""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from evse_mqtt_bridge.config.errors import Issue
from evse_mqtt_bridge.config.location import VARIABLE_PREFIX, unquoted
from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, setting_at, settings, variable_name

__all__ = ["Variable", "overlay", "read_variables"]

_INDEX = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable that is a setting; the value may be a secret."""

    name: str
    path: KeyPath
    value: object = field(repr=False)


def read_variables(environ: Mapping[str, str]) -> tuple[list[Variable], list[Issue]]:
    """Return the settings among the variables, and the errors in variables with the prefix of settings."""
    variables: dict[KeyPath, Variable] = {}
    issues = []
    for name, value in sorted(environ.items()):
        if not name.upper().startswith(VARIABLE_PREFIX):
            continue
        text = unquoted(value)
        path = _path(name)
        setting = setting_at(path)
        if setting is None or (setting.path[-1] == EACH and isinstance(path[-1], str)):
            issues.append(Issue((), f"unknown variable; did you mean {_closest(name, path)}?", name))
        elif path in variables:
            issues.append(Issue(path, f"is also set by {variables[path].name}; keep only one of them", name))
        elif setting.kind == "string" and not _is_text(text):
            issues.append(Issue(path, "is not UTF-8 text", name))
        else:
            try:
                variables[path] = Variable(name, path, _value(setting, text))
            except (ValueError, RecursionError):
                issues.append(Issue(path, f"expected {_expected(setting)}", name))
    return list(variables.values()), issues


def overlay(data: dict[str, Any], variables: Sequence[Variable]) -> list[Issue]:
    """Set the variables in `data`, in place, and return the errors.

    Tables come before their keys, and stations in their order. A secret and the file with the secret are alternatives,
    so setting one of them removes the other.
    """
    issues = []
    paths = {variable.path for variable in variables}
    for item in sorted(variables, key=lambda item: (_indices(item.path), len(item.path))):
        *outer, key = item.path
        try:
            table = _container(data, outer, empty=[] if isinstance(key, int) else {})
            if isinstance(key, int) and isinstance(table, list):
                table[key : key + 1] = [deepcopy(item.value)] if key <= len(table) else table[key]
            elif isinstance(key, str) and isinstance(table, dict):
                alternative = _alternative(key)
                if (*outer, alternative) not in paths:
                    table.pop(alternative, None)
                table[key] = deepcopy(item.value)
        except IndexError:
            issues.append(Issue(item.path, "stations are numbered from 0, without gaps", item.name))
    return issues


def _container(data: object, path: Sequence[str | int], empty: object) -> object:
    """Return the table or array at `path`, and create missing levels; `None` if a level is not a table or array.

    Raises:
        IndexError: The path skips an element of an array.
    """
    for part, following in zip(path, [*path, None][1:], strict=True):
        created = deepcopy(empty) if following is None else [] if isinstance(following, int) else {}
        if isinstance(part, int) and isinstance(data, list):
            if part == len(data):
                data.append(created)
            data = data[part]
        elif isinstance(part, str) and isinstance(data, dict):
            data = data.setdefault(part, created)
        else:
            return None
    return data


def _indices(path: KeyPath) -> list[int]:
    return [part for part in path if isinstance(part, int)]


def _alternative(key: str) -> str:
    return key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"


def _path(name: str) -> KeyPath:
    parts = name[len(VARIABLE_PREFIX) :].lower().split("__")
    return tuple(int(part) if _INDEX.fullmatch(part) else part for part in parts)


def _value(setting: Setting, text: str) -> object:
    """Return the value that a text represents.

    Raises:
        ValueError: The text is not a value of the setting's kind.
    """
    if setting.kind == "string":
        return text
    value = json.loads(text.lower() if setting.kind == "boolean" else text, object_pairs_hook=_unique)
    if isinstance(value, dict) != (setting.kind == "object") or isinstance(value, list) != (setting.kind == "array"):
        raise ValueError
    return value


def _expected(setting: Setting) -> str:
    """Return the text that a variable must have."""
    match setting.kind:
        case "object":
            return "a JSON object"
        case "array":
            return "a JSON array of objects" if setting.section else f"JSON: {setting.expected}"
    return setting.expected


def _is_text(text: str) -> bool:
    """Return whether a variable is valid UTF-8; Python represents other bytes by surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object; ValueError if a key occurs twice."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _closest(name: str, path: KeyPath) -> str:
    """Return the known variable that is most similar to `name`, with the same station index."""
    from difflib import get_close_matches  # noqa: PLC0415  # only an error needs it

    index = next(iter(_indices(path)), 0)
    known = [tuple(index if part == EACH else part for part in s.path) for s in settings() if not _in_free_table(s)]
    return get_close_matches(name.upper(), [variable_name(known_path) for known_path in known], n=1, cutoff=0)[0]


def _in_free_table(setting: Setting) -> bool:
    table = setting_at(setting.path[:-1])
    return table is not None and table.is_free
