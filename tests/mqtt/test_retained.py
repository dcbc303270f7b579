"""The end of retained delivery: brokers are slow, deliver in another order, lose messages or deny the marker."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from evse_mqtt_bridge.mqtt.retained import End, Pauses, RetainedReader
from tests.mqtt.packets import acknowledgement, packet, publish
from tests.mqtt.raw_broker import RawBroker, Received, connected, raw_broker

_MARKER = "evse/bridge/marker"
_PAUSES = Pauses(after_marker=0.05, overtaken=0.3, without_marker=0.3, lost_marker=0.3, limit=5)


@dataclass(slots=True)
class _Broker:
    """Answers SUBSCRIBE with SUBACK and its retained messages, and delivers markers.

    Attributes:
        stall: Seconds between SUBACK and the retained messages.
        before: Retained messages before the marker.
        after: Retained messages that the marker overtakes.
        pause: Seconds between the messages of `after`.
        code: The reason code for the marker.
        lost: Number of subscriptions whose messages and markers are lost.
        subscriptions: Number of subscriptions so far.
    """

    stall: float = 0.0
    before: Iterable[bytes] = ()
    after: Iterable[bytes] = ()
    pause: float = 0.0
    code: int = 0
    lost: int = 0
    subscriptions: int = 0
    server: RawBroker | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def answer(self, header: int, body: bytes) -> Iterable[bytes]:
        """Answer a packet of the client."""
        match header >> 4:
            case 8:
                self.subscriptions += 1
                yield packet(0x90, body[:2] + b"\0" + bytes(_count_filters(body[3:])))
            case 3:
                end = 2 + int.from_bytes(body[:2])
                yield acknowledgement(4, int.from_bytes(body[end : end + 2]), self.code)
                if self.code < 0x80:
                    self._tasks.append(asyncio.create_task(self._deliver(body[end + 3 :])))

    async def _deliver(self, token: bytes) -> None:
        await asyncio.sleep(self.stall)
        if self.subscriptions <= self.lost:
            return
        assert self.server is not None
        for message in self.before:
            self.server.send(message)
        self.server.send(publish(_MARKER, token, retain=False))
        for message in self.after:
            await asyncio.sleep(self.pause)
            self.server.send(message)


def _count_filters(data: bytes) -> int:
    """Return the number of filters in a SUBSCRIBE, after its packet identifier and properties."""
    count = 0
    while data:
        data = data[2 + int.from_bytes(data[:2]) + 1 :]
        count += 1
    return count


@asynccontextmanager
async def _reading(broker: _Broker, pauses: Pauses = _PAUSES) -> AsyncIterator[tuple[RetainedReader, list[str]]]:
    """Yield a reader connected to the broker, and the list of the topics that it lets pass."""
    received, topics = Received(), list[str]()
    async with raw_broker(broker.answer) as server, connected(server, received) as connection:
        broker.server = server
        reader = RetainedReader(connection, _MARKER, lambda: 0.5, connection.subscribe, pauses)

        def note(topic: str, payload: bytes, retained: bool) -> None:  # as a connection calls it
            if reader.received(topic, payload, retained=retained):
                topics.append(topic)

        received.listener = note
        yield reader, topics


def _entries(count: int, size: int = 10) -> list[bytes]:
    return [publish(f"evse/{number}/info", b"x" * size) for number in range(count)]


async def test_stall_after_suback_loses_nothing() -> None:
    """A guess from the pause would end the read before the first message."""
    pauses = replace(_PAUSES, lost_marker=5)
    async with _reading(_Broker(stall=0.5, before=_entries(100)), pauses) as (reader, topics):
        assert await reader.read(["evse/+/info"]) is End.COMPLETE
        assert len(topics) == 100


async def test_marker_that_overtakes_messages_ends_nothing() -> None:
    async with _reading(_Broker(after=_entries(5), pause=0.02)) as (reader, topics):
        assert await reader.read(["evse/+/info"]) is End.COMPLETE
        assert len(topics) == 5


async def test_lost_marker_leads_to_another_subscription() -> None:
    broker = _Broker(before=_entries(3), lost=1)
    async with _reading(broker) as (reader, topics):
        assert await reader.read(["evse/+/info"]) is End.COMPLETE
        assert (len(topics), broker.subscriptions) == (3, 2)


@pytest.mark.parametrize(("code", "subscriptions"), [(0x87, 1), (0, 2)], ids=["reported", "unreported"])
async def test_denied_marker_leads_to_a_guess(code: int, subscriptions: int) -> None:
    broker = _Broker(code=code, lost=10)
    async with _reading(broker) as (reader, _):
        assert await reader.read(["evse/+/info"]) is End.GUESSED
        assert broker.subscriptions == subscriptions
        assert await reader.read(["+/bridge/info"]) is End.GUESSED
        assert broker.subscriptions == subscriptions + 1


async def test_topics_without_wildcards_need_no_pause() -> None:
    pauses = replace(_PAUSES, after_marker=60)
    async with _reading(_Broker(before=_entries(2)), pauses) as (reader, _):
        assert await reader.read(["evse/0/info", "evse/1/info"]) is End.COMPLETE


async def test_flood_ends_the_read() -> None:
    pauses = replace(_PAUSES, size_limit=10_000)
    async with _reading(_Broker(before=_entries(100, 1000)), pauses) as (reader, topics):
        assert await reader.read(["evse/+/info"]) is End.TOO_MUCH
        assert len(topics) < 10


def _infos(count: int) -> list[bytes]:
    return [publish(f"forged{number}/bridge/info", b"x" * 100) for number in range(count)]


async def test_flooded_search_is_given_up_and_the_rest_read_again() -> None:
    """Also if the marker of the first subscription comes while the second one is under way."""
    pauses = replace(_PAUSES, search_limit=1000, overtaken=0.05)
    broker = _Broker(before=[*_infos(100), *_entries(5)])
    async with _reading(broker, pauses) as (reader, topics):
        assert await reader.read(["evse/+/info", "+/bridge/info"]) is End.TOO_MUCH
        assert broker.subscriptions == 2
        assert set(topics) >= {f"evse/{number}/info" for number in range(5)}
        assert sum(topic.startswith("forged") for topic in topics) < 10
        assert await reader.read(["evse/+/info"]) is End.COMPLETE, "what is left of the flood does not count"


async def test_search_within_its_limit_needs_one_subscription() -> None:
    broker = _Broker(before=[*_infos(100), *_entries(5)])
    async with _reading(broker) as (reader, topics):
        assert await reader.read(["evse/+/info", "+/bridge/info"]) is End.COMPLETE
        assert (len(topics), broker.subscriptions) == (105, 1)


async def test_search_is_read_alone_after_a_lost_marker() -> None:
    broker = _Broker(before=_entries(5), lost=1)
    async with _reading(broker) as (reader, topics):
        assert await reader.read(["evse/+/info", "+/bridge/info"]) is End.COMPLETE
        assert (len(topics), broker.subscriptions) == (5, 3)


async def test_endless_delivery_ends_the_read() -> None:
    pauses = replace(_PAUSES, limit=0.5)
    async with _reading(_Broker(after=_entries(1000), pause=0.02), pauses) as (reader, _):
        assert await reader.read(["evse/+/info"]) is End.TOO_LONG


async def test_lost_connection_ends_the_read() -> None:
    async with _reading(_Broker(lost=10), replace(_PAUSES, lost_marker=5)) as (reader, _):
        asyncio.get_running_loop().call_later(0.1, reader.connection.abort)
        assert await reader.read(["evse/+/info"]) is End.DISCONNECTED
