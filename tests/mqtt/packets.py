"""Builds the packets of an MQTT server and of a hostile client, well-formed or not."""

from collections.abc import Iterator

from evse_mqtt_bridge.mqtt.encoding import write_variable_integer

__all__ = ["acknowledgement", "connack", "odd_properties", "packet", "publish", "text"]


def packet(header: int, body: bytes) -> bytes:
    """Return a packet with this first byte."""
    return bytes([header]) + write_variable_integer(len(body)) + body


def text(value: str | bytes) -> bytes:
    """Return a text or binary data with its length in front."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2) + data


def publish(
    topic: str,
    payload: bytes = b"{}",
    properties: bytes | None = b"",
    *,
    qos: int = 0,
    retain: bool = True,
    mid: int = 1,
) -> bytes:
    """Return a PUBLISH; `properties` without their length, `None` for MQTT 3.1.1."""
    body = text(topic) + (mid.to_bytes(2) if qos else b"")
    if properties is not None:
        body += write_variable_integer(len(properties)) + properties
    return packet(0x30 | qos << 1 | retain, body + payload)


def acknowledgement(kind: int, mid: int, code: int, properties: bytes = b"") -> bytes:
    """Return a PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7) with a reason code."""
    flags = 2 if kind == 6 else 0
    return packet(
        kind << 4 | flags, mid.to_bytes(2) + bytes([code]) + write_variable_integer(len(properties)) + properties
    )


def connack(code: int = 0, properties: bytes | None = b"") -> bytes:
    """Return a CONNACK; `properties` without their length, `None` for MQTT 3.1.1."""
    body = bytes([0, code])
    if properties is not None:
        body += write_variable_integer(len(properties)) + properties
    return packet(0x20, body)


def odd_properties() -> Iterator[tuple[str, bytes]]:
    """Yield odd contents of every property of a PUBLISH (MQTT 5, section 3.3.2.3), each with a name."""
    for indicator in (0, 1, 2, 255):
        yield f"payload format {indicator}", bytes([1, indicator])
    for seconds in (0, 1, 0xFFFFFFFF):
        yield f"message expiry {seconds}", b"\2" + seconds.to_bytes(4)
    texts = {
        "empty": b"",
        "U+FEFF": "\ufeff".encode(),
        "U+0000": b"\0",
        "surrogate": b"\xed\xa0\x80",
        "no UTF-8": b"\xff\xfe",
        "control": b"\x01\x1f\x7f\xc2\x80",
        "noncharacter": "\uffff".encode(),
        "wildcard": b"a/+/#",
        "long": b"x" * 60_000,
    }
    for name, value in texts.items():
        yield f"content type {name}", b"\3" + text(value)
        yield f"response topic {name}", b"\x08" + text(value)
        yield f"correlation data {name}", b"\x09" + text(value)
        yield f"user property {name}", b"\x26" + text(value) + text(value)
    for alias in (0, 1, 0xFFFF):
        yield f"topic alias {alias}", b"\x23" + alias.to_bytes(2)
    for identifier in (0, 1, 268_435_455):
        yield f"subscription identifier {identifier}", b"\x0b" + write_variable_integer(identifier)
    yield "subscription identifier of five bytes", b"\x0b\xff\xff\xff\xff\x7f"
    for repeated in (b"\1\1", b"\2\0\0\0\1", b"\3" + text("a"), b"\x08" + text("a"), b"\x09" + text("a"), b"\x23\0\1"):
        yield f"property {repeated[0]} twice", repeated * 2
    yield "many user properties", b"\x26" + text("a") + text("b")
    yield "9,000 user properties", (b"\x26" + text("a") + text("b")) * 9_000
    for unknown in (0, 4, 0x11, 0x7E, 0xFF):
        yield f"property {unknown}", bytes([unknown, 0])
    yield "truncated", b"\x26\0\5a"
