"""Reads an AsyncAPI document as a consumer does: validates it, lists its topics, checks payloads against it."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

__all__ = ["channel_by_topic", "document_errors", "payload_errors"]

_SPECIFICATION = Path(__file__).parent.parent / "fixtures" / "asyncapi-3.0.0.json"
_JSON_SCALARS = {"number", "integer", "boolean"}


@cache
def _specification() -> Draft7Validator:
    return Draft7Validator(json.loads(_SPECIFICATION.read_text()))


def document_errors(document: object) -> list[str]:
    """Return violations of the JSON Schema of AsyncAPI 3.0.0, and references that cannot be resolved."""
    violations = [f"{error.json_path}: {error.message[:200]}" for error in _specification().iter_errors(document)]
    return violations + [
        f"{reference} cannot be resolved"
        for reference in _references(document)
        if not _is_resolvable(document, reference)
    ]


def channel_by_topic(document: Mapping[str, Any]) -> dict[str, str]:
    """Map every topic to its channel: each address with each combination of its parameters' values."""
    return {
        definition["address"].format_map(values): channel
        for channel, definition in document["channels"].items()
        for values in _parameter_values(definition, document["components"]["parameters"])
    }


def payload_errors(document: Mapping[str, Any], channel: str, payload: str) -> list[str]:
    """Return violations of a channel's schema in a published payload."""
    message = document["components"]["messages"][channel]
    schema = document["components"]["schemas"][channel]
    assert message["payload"] == {"$ref": f"#/components/schemas/{channel}"}
    is_json = message["contentType"] == "application/json" or schema["type"] in _JSON_SCALARS
    value = json.loads(payload) if is_json else payload
    return [f"{channel}: {error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(value)]


def _parameter_values(definition: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, str]]:
    combinations: list[dict[str, str]] = [{}]
    for name in definition.get("parameters", {}):
        parameter = parameters[name]
        plugs_by_station = parameter.get("x-plugs")
        combinations = [
            {**values, name: value}
            for values in combinations
            for value in (
                plugs_by_station[values[name.replace("plug", "evse")]] if plugs_by_station else parameter["enum"]
            )
        ]
    return combinations


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _is_resolvable(document: object, reference: str) -> bool:
    part: Any = document
    for key in reference.removeprefix("#/").split("/"):
        if not isinstance(part, dict) or key not in part:
            return False
        part = part[key]
    return True
