"""The filter of incoming packets: what it decodes, what it passes on to paho, and what it drops."""

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.mqtt.inbound import Connack, Disconnect, Inbound, InvalidPacketError, Publish
from tests.mqtt.packets import acknowledgement, connack, odd_properties, packet, publish, text

_LIMIT = 1000
_ODD = [properties for _, properties in odd_properties()]


def _accepted(*, is_v5: bool = True, limit: int = _LIMIT) -> Inbound:
    """Return a filter that has received an accepting CONNACK."""
    inbound = Inbound(is_v5=is_v5, limit=limit)
    inbound.feed(connack(properties=b"" if is_v5 else None))
    inbound.for_paho.clear()
    return inbound


_packets = st.one_of(
    st.builds(publish, st.text(max_size=20), st.binary(max_size=200), st.binary(max_size=50) | st.sampled_from(_ODD)),
    st.builds(publish, st.just("t"), qos=st.integers(1, 2), mid=st.integers(1, 0xFFFF)),
    st.builds(acknowledgement, st.integers(4, 7), st.integers(1, 0xFFFF), st.integers(0, 255), st.binary(max_size=9)),
    st.builds(packet, st.just(0x40), st.binary(min_size=2, max_size=3)),
    st.builds(packet, st.just(0x90), st.binary(min_size=2, max_size=9)),
    st.just(packet(0xD0, b"")),
)


@given(st.lists(_packets, max_size=8).map(b"".join), st.lists(st.integers(0, 5000), max_size=8))
def test_chunks_of_a_stream_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    at_once, in_chunks = _accepted(), _accepted()
    expected = at_once.feed(stream)
    positions = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found = [message for start, end in pairwise(positions) for message in in_chunks.feed(stream[start:end])]
    assert found == expected
    assert (in_chunks.for_paho, in_chunks.skipped) == (at_once.for_paho, at_once.skipped)
    assert (in_chunks.accepted, in_chunks.acknowledgements) == (at_once.accepted, at_once.acknowledgements)


