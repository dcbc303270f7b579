"""Payload formats: numbers in their shortest decimal form, lower-case booleans, UTF-8 text, times in UTC with `Z`."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

__all__ = [
    "json_inner_text",
    "json_members",
    "json_object",
    "json_payload",
    "json_text",
    "number",
    "object_payload",
    "plain",
    "shortest",
    "timestamp",
]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Encodes a value as compact JSON. The encoder is shared, because thousands of messages need one."""


def number(value: float) -> str:
    """Return a number in its shortest decimal form: no exponent, no trailing `.0`, no negative zero."""
    if value == int(value):
        return str(int(value))
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


def shortest(value: float) -> float:
    """Return a number so that `json_payload` writes it in its shortest form, without a trailing `.0`."""
    return int(value) if value == int(value) else value


def timestamp(value: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with `Z`, to the millisecond, or finer if the time is finer."""
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def plain(value: object) -> str:
    """Return a value as the text of a plain topic."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number(value)
        case datetime():
            return timestamp(value)
    return str(value)


def json_text(value: object) -> str:
    """Return a value as JSON, equal to its plain text; `None` becomes `null`."""
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return plain(value)
    return _encode(plain(value))


def json_payload(content: object) -> bytes:
    """Return compact UTF-8 JSON. Lone surrogates, which UTF-8 cannot express, become `?`."""
    return _encode(content).encode(errors="replace")


def json_members(content: Mapping[str, object]) -> str:
    """Return the members of a JSON object as text, for `object_payload`; empty if there are none."""
    return _encode(content)[1:-1]


def json_inner_text(text: str) -> str:
    """Return a text as JSON without its quotes, as a part of a longer text."""
    return _encode(text)[1:-1]


def object_payload(members: Iterable[str]) -> bytes:
    """Return the JSON object with these members as `json_payload` does; an empty text adds none."""
    return f"{{{','.join(filter(None, members))}}}".encode(errors="replace")


def json_object(payload: bytes) -> dict[str, object]:
    """Return the JSON object in a payload; an empty one if the payload is anything else."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
