"""Reads retained messages. MQTT does not mark the last one, so the reader has to find out when all have arrived.

It ends a read at the first of these:

- Each filter is a topic without wildcards, and each topic has delivered its message.
- The marker has come back: a message of the bridge's own, on a topic of the same SUBSCRIBE, published after its SUBACK.
  A broker that delivers in order, such as Mosquitto, sends it after the retained messages. Others, such as aedes,
  deliver retained messages in the background. So a short time without a retained message must follow, and a longer one
  if the marker overtook some.
- The broker does not allow the marker: only then, a time without a message counts as the end, which is a guess.
- The marker is lost. Mosquitto drops every packet above `max_queued_messages` (1000) that the socket does not take.
  Retained messages are then lost, too, so the reader subscribes again, once, which delivers all of them again.
- The limits of time and size, against floods.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.publishing.message import Message

__all__ = ["PAUSES", "End", "Pauses", "RetainedReader"]


class End(Enum):
    """Why a read ended."""

    COMPLETE = "all retained messages have arrived"
    GUESSED = "the marker did not come back"
    TOO_MUCH = "there were more retained messages than the bridge reads"
    TOO_LONG = "the broker went on sending retained messages"
    DISCONNECTED = "the connection ended"


@dataclass(frozen=True, slots=True)
class Pauses:
    """Times without a message, and limits.

    Attributes:
        after_marker: Seconds without a retained message after the marker.
        overtaken: The same if the marker overtook retained messages.
        without_marker: Seconds without a message that count as the end without a marker.
        lost_marker: Seconds without a message after which the marker counts as lost.
        limit: Maximum duration of a read, in seconds.
        size_limit: Maximum size of the messages of a read, in bytes; 20,000 stations have about 14 MB.
    """

    after_marker: float = 0.2
    overtaken: float = 0.5
    without_marker: float = 1.0
    lost_marker: float = 2.0
    limit: float = 30.0
    size_limit: int = 64 * 1024 * 1024


PAUSES = Pauses()
"""The times and limits of the bridge itself."""


@dataclass(slots=True)
class RetainedReader:
    """Subscribes and waits until all retained messages have arrived, see the module.

    Attributes:
        connection: An accepted connection.
        marker_topic: The topic of the marker; empty: no marker, for a few topics without wildcards.
        chance: Returns random numbers, from which the payloads of markers are made.
        subscribe: Subscribes, and returns the rejected filters.
        pauses: The waiting times and limits.
        rejected: The filters that the broker rejected in the last read.
    """

    connection: Connection
    marker_topic: str
    chance: Callable[[], float]
    subscribe: Callable[[list[str]], Awaitable[list[str]]]
    pauses: Pauses = PAUSES
    rejected: list[str] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _missing: set[str] | None = None
    _tokens: set[bytes] = field(default_factory=set)
    _has_returned: bool = False
    _was_overtaken: bool = False
    _is_denied: bool = False
    _size: int = 0
    _last_arrival: float = 0.0

    def received(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Note a message of the connection; return whether it is a retained one, within the limits of the read."""
        now = asyncio.get_running_loop().time()
        if not retained:
            if topic == self.marker_topic and payload in self._tokens and not self._has_returned:
                self._has_returned, self._last_arrival = True, now
                self._changed.set()
            return False
        self._last_arrival = now
        self._was_overtaken |= self._has_returned
        self._size += len(topic) + len(payload)
        if self._missing is not None:
            self._missing.discard(topic)
        if self._missing == set() or self._size > self.pauses.size_limit:
            self._changed.set()
        return self._size <= self.pauses.size_limit

    async def read(self, filters: Iterable[str]) -> End:
        """Subscribe, and wait until all retained messages have arrived; return why the wait ended."""
        filters = list(filters)
        self._missing = None if any(set(name) & set("+#") for name in filters) else set(filters)
        self._has_returned = self._was_overtaken = False
        self._size = 0
        try:
            async with asyncio.timeout(self.pauses.limit):
                end = await self._read(filters)
        except TimeoutError:
            end = End.TOO_LONG
        if end is End.GUESSED:
            self._is_denied = True  # for the rest of the connection, because each attempt takes time
        return end

    async def _read(self, filters: list[str]) -> End:
        end = await self._attempt(filters)
        if end is End.GUESSED and self.marker_topic and not self._is_denied:
            end = await self._attempt(filters)
        return end

    async def _attempt(self, filters: list[str]) -> End:
        """Subscribe and wait once."""
        has_marker = bool(self.marker_topic) and not self._is_denied
        rejected = set(await self.subscribe([*filters, *([self.marker_topic] if has_marker else [])]))
        self.rejected = [name for name in filters if name in rejected]
        if self._missing is not None:
            self._missing -= rejected
        self._last_arrival = asyncio.get_running_loop().time()
        if self.marker_topic in rejected:
            self._is_denied = True
        elif has_marker:
            self._publish_marker()
        while (end := self._end()) is None:
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait(), name="mqtt-retained")
            waits = (changed, self.connection.disconnected)
            await asyncio.wait(waits, timeout=self._remaining(), return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        return end

    def _publish_marker(self) -> None:
        token = f"{int(self.chance() * 2**53):x}-{len(self._tokens)}".encode()
        self._tokens.add(token)
        accepted = self.connection.publish_marker(Message(self.marker_topic, token, retain=False, qos=1))
        accepted.add_done_callback(self._marker_answered)

    def _marker_answered(self, accepted: asyncio.Future[bool]) -> None:
        if not accepted.cancelled() and not accepted.result():
            self._is_denied = True
            self._changed.set()

    def _end(self) -> End | None:
        """Return why the read ends; `None` while it goes on."""
        if self.connection.disconnected.done():
            return End.DISCONNECTED
        if self._size > self.pauses.size_limit:
            return End.TOO_MUCH
        if self._missing == set():
            return End.COMPLETE
        if self._remaining() > 0:
            return None
        return End.COMPLETE if self._has_returned or not self.marker_topic else End.GUESSED

    def _remaining(self) -> float:
        """Return the seconds after which the read ends unless a message arrives."""
        pauses = self.pauses
        if self._has_returned:
            pause = pauses.overtaken if self._was_overtaken else pauses.after_marker
        else:
            pause = pauses.without_marker if self._is_denied or not self.marker_topic else pauses.lost_marker
        return self._last_arrival + pause - asyncio.get_running_loop().time()
