"""Reads retained messages. MQTT does not mark the last one, so the reader has to find out when all have arrived.

It ends a read at the first of these:

- Each filter is a topic without wildcards, and each topic has delivered its message.
- The marker has come back: a message of the bridge's own, on a topic of the same SUBSCRIBE, published after its SUBACK.
  A broker that delivers in order, such as Mosquitto, sends it after the retained messages. Others, such as aedes,
  deliver retained messages in the background. So a short time without a retained message must follow, and a longer one
  if the marker overtook some.
- The broker does not allow the marker: only then, a time without a message counts as the end, which is a guess.
- The marker is lost. Mosquitto drops every packet above `max_queued_messages` (1000) that the socket does not take.
  Retained messages are then lost, too, so the reader subscribes again, once, which delivers all of them again. If the
  queue is empty again before the marker, only retained messages are lost: the callers read those again that they miss.
- The limits of time and size, against floods.

Anybody can flood the search for other bridges, which is part of a read with the manifest of the bridge itself. So the
search has a limit of its own. Above that limit, or if the marker is lost, the reader subscribes to the others alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics, matcher

__all__ = ["PAUSES", "SEARCH_FILTERS", "End", "Pauses", "RetainedReader"]

SEARCH_FILTERS = frozenset(Topics.bridge_info_filters())
"""The filters of the search for other bridges, and for base topics that this bridge has left."""


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
        size_limit: Maximum size of the messages of a read, in bytes. The `info` topics of 20,000 stations have about
            14 MB; `state` and `last_session` of 40,000 plugs that charge have about 44 MB.
        search_limit: The same for the search; one bridge has about 500 bytes.
    """

    after_marker: float = 0.2
    overtaken: float = 0.5
    without_marker: float = 1.0
    lost_marker: float = 2.0
    limit: float = 30.0
    size_limit: int = 64 * 1024 * 1024
    search_limit: int = 4 * 1024 * 1024


_SEARCHED = f"/{BRIDGE}/info"

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
    _token: bytes = b""
    _token_count: int = 0
    _has_returned: bool = False
    _was_overtaken: bool = False
    _is_denied: bool = False
    _is_wanted: Callable[[str], bool] = field(default_factory=lambda: matcher(()))
    _is_search: bool = False
    _size: int = 0
    _search_size: int = 0
    _last_arrival: float = 0.0

    def received(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Note a message of the connection; return whether it is a retained one, within the limits of the read."""
        now = asyncio.get_running_loop().time()
        if not retained:
            if topic == self.marker_topic and payload == self._token and not self._has_returned:
                self._has_returned, self._last_arrival = True, now
                self._changed.set()
            return False
        self._last_arrival = now
        size = len(topic) + len(payload)
        if self._is_wanted(topic):
            self._size += size
        elif self._is_search and topic.endswith(_SEARCHED):
            self._search_size += size
        else:
            return False  # the rest of an earlier read
        self._was_overtaken |= self._has_returned
        if self._missing is not None:
            self._missing.discard(topic)
        if self._missing == set() or self._is_too_much:
            self._changed.set()
        return not self._is_too_much

    @property
    def _is_too_much(self) -> bool:
        return self._size > self.pauses.size_limit or self._search_size > self.pauses.search_limit

    async def read(self, filters: Iterable[str]) -> End:
        """Subscribe, and wait until all retained messages have arrived; return why the wait ended."""
        filters = list(filters)
        try:
            async with asyncio.timeout(self.pauses.limit):
                end = await self._read(filters)
        except TimeoutError:
            end = End.TOO_LONG
        if end is End.GUESSED:
            self._is_denied = True  # for the rest of the connection, because each attempt takes time
        return end

    async def _read(self, filters: list[str]) -> End:
        search = [each for each in filters if each in SEARCH_FILTERS]
        others = [each for each in filters if each not in SEARCH_FILTERS]
        end = await self._attempt(filters)
        if end is End.TOO_MUCH and search and others:
            self.connection.unsubscribe(search)
            rejected = self.rejected
            end = await self._attempt(others)
            self.rejected = [*rejected, *self.rejected]
            return End.TOO_MUCH if end is End.COMPLETE else end
        if end is End.GUESSED and self.marker_topic and not self._is_denied:
            end = await self._attempt(others or search)
            if end is End.COMPLETE and others and search:
                end = await self._attempt(search)
        return end

    async def _attempt(self, filters: list[str]) -> End:
        """Subscribe and wait once."""
        self._is_wanted = matcher(each for each in filters if each not in SEARCH_FILTERS)
        self._is_search = not SEARCH_FILTERS.isdisjoint(filters)
        self._missing = None if any(set(name) & set("+#") for name in filters) else set(filters)
        self._has_returned = self._was_overtaken = False
        self._size = self._search_size = 0
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
        self._token = f"{int(self.chance() * 2**53):x}-{self._token_count}".encode()
        self._token_count += 1
        accepted = self.connection.publish_marker(Message(self.marker_topic, self._token, retain=False, qos=1))
        accepted.add_done_callback(self._marker_answered)

    def _marker_answered(self, accepted: asyncio.Future[bool]) -> None:
        if not accepted.cancelled() and not accepted.result():
            self._is_denied = True
            self._changed.set()

    def _end(self) -> End | None:
        """Return why the read ends; `None` while it goes on."""
        if self.connection.disconnected.done():
            return End.DISCONNECTED
        if self._is_too_much:
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
