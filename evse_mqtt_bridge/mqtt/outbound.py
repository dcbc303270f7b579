"""Encodes what the bridge publishes, and holds the bytes that are to be sent.

A sans-I/O buffer between the connection and its socket. paho needs three times the CPU time for a message, so it only
writes the packets that are rare (CONNECT, SUBSCRIBE, PINGREQ), into the same buffer.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from evse_mqtt_bridge.mqtt.encoding import write_variable_integer
from evse_mqtt_bridge.publishing.message import Message

__all__ = ["Outbound"]

_PUBLISH = 0x30
_PUBREL = b"\x62\2"
_DISCONNECT = b"\xe0\0"
_DISCONNECT_WITH_WILL = b"\xe0\1\4"  # reason code 0x04, MQTT 5, section 3.14.2.1
_NO_PROPERTIES = b"\0"
_CONTENT_TYPE = b"\3"

_START = struct.Struct(">BBH")
"""The start of a PUBLISH: type and flags, the remaining length if it takes one byte, and the length of the topic."""

_LONGER_START = struct.Struct(">BBBH")
"""The same with a remaining length that takes two bytes."""

_FIRST_IDENTIFIER = 0x4000
"""The lowest packet identifier of a message. paho uses those from 1 on, for its few subscriptions."""

_LAST_IDENTIFIER = 0xFFFF


@dataclass(slots=True)
class Outbound:
    """The packets to send, see the module.

    Attributes:
        is_v5: Whether the connection uses MQTT 5; otherwise it uses 3.1.1.
        buffer: The bytes that have not been sent yet, in order.
    """

    is_v5: bool
    buffer: bytearray = field(default_factory=bytearray)
    _identifier: int = _LAST_IDENTIFIER
    _properties: dict[str, bytes] = field(default_factory=lambda: {"": _NO_PROPERTIES})
    """The encoded PUBLISH properties by content type."""

    def publish(self, messages: Iterable[Message], qos: int) -> dict[int, str]:
        """Add messages at this QoS, or at a lower one of their own; return their topics by packet identifier.

        At QoS 0 they do not carry their identifiers.
        """
        topics: dict[int, str] = {}
        parts: list[bytes] = []
        identifier, is_v5 = self._identifier, self.is_v5
        for message in messages:
            identifier = identifier + 1 if identifier < _LAST_IDENTIFIER else _FIRST_IDENTIFIER
            topics[identifier] = message.topic
            topic, payload = message.topic.encode(), message.payload
            own_qos = qos if message.qos is None else min(message.qos, qos)
            # MQTT 5, section 3.3; 3.1.1 has no properties
            body = topic + identifier.to_bytes(2) if own_qos else topic
            if is_v5:
                content_type = message.content_type if payload else ""
                body += self._properties.get(content_type) or self._encoded(content_type)
            header, length = _PUBLISH | own_qos << 1 | message.retain, 2 + len(body) + len(payload)
            if length < 1 << 7:
                start = _START.pack(header, length, len(topic))
            elif length < 1 << 14:
                start = _LONGER_START.pack(header, length & 0x7F | 0x80, length >> 7, len(topic))
            else:
                start = bytes((header,)) + write_variable_integer(length) + len(topic).to_bytes(2)
            parts += (start, body, payload)
        self._identifier = identifier
        self.buffer += b"".join(parts)
        return topics

    def release(self, identifier: int) -> None:
        """Add a PUBREL, the second half of the exchange at QoS 2."""
        self.buffer += _PUBREL + identifier.to_bytes(2)

    def disconnect(self, *, with_will: bool = False) -> None:
        """Add a DISCONNECT, after which the broker discards the will; `with_will`: an MQTT 5 broker keeps it."""
        self.buffer += _DISCONNECT_WITH_WILL if with_will and self.is_v5 else _DISCONNECT

    def _encoded(self, content_type: str) -> bytes:
        """Encode the properties for a content type, and keep them."""
        text = content_type.encode()
        content = _CONTENT_TYPE + len(text).to_bytes(2) + text
        properties = self._properties[content_type] = write_variable_integer(len(content)) + content
        return properties
