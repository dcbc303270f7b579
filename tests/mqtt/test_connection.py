"""A connection to a broker that sends odd packets, or cannot be reached for lack of sockets."""

import asyncio
import errno
import itertools
import resource
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions
from evse_mqtt_bridge.mqtt.connection import connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.limits import WINDOW
from evse_mqtt_bridge.publishing.message import Message
from tests.harness.net import HOST, free_port
from tests.mqtt.packets import acknowledgement, connack, odd_properties, packet, publish, text
from tests.mqtt.raw_broker import Received, answer_nothing, connected, raw_broker


def _identifier(body: bytes) -> int:
    """Return the packet identifier of a PUBLISH at QoS 1 or 2."""
    end = 2 + int.from_bytes(body[:2])
    return int.from_bytes(body[end : end + 2])


@pytest.mark.parametrize("qos", [1, 2])
async def test_every_reason_code_leaves_the_connection_open(qos: int) -> None:
    codes = itertools.count()

    def answer(header: int, body: bytes) -> Iterable[bytes]:
        match header >> 4:
            case 3:
                properties = b"\x1f" + text("\ufeff") + b"\x26" + text("a") + text("\ufeff")
                yield acknowledgement(3 + qos, _identifier(body), next(codes) % 256, properties)
            case 6:
                yield acknowledgement(7, int.from_bytes(body[:2]), next(codes) % 256)

    received = Received()
    async with raw_broker(answer) as broker, connected(broker, received, qos=qos) as connection:
        for number in range(300):
            await received.until(lambda: connection.has_room)
            assert connection.publish(Message(f"t/{number}", b""))
        await received.until(lambda: not connection.in_flight)
        assert not connection.disconnected.done()
    reasons = dict(received.rejected)
    assert reasons if qos == 2 else len(reasons) == 128
    if qos == 1:
        assert reasons["t/128"] == "Unspecified error"
        assert reasons["t/149"] == "Packet too large"
        assert reasons["t/254"] == "reason code 0xFE"


async def test_odd_properties_leave_the_connection_open() -> None:
    received = Received()
    cases = list(odd_properties())
    async with (
        raw_broker(answer_nothing) as broker,
        connected(broker, received, packet_limit=1024 * 1024) as connection,
    ):
        for number, (_, properties) in enumerate(cases):
            broker.send(publish(f"t/{number}", b"{}", properties))
        await received.until(lambda: len(received.messages) == len(cases))
        assert [topic for topic, _, _ in received.messages] == [f"t/{number}" for number in range(len(cases))]
        assert not connection.disconnected.done()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_large_messages_are_skipped(protocol: str) -> None:
    received = Received()
    properties = b"" if protocol == "5" else None
    async with (
        raw_broker(answer_nothing) as broker,
        connected(broker, received, packet_limit=1000, protocol=protocol) as connection,
    ):
        broker.send(publish("large", b"x" * 5_000_000, properties) + publish("small", b"y", properties))
        await received.until(lambda: received.messages)
        assert received.messages == [("small", b"y", True)]
        assert connection.skipped == 1


async def test_burst_is_received_in_order_before_the_end() -> None:
    """More than is read, or handled, in one step; the broker closes the connection right after it."""
    received = Received()
    count = 20_000
    burst = b"".join(publish(f"t/{number}", b"x" * 500) for number in range(count))
    async with raw_broker(answer_nothing) as broker, connected(broker, received) as connection:
        broker.send(burst + packet(0xE0, b"\x8b"))
        assert (await connection.keep_alive()).detail == "the broker closed the connection: Server shutting down"
    assert [topic for topic, _, _ in received.messages] == [f"t/{number}" for number in range(count)]


