"""Splits what a broker sends into packets, decodes what others wrote, and passes on what paho can handle.

A sans-I/O filter between the socket and paho, because paho ends the connection at contents that a broker may forward or
send, and takes quadratic time for properties. The rules:

- A PUBLISH never reaches paho. Topic, payload and retain flag are decoded here; its properties, which any client can
  fill with anything, are skipped unread. At QoS 1 or 2 paho gets an empty stand-in, which it acknowledges.
- A packet above the limit is skipped as it arrives, without storing it. With MQTT 5 a broker knows the limit and sends
  none; with MQTT 3.1.1 it cannot know.
- Acknowledgements of messages are decoded here, because paho does not send the messages. Those of subscriptions reach
  paho without properties, and with reason codes that it knows.
- CONNACK and DISCONNECT are decoded here. paho gets an accepted CONNACK only.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from evse_mqtt_bridge.mqtt.encoding import (
    LENGTH_BYTES,
    Property,
    end_of_properties,
    number_of,
    read_properties,
    text_of,
    variable_integer,
    write_variable_integer,
)

__all__ = ["FAILED", "Acknowledgement", "Connack", "Disconnect", "Inbound", "InvalidPacketError", "Publish"]

FAILED = 0x80
"""The lowest reason code of a failure (MQTT 5, section 2.4)."""

_SHORT_PUBACKS = (b"\x40\2", b"\x40\3")
"""The first bytes of a PUBACK without properties: without a reason code, and with one."""

_WITHOUT_CODE = 4
"""The size in bytes of a PUBACK without a reason code."""

_STAND_IN = b"\0\1-"
_NO_PROPERTIES = b"\0"


class _Type(IntEnum):
    """The types of the packets that a server sends (MQTT 5, section 2.1.2)."""

    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBACK = 9
    UNSUBACK = 11
    PINGRESP = 13
    DISCONNECT = 14


class InvalidPacketError(Exception):
    """The peer sent something that is not a packet of an MQTT server; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Publish:
    """A message that the broker delivered; `retained`: it was retained before the subscription."""

    topic: str
    payload: bytes
    retained: bool


class Acknowledgement(NamedTuple):
    """An acknowledgement of a message.

    Attributes:
        identifier: The packet identifier of the message.
        code: The reason code.
        is_final: Whether the exchange is complete; at QoS 2 it is not after the first acknowledgement.
    """

    identifier: int
    code: int
    is_final: bool


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT, with its limits (MQTT 5, section 3.2.2.3).

    Attributes:
        code: The reason code of MQTT 5, or the return code of MQTT 3.1.1 (0: accepted).
        reason: A text of the broker; mostly empty.
        keep_alive: Seconds to use in place of the requested keep-alive interval; 0: as requested.
        receive_maximum: Maximum number of unacknowledged messages at QoS 1 and 2.
        maximum_qos: 0 to 2.
        maximum_packet_size: In bytes; `None`: no limit.
        retain_available: Whether the broker retains messages.
    """

    code: int
    reason: str = ""
    keep_alive: int = 0
    receive_maximum: int = 0xFFFF
    maximum_qos: int = 2
    maximum_packet_size: int | None = None
    retain_available: bool = True


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The reason code with which the broker ends the connection, and its text, which is mostly empty."""

    code: int
    reason: str = ""


