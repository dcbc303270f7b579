"""The encoding of messages, compared with that of paho."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from evse_mqtt_bridge.mqtt.outbound import Outbound
from evse_mqtt_bridge.publishing.message import Message

_topics = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=300)
_messages = st.builds(
    Message,
    _topics,
    st.binary(max_size=300) | st.just(b"x" * 20_000),
    st.sampled_from(["", "application/json"]),
    st.booleans(),
)


class _Socket:
    """Stores what paho sends."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def close(self) -> None:
        """Do nothing."""


def _of_paho(message: Message, qos: int, identifier: int, *, is_v5: bool) -> bytes:
    """Return the packet that paho sends for a message with this packet identifier."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5 if is_v5 else MQTTv311)
    socket = _Socket()
    client._sock = socket  # type: ignore[assignment]  # noqa: SLF001  # without a broker
    client._last_mid = identifier - 1  # noqa: SLF001  # its next identifier
    properties = None
    if is_v5 and message.content_type and message.payload:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ContentType = message.content_type
    client.publish(message.topic, message.payload, qos, message.retain, properties)
    return bytes(socket.sent)


@given(_messages, st.integers(0, 2), st.booleans())
def test_message_is_encoded_as_paho_does(message: Message, qos: int, is_v5: bool) -> None:
    outbound = Outbound(is_v5)
    ((identifier, topic),) = outbound.publish([message], qos).items()
    assert topic == message.topic
    assert outbound.buffer == _of_paho(message, qos, identifier, is_v5=is_v5)


def test_identifiers_of_messages_are_not_those_of_paho() -> None:
    outbound = Outbound(is_v5=True)
    identifiers = [each for _ in range(1_000) for each in outbound.publish([Message("t", b"")] * 100, 0)]
    assert (min(identifiers), max(identifiers)) == (0x4000, 0xFFFF)
    assert len(set(identifiers[:0xC000])) == 0xC000


@pytest.mark.parametrize("length", [0, 127, 128, 16_383, 16_384])
def test_packets_are_added_in_order(length: int) -> None:
    outbound = Outbound(is_v5=False)
    for payload in (b"x" * length, b"y"):
        outbound.publish([Message("t", payload)], 0)
    outbound.release(0x4001)
    outbound.disconnect()
    assert outbound.buffer.endswith(b"\x31\4\0\1ty" + b"\x62\2\x40\1" + b"\xe0\0")


@pytest.mark.parametrize(("is_v5", "expected"), [(True, b"\xe0\1\4"), (False, b"\xe0\0")], ids=["5", "3.1.1"])
def test_disconnect_with_will_has_reason_code_4(is_v5: bool, expected: bytes) -> None:
    outbound = Outbound(is_v5)
    outbound.disconnect(with_will=True)
    assert outbound.buffer == expected
