"""The schema as a flat list of settings, to look up, name and print each key."""

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from pydantic.fields import FieldInfo

from evse_mqtt_bridge.config.location import VARIABLE_PREFIX
from evse_mqtt_bridge.config.schema import Config, StationConfig, StationTable
from evse_mqtt_bridge.config.section import Section
from evse_mqtt_bridge.support.text import clean

__all__ = ["EACH", "KeyPath", "Setting", "format_path", "setting_at", "settings", "variable_name"]

KeyPath = tuple[str | int, ...]
"""Path of a value: keys, and indices of arrays, from 0."""

EACH = "*"
"""Represents any index of an array, or any key of a free table, in the path of a setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration.

    Attributes:
        path: The path of the key, with EACH for any index.
        kind: "string", "integer", "number", "boolean", "object" or "array".
        expected: The values that are accepted, as text.
        description: The purpose of the key.
        default: The default; `None` if there is none.
        required: Whether the key has to be set.
        section: The class of a table, or of each table in an array; `None` for values and free tables.
    """

    path: KeyPath
    kind: str
    expected: str
    description: str = ""
    default: object = None
    required: bool = False
    section: type[Section] | None = None

    @property
    def is_free(self) -> bool:
        """Whether the setting is a table whose keys are chosen by the user."""
        return self.kind == "object" and self.section is None


_BARE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@cache
def settings() -> tuple[Setting, ...]:
    """Return every setting in the schema's order, each table before its keys."""
    return tuple(_settings(Config, ()))


@cache
def _by_path() -> Mapping[KeyPath, Setting]:
    return {setting.path: setting for setting in settings()}


def setting_at(path: KeyPath) -> Setting | None:
    """Return the setting of a value, or `None` for an unknown key."""
    general = tuple(EACH if isinstance(part, int) else part for part in path)
    found = _by_path().get(general)
    if found is None and path:
        table = _by_path().get(general[:-1])
        found = _by_path().get((*general[:-1], EACH)) if table is not None and table.is_free else None
    return found


def format_path(path: KeyPath) -> str:
    """Return a path as text, such as `stations[0].token`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part == EACH:
            text += "[]"
        else:
            text += "." + (part if _BARE.fullmatch(part) else json.dumps(clean(part), ensure_ascii=False))
    return text.removeprefix(".")


def variable_name(path: KeyPath) -> str:
    """Return the name of the environment variable that sets `path`."""
    return VARIABLE_PREFIX + "__".join(str(part) for part in path).upper()


def _settings(model: type[Section], prefix: KeyPath) -> Iterator[Setting]:
    schema, descriptions = model.model_json_schema(), _attribute_docstrings(model)
    for name, field in model.model_fields.items():
        rules = _rules(schema["properties"][name])
        path = (*prefix, name)
        section = _section(field)
        yield Setting(
            path=path,
            kind=rules["type"],
            expected=_expected(rules),
            description=" ".join(descriptions.get(name, "").split()),
            default=None if field.is_required() else field.get_default(call_default_factory=True),
            required=field.is_required(),
            section=section,
        )
        if section is not None and rules["type"] == "array":
            yield Setting((*path, EACH), "object", "a table", section=section)
            yield from _settings(section, (*path, EACH))
        elif rules["type"] == "array":
            yield Setting((*path, EACH), rules["items"]["type"], _expected(rules["items"]))
        elif section is not None:
            yield from _settings(section, path)
        elif rules["type"] == "object":
            values = rules["additionalProperties"]
            yield Setting((*path, EACH), values["type"], _expected(values))


def _attribute_docstrings(model: type[Section]) -> dict[str, str]:
    """Return the string literals that follow the attributes in the source of a class, by attribute."""
    [definition] = ast.parse(inspect.getsource(model)).body
    found = {}
    for statement, following in pairwise(ast.iter_child_nodes(definition)):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def _section(field: FieldInfo) -> type[Section] | None:
    """Return the Section in an annotation such as `Tls`, `Tls | None` or `tuple[StationConfig, ...]`."""
    for annotation in (field.annotation, *get_args(field.annotation)):
        candidate = StationTable if annotation is StationConfig else annotation
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _rules(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a value, without the alternative `null` of optional values."""
    alternatives = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    return {"type": "object", **alternatives[0]}  # a reference to another table has no type of its own


def _expected(rules: Mapping[str, Any]) -> str:
    """Return the values that a JSON Schema accepts, as text."""
    if "enum" in rules:
        *others, last = (f'"{choice}"' for choice in rules["enum"])
        return f"{', '.join(others)} or {last}"
    if "const" in rules:
        return f'"{rules["const"]}"'
    match rules["type"]:
        case "string":
            text = str(rules.get("expected", "text"))
            if "maxLength" in rules:
                minimum = f"{rules['minLength']} to" if "minLength" in rules else "at most"
                text = f"{text}, {minimum} {rules['maxLength']} characters"
        case "integer" | "number" as kind:
            noun = "a whole number" if kind == "integer" else "a number"
            text = f"{noun} from {rules['minimum']:g} to {rules['maximum']:g}"
        case "array" if rules["items"].get("type") == "string":
            text = f"an array of strings, each {rules['items'].get('expected', 'text')}"
        case kind:
            text = {"boolean": "true or false", "array": "an array of tables", "object": "a table"}[kind]
    return text