@given(st.booleans(), st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_are_packets_or_an_error(is_v5: bool, chunks: list[bytes]) -> None:
    inbound = _accepted(is_v5=is_v5)
    with contextlib.suppress(InvalidPacketError):
        for chunk in chunks:
            inbound.feed(chunk)


@pytest.mark.parametrize("properties", _ODD, ids=[name for name, _ in odd_properties()])
def test_properties_of_a_message_are_skipped(properties: bytes) -> None:
    inbound = _accepted(limit=1024 * 1024)
    assert inbound.feed(publish("a/b", b"text", properties)) == [Publish("a/b", b"text", retained=True)]
    assert not inbound.for_paho


def test_message_above_the_limit_is_skipped() -> None:
    inbound = _accepted(is_v5=False)
    stream = publish("a", b"x" * 10_000_000, None) + publish("b", b"y", None)
    messages = [
        message for start in range(0, len(stream), 4096) for message in inbound.feed(stream[start : start + 4096])
    ]
    assert messages == [Publish("b", b"y", retained=True)]
    assert inbound.skipped == 1


@pytest.mark.parametrize(
    "malformed",
    [
        packet(0x31, b""),
        packet(0x31, b"\0\5ab"),
        packet(0x31, text("a")),
        packet(0x31, text("a") + b"\5\1"),
        packet(0x31, text("a") + b"\xff\xff\xff\xff\x7f"),
        packet(0x31, text(b"\xff") + b"\0"),
        packet(0x31, text("") + b"\x03\x23\0\1"),
        packet(0x37, text("a") + b"\0\1\0"),
    ],
)
def test_malformed_message_is_skipped(malformed: bytes) -> None:
    inbound = _accepted()
    assert inbound.feed(malformed + publish("b", b"y")) == [Publish("b", b"y", retained=True)]
    assert inbound.skipped == 1


@pytest.mark.parametrize(("kind", "is_final"), [(4, True), (5, False), (7, True)])
def test_acknowledgement_has_the_code_of_the_broker(kind: int, is_final: bool) -> None:
    for code in range(256):
        inbound = _accepted()
        inbound.feed(acknowledgement(kind, 0x4007, code, b"\x1f" + text("reason")))
        assert inbound.acknowledgements == [(0x4007, code, is_final or code >= 0x80)]
        assert not inbound.for_paho


@pytest.mark.parametrize("is_v5", [True, False])
def test_acknowledgement_without_a_code_is_a_success(is_v5: bool) -> None:
    inbound = _accepted(is_v5=is_v5)
    inbound.feed(packet(0x40, b"\x40\7") + packet(0xD0, b"") + packet(0x40, b"\x40\x09"))
    assert (inbound.accepted, inbound.acknowledgements) == ([0x4007, 0x4009], [])


def test_acknowledgement_without_properties_has_its_code() -> None:
    inbound = _accepted()
    inbound.feed(b"".join(packet(0x40, bytes([0x40, code, code])) for code in range(256)))
    assert inbound.accepted == [0x4000 + code for code in range(0x80)]
    assert inbound.acknowledgements == [(0x4000 + code, code, True) for code in range(0x80, 256)]


def test_release_of_a_foreign_message_passes_to_paho() -> None:
    inbound = _accepted()
    inbound.feed(acknowledgement(6, 7, 0x92, b"\x1f" + text("reason")))
    assert (bytes(inbound.for_paho), inbound.acknowledgements) == (packet(0x62, b"\0\7"), [])


def test_subscription_codes_pass_as_granted_or_failed() -> None:
    inbound = _accepted()
    inbound.feed(packet(0x90, b"\0\7\x06\x26" + text("a") + text("") + bytes([0, 1, 2, 3, 0x80, 0x97, 0xFE])))
    assert inbound.for_paho == packet(0x90, b"\0\7\0\0\1\2\x80\x80\x80\x80")


_LIMITS = b"\x13\0\x0a\x21\0\5\x24\1\x25\0\x27\0\0\x03\xe8\x1f" + text("why") + b"\x26" + text("a") + text("b")


@pytest.mark.parametrize(
    ("answer", "expected", "for_paho"),
    [
        (connack(), Connack(0), b"\0\0\0"),
        (connack(0, _LIMITS), Connack(0, "why", 10, 5, 1, 1000, retain_available=False), b"\0\0\3\x13\0\x0a"),
        (connack(0, b"\x7e" + _LIMITS), Connack(0), b"\0\0\0"),
        (connack(0x9F, b"\x1f" + text("slow\xff")), Connack(0x9F, "slow\xff"), None),
        (connack(0xFE), Connack(0xFE), None),
        (connack(1, None), Connack(1), None),
    ],
)
def test_connack_is_decoded(answer: bytes, expected: Connack, for_paho: bytes | None) -> None:
    inbound = Inbound(is_v5=True, limit=_LIMIT)
    inbound.feed(answer)
    assert inbound.connack == expected
    assert inbound.for_paho == (b"" if for_paho is None else packet(0x20, for_paho))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", Disconnect(0)),
        (b"\x8b", Disconnect(0x8B)),
        (b"\xfe\0", Disconnect(0xFE)),
        (b"\x98\x06\x1f" + text("bye"), Disconnect(0x98, "bye")),
    ],
)
def test_disconnect_is_decoded(body: bytes, expected: Disconnect) -> None:
    inbound = _accepted()
    inbound.feed(packet(0xE0, body))
    assert inbound.disconnect == expected
    assert not inbound.for_paho


@pytest.mark.parametrize(
    "stream", [b"\x31\xff\xff\xff\xff\x01", packet(0x10, b""), packet(0xC0, b""), b"HTTP/1.1 400\r\n"]
)
def test_what_no_broker_sends_is_an_error(stream: bytes) -> None:
    with pytest.raises(InvalidPacketError):
        Inbound(is_v5=True, limit=_LIMIT).feed(stream)
