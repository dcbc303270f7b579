"""Reads an AsyncAPI document as its consumers do: is it valid, which topics has it, does a payload fit."""

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
    """What the JSON Schema of AsyncAPI 3.0.0 has against a document, and references that lead nowhere."""
    found = [f"{error.json_path}: {error.message[:200]}" for error in _specification().iter_errors(document)]
    return found + [
        f"{reference} leads nowhere" for reference in _references(document) if not _leads(document, reference)
    ]


def channel_by_topic(document: Mapping[str, Any]) -> dict[str, str]:
    """Channel by topic: every address with each of the ids that its parameters can have."""
    return {
        about["address"].format_map(ids): channel
        for channel, about in document["channels"].items()
        for ids in _ids(about, document["components"]["parameters"])
    }


def payload_errors(document: Mapping[str, Any], channel: str, payload: str) -> list[str]:
    """What a channel's schema has against a payload as it was published."""
    message = document["components"]["messages"][channel]
    schema = document["components"]["schemas"][channel]
    assert message["payload"] == {"$ref": f"#/components/schemas/{channel}"}
    is_json = message["contentType"] == "application/json" or schema["type"] in _JSON_SCALARS
    value = json.loads(payload) if is_json else payload
    return [f"{channel}: {error.json_path}: {error.message}" for error in Draft7Validator(schema).iter_errors(value)]


def _ids(about: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, str]]:
    ids: list[dict[str, str]] = [{}]
    for name in about.get("parameters", {}):
        parameter = parameters[name]
        of_stations = parameter.get("x-plugs")
        ids = [
            {**before, name: value}
            for before in ids
            for value in (of_stations[before[name.replace("plug", "evse")]] if of_stations else parameter["enum"])
        ]
    return ids


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


def _leads(document: object, reference: str) -> bool:
    here: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if not isinstance(here, dict) or step not in here:
            return False
        here = here[step]
    return True
