"""Payload formats: numbers in their shortest decimal form, lower-case booleans, UTF-8 text, times in UTC with `Z`."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

__all__ = [
    "json_inner_text",
    "json_members",
    "json_object",
    "json_payload",
    "json_text",
    "json_texts",
    "number",
    "object_payload",
    "plain",
    "text_members",
    "timestamp",
]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Encodes a value as compact JSON. The encoder is shared, because thousands of messages need one."""


@lru_cache(maxsize=1024)  # a value goes into its own topic and into `state`, and many values repeat
def number(value: float) -> str:
    """Return a number in its shortest decimal form: no exponent, no trailing `.0`, no negative zero."""
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2] if value else "0"
    return format(Decimal(text), "f").removesuffix(".0") if "e" in text else text


@lru_cache(maxsize=64)  # one poll publishes the time of its measurement in several messages
def timestamp(value: datetime) -> str:
    """Return an aware time as ISO 8601 in UTC with `Z`, to the millisecond, or finer if the time is finer."""
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    if value.tzinfo is not UTC:  # nearly all are
        value = value.astimezone(UTC)
    return value.isoformat("T", precision)[:-6] + "Z"


def _boolean(value: bool) -> str:  # noqa: FBT001  # it formats one
    return "true" if value else "false"


_PLAIN: Mapping[type, Callable[[Any], str]] = {bool: _boolean, int: repr, float: number, datetime: timestamp}
"""The formats by exact type; every other value is a text."""


@lru_cache(maxsize=64)  # as above
def _quoted_timestamp(value: datetime) -> str:
    return f'"{timestamp(value)}"'


_JSON: Mapping[type, Callable[[Any], str]] = {**_PLAIN, datetime: _quoted_timestamp}
"""The same for JSON; a text is encoded, and a time has nothing to encode."""


def plain(value: object) -> str:
    """Return a value as the text of a plain topic."""
    return _PLAIN.get(type(value), str)(value)


def json_text(value: object) -> str:
    """Return a value as JSON, equal to its plain text; `None` becomes `null`."""
    return "null" if value is None else _JSON.get(type(value), encode_basestring)(value)


def json_texts(values: Iterable[object]) -> list[str]:
    """Return values as `json_text` does, without a call for each."""
    return ["null" if value is None else _JSON.get(type(value), encode_basestring)(value) for value in values]


def json_payload(content: object) -> bytes:
    """Return compact UTF-8 JSON. Lone surrogates, which UTF-8 cannot express, become `?`."""
    return _encode(content).encode(errors="replace")


def json_members(content: Mapping[str, object]) -> str:
    """Return the members of a JSON object as text, for `object_payload`; empty if there are none."""
    return _encode(content)[1:-1]


def json_inner_text(text: str) -> str:
    """Return a text as JSON without its quotes, as a part of a longer text."""
    return encode_basestring(text)[1:-1]


def text_members(content: Mapping[str, str]) -> str:
    """Return the members of a JSON object as `json_members` does: faster, for texts with plain keys."""
    return ",".join([f'"{key}":{encode_basestring(value)}' for key, value in content.items()])


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