@pytest.mark.parametrize("qos", [1, 2])
async def test_messages_above_qos_0_are_acknowledged(qos: int) -> None:
    """No subscription asks for them, but a broker that waits for acknowledgements would stop sending."""
    acknowledged: list[int] = []

    def answer(header: int, body: bytes) -> Iterable[bytes]:
        acknowledged.append(header >> 4)
        if header >> 4 == 5:
            yield acknowledgement(6, int.from_bytes(body[:2]), 0)

    received = Received()
    async with raw_broker(answer) as broker, connected(broker, received, qos=1) as connection:
        broker.send(publish("a", b"x", b"\1\2", qos=qos, mid=9))
        assert connection.publish(Message("t", b""))  # so that the broker reads
        await received.until(lambda: received.messages)
        broker.send(packet(0xE0, b"\xfe"))
        assert (await connection.keep_alive()).detail == "the broker closed the connection: reason code 0xFE"
    assert received.messages == [("a", b"x", True)]


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        (connack(0x87), DisconnectReason.LOGIN, "Not authorized"),
        (connack(0xFE, b"\x1f" + text("no\n")), DisconnectReason.REFUSED, "reason code 0xFE (no)"),
        (connack(0x9B), DisconnectReason.REFUSED, "QoS not supported: set mqtt.qos = 0"),
        (connack(1, None), DisconnectReason.REFUSED, "Unsupported protocol version"),
        (connack(0, b"\x25\0"), DisconnectReason.REFUSED, "the broker does not retain messages"),
        (connack(0x9A), DisconnectReason.REFUSED, "the broker does not retain messages"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", DisconnectReason.UNREACHABLE, "the answer is not MQTT: no CONNACK"),
    ],
)
async def test_refused_connection_has_a_reason(answer: bytes, reason: DisconnectReason, detail: str) -> None:
    async with raw_broker(answer_nothing, accept=answer) as broker:
        result = await connect(ConnectOptions(Mqtt(host=HOST, port=broker.port)), Received().handlers())
    assert isinstance(result, Disconnected)
    assert result.reason is reason
    assert detail in result.detail


async def test_receive_maximum_limits_the_window() -> None:
    received = Received()
    async with (
        raw_broker(answer_nothing, accept=connack(0, b"\x21\0\3")) as broker,
        connected(broker, received) as connection,
    ):
        sent = 0
        while connection.has_room:
            sent += connection.publish(Message("t", b""))
    assert sent == 3 < WINDOW


async def test_server_keep_alive_replaces_the_own_one() -> None:
    pinged = asyncio.Event()

    def answer(header: int, _body: bytes) -> Iterable[bytes]:
        if header >> 4 == 12:
            pinged.set()
            yield packet(0xD0, b"")

    async with (
        raw_broker(answer, accept=connack(0, b"\x13\0\1")) as broker,
        connected(broker, Received()) as connection,
    ):
        keeping_alive = asyncio.create_task(connection.keep_alive())
        await asyncio.wait_for(pinged.wait(), 10)
        assert not connection.disconnected.done()
        broker.send(packet(0xE0, b"\x8b"))
        await keeping_alive


# No socket


async def _result(host: str, port: int) -> Disconnected:
    result = await connect(ConnectOptions(Mqtt(host=host, port=port)), Received().handlers())
    assert isinstance(result, Disconnected)
    return result


def _highest_descriptor() -> int:
    return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())


async def test_connect_without_file_descriptors_can_be_retried() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used, port = _highest_descriptor(), free_port()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    blockers: list[socket.socket] = []
    try:
        while True:
            try:
                blockers.append(socket.socket())
            except OSError:
                break
        result = await _result(HOST, port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for blocker in blockers:
            blocker.close()
    assert result.reason is DisconnectReason.UNREACHABLE
    # a thread of another test may have closed a file meanwhile
    assert result.detail in ("Too many open files", "Connection refused")


@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_connect_without_ipv6_can_be_retried(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without IPv6 refuses such sockets, and leaves Python with a half-made object."""
    make = socket.socket.__init__

    def without_ipv6(self: socket.socket, family: int = -1, *rest: Any, **named: Any) -> None:  # noqa: ANN401  # any
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        make(self, family, *rest, **named)

    monkeypatch.setattr(socket.socket, "__init__", without_ipv6)
    result = await _result(host, free_port())
    assert result.reason is DisconnectReason.UNREACHABLE
    assert result.detail in ("Address family not supported by protocol", "Connection refused")
