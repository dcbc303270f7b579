"""Reads and writes the encodings of MQTT that the filter of incoming packets needs."""

from collections.abc import Mapping
from enum import IntEnum

__all__ = [
    "LENGTH_BYTES",
    "Property",
    "end_of_properties",
    "number_of",
    "read_properties",
    "text_of",
    "variable_integer",
    "write_variable_integer",
]

LENGTH_BYTES = 4
"""Maximum size of a variable byte integer, in bytes."""

_MORE = 0x80


class Property(IntEnum):
    """The properties that the bridge reads from CONNACK and DISCONNECT (MQTT 5, section 2.2.2.2)."""

    SERVER_KEEP_ALIVE = 19
    REASON = 31
    RECEIVE_MAXIMUM = 33
    MAXIMUM_QOS = 36
    RETAIN_AVAILABLE = 37
    MAXIMUM_PACKET_SIZE = 39


_INTEGERS: Mapping[int, int] = {
    **dict.fromkeys((1, 23, 25, 36, 37, 40, 41, 42), 1),
    **dict.fromkeys((19, 33, 34, 35), 2),
    **dict.fromkeys((2, 17, 24, 39), 4),
}
"""The size in bytes of each property that is an integer."""

_TEXTS: Mapping[int, int] = {**dict.fromkeys((3, 8, 9, 18, 21, 22, 26, 28, 31), 1), 38: 2}
"""The number of texts in each property that is a text, binary data or a pair of texts."""


def variable_integer(data: bytes, position: int) -> tuple[int, int] | None:
    """Return a variable byte integer (MQTT 5, section 1.5.5) and the position after it.

    Return `None` if it is incomplete or takes more than four bytes.
    """
    if position < len(data) and (byte := data[position]) < _MORE:  # as in most packets
        return byte, position + 1
    value = 0
    for count, byte in enumerate(data[position : position + LENGTH_BYTES]):
        value |= (byte & ~_MORE) << 7 * count
        if byte < _MORE:
            return value, position + count + 1
    return None


def write_variable_integer(value: int) -> bytes:
    """Return a number as a variable byte integer."""
    encoded = bytearray()
    while value >= _MORE:
        encoded.append(value % _MORE | _MORE)
        value //= _MORE
    encoded.append(value)
    return bytes(encoded)


def end_of_properties(body: bytes, position: int) -> int | None:
    """Return where the properties at `position` end, without reading them; `None` if their length is malformed."""
    found = variable_integer(body, position)
    return None if found is None else sum(found)


def read_properties(body: bytes, position: int) -> dict[int, int | bytes]:
    """Return the properties at `position` as far as they are well-formed: integers, and the last text of each id."""
    found = variable_integer(body, position)
    properties: dict[int, int | bytes] = {}
    if found is None:
        return properties
    length, position = found
    end = min(len(body), position + length)
    while position < end:
        identifier = body[position]
        position += 1
        if size := _INTEGERS.get(identifier):
            properties[identifier] = int.from_bytes(body[position : position + size])
            position += size
        elif count := _TEXTS.get(identifier):
            for _ in range(count):
                start = position + 2
                position = start + int.from_bytes(body[position:start])
                properties[identifier] = body[start:position]
        else:
            break
    return properties


def text_of(value: int | bytes | None) -> str:
    """Return a property that is a text; empty if it is missing or no text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def number_of(properties: Mapping[int, int | bytes], identifier: int, default: int) -> int:
    """Return a property that is an integer; `default` if it is missing or no integer."""
    value = properties.get(identifier, default)
    return value if isinstance(value, int) else default