@dataclass(slots=True)
class Inbound:
    """The filter, see the module.

    Attributes:
        is_v5: Whether the connection uses MQTT 5; otherwise it uses 3.1.1.
        limit: Maximum size of a packet, in bytes.
        for_paho: The bytes that paho has to read.
        accepted: The packet identifiers of the messages that a PUBACK accepted; the connection takes them.
        acknowledgements: The other acknowledgements of messages; the connection takes them, too.
        connack: The answer to CONNECT, once it has arrived.
        disconnect: Why the broker ends the connection, if it sent a reason.
        skipped: Number of messages that were too large or malformed.
    """

    is_v5: bool
    limit: int
    for_paho: bytearray = field(default_factory=bytearray)
    accepted: list[int] = field(default_factory=list)
    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    connack: Connack | None = None
    disconnect: Disconnect | None = None
    skipped: int = 0
    _rest: bytes = b""
    _to_skip: int = 0

    def feed(self, data: bytes) -> list[Publish]:
        """Take bytes from the socket; return the messages that are complete.

        Raises:
            InvalidPacketError: The bytes are not packets of an MQTT server.
        """
        if self._to_skip:
            rest = data[self._to_skip :]
            self._to_skip -= len(data) - len(rest)
            data = rest
        buffer = self._rest + data
        if self.connack is None and buffer and buffer[0] >> 4 != _Type.CONNACK:
            raise InvalidPacketError("no CONNACK")
        messages: list[Publish] = []
        position = self._accept(buffer, 0)
        while (span := _packet_span(buffer, position)) is not None:
            start, end = span
            is_too_large = end - position > self.limit
            if end > len(buffer) and not is_too_large:
                break
            if is_too_large:
                self.skipped += 1
                self._to_skip = max(0, end - len(buffer))
            elif (message := self._packet(buffer[position], buffer[start:end])) is not None:
                messages.append(message)
            position = self._accept(buffer, min(end, len(buffer)))
        self._rest = buffer[position:]
        return messages

    def _accept(self, buffer: bytes, position: int) -> int:
        """Take the PUBACKs at `position` that accept messages, and return where they end.

        A broker sends one per message, and little else.
        """
        while buffer.startswith(_SHORT_PUBACKS, position):
            end = position + 2 + buffer[position + 1]
            if end > len(buffer) or (end - position > _WITHOUT_CODE and buffer[end - 1] >= FAILED):
                break
            self.accepted.append(int.from_bytes(buffer[position + 2 : position + 4]))
            position = end
        return position

    def _packet(self, header: int, body: bytes) -> Publish | None:
        match header >> 4:
            case _Type.PUBLISH:
                return self._publish(header, body)
            case _Type.PUBACK | _Type.PUBREC | _Type.PUBCOMP as kind:
                self._acknowledgement(kind, body)
            case _Type.PUBREL:
                self._pass(header, _identifier(body))
            case _Type.SUBACK | _Type.UNSUBACK as kind:
                self._subscriptions(kind, header, body)
            case _Type.PINGRESP:
                self._pass(header)
            case _Type.CONNACK if self.connack is None:
                self._connack(header, body)
            case _Type.DISCONNECT if self.is_v5:
                properties = read_properties(body, 1)
                self.disconnect = Disconnect(body[0] if body else 0, text_of(properties.get(Property.REASON)))
            case kind:
                raise InvalidPacketError(f"an unexpected packet (type {kind})")
        return None

    def _pass(self, header: int, body: bytes = b"") -> None:
        """Pass a packet on to paho."""
        self.for_paho.append(header)
        self.for_paho += write_variable_integer(len(body)) + body

    def _publish(self, header: int, body: bytes) -> Publish | None:
        """Return the message; `None` if it is malformed, or comes without a topic (the bridge allows no aliases)."""
        qos = header >> 1 & 3
        topic_end = 2 + int.from_bytes(body[:2])
        identifier_end = topic_end + (2 if qos else 0)
        payload_start: int | None = identifier_end
        if self.is_v5:
            payload_start = end_of_properties(body, identifier_end)
        if payload_start is None or payload_start > len(body) or qos > 2:  # noqa: PLR2004  # the highest QoS
            self.skipped += 1
            return None
        if qos:
            properties = _NO_PROPERTIES if self.is_v5 else b""
            self._pass(header, _STAND_IN + body[topic_end:identifier_end] + properties)
        try:
            topic = body[2:topic_end].decode()
        except UnicodeDecodeError:
            topic = ""
        if not topic:
            self.skipped += 1
            return None
        return Publish(topic, body[payload_start:], bool(header & 1))

    def _acknowledgement(self, kind: int, body: bytes) -> None:
        """Add an acknowledgement; a failed PUBREC ends the exchange (MQTT 5, section 4.3.3), as a PUBACK does."""
        identifier = int.from_bytes(_identifier(body))
        code = body[2] if self.is_v5 and len(body) > 2 else 0  # noqa: PLR2004  # after the packet identifier
        is_final = kind != _Type.PUBREC or code >= FAILED
        self.acknowledgements.append(Acknowledgement(identifier, code, is_final))

    def _subscriptions(self, kind: int, header: int, body: bytes) -> None:
        """Pass SUBACK and UNSUBACK on, with each code either a granted QoS or `FAILED`."""
        identifier = _identifier(body)
        start = end_of_properties(body, 2) if self.is_v5 else 2
        codes = bytes(code if code <= 2 else FAILED for code in body[start:])  # noqa: PLR2004  # QoS 2
        if kind == _Type.UNSUBACK:
            codes = b"\0" if self.is_v5 else b""
        self._pass(header, identifier + (_NO_PROPERTIES if self.is_v5 else b"") + codes)

    def _connack(self, header: int, body: bytes) -> None:
        if len(body) < 2:  # noqa: PLR2004  # flags and code
            raise InvalidPacketError("an incomplete CONNACK")
        properties = read_properties(body, 2) if self.is_v5 else {}
        keep_alive = number_of(properties, Property.SERVER_KEEP_ALIVE, 0)
        size = properties.get(Property.MAXIMUM_PACKET_SIZE)
        self.connack = Connack(
            code=body[1],
            reason=text_of(properties.get(Property.REASON)),
            keep_alive=keep_alive,
            receive_maximum=max(1, number_of(properties, Property.RECEIVE_MAXIMUM, 0xFFFF)),
            maximum_qos=min(2, number_of(properties, Property.MAXIMUM_QOS, 2)),
            maximum_packet_size=size if isinstance(size, int) else None,
            retain_available=number_of(properties, Property.RETAIN_AVAILABLE, 1) != 0,
        )
        if body[1] == 0:
            limits = bytes((3, Property.SERVER_KEEP_ALIVE)) + keep_alive.to_bytes(2) if keep_alive else _NO_PROPERTIES
            self._pass(header, bytes((body[0] & 1, 0)) + (limits if self.is_v5 else b""))


def _packet_span(buffer: bytes, position: int) -> tuple[int, int] | None:
    """Return where the body of the packet at `position` starts and ends; `None` if its length is incomplete.

    Raises:
        InvalidPacketError: The length takes more than four bytes.
    """
    found = variable_integer(buffer, position + 1)
    if found is None:
        if len(buffer) - position > LENGTH_BYTES:
            raise InvalidPacketError("a packet of an invalid length")
        return None
    length, start = found
    return start, start + length


def _identifier(body: bytes) -> bytes:
    """Return the packet identifier at the start. Raises InvalidPacketError if it is incomplete."""
    if len(body) < 2:  # noqa: PLR2004  # its size
        raise InvalidPacketError("an incomplete acknowledgement")
    return body[:2]
