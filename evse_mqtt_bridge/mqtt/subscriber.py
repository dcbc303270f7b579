"""Subscribes on the current connection, reads retained messages, and gives up what the broker does not allow."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain.events import Listener, RestoreUncertain, SubscriptionRejected
from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.mqtt.retained import SEARCH_FILTERS, End, Pauses, RetainedReader
from evse_mqtt_bridge.publishing.suspects import MOST_FILTERS, FilterSuspects

__all__ = ["Subscriber"]

_UNCERTAIN = frozenset({End.GUESSED, End.TOO_MUCH, End.TOO_LONG})


@dataclass(slots=True)
class Subscriber:
    """The subscriptions of a session.

    Attributes:
        listener: Receives the events of rejected subscriptions.
        chance: Returns random numbers.
        pauses: The waiting times for retained messages.
        may_search_first: Whether the broker has not closed a connection at a search for previous base topics.
        was_closed: Whether the broker has closed a connection at any subscription.
    """

    listener: Listener
    chance: Callable[[], float]
    pauses: Pauses
    may_search_first: bool = True
    was_closed: bool = False
    _suspects: FilterSuspects = field(default_factory=FilterSuspects)
    _connection: Connection | None = None
    _reader: RetainedReader | None = None
    _is_optional: bool = False
    _answered: set[str] = field(default_factory=set)

    def use(self, connection: Connection | None, marker_topic: str = "") -> None:
        """Subscribe on this connection from now on, with markers on this topic."""
        self._connection, self._reader, self._is_optional = connection, None, False
        if connection is not None:
            self._reader = RetainedReader(connection, marker_topic, self.chance, self._subscribe, self.pauses)

    async def subscribe(self, filters: Iterable[str]) -> None:
        """Subscribe, and report the filters that the broker rejected."""
        self._is_optional = False
        self._report(await self._subscribe([each for each in filters if not self._suspects.is_given_up(each)]))

    async def watch(self, filters: Iterable[str]) -> None:
        """Subscribe to what others publish. A filter that the broker rejects does not matter."""
        self._is_optional = True
        for topic_filter in filters:
            if self._connection is not None and not self._suspects.is_given_up(topic_filter):
                await self._connection.subscribe([topic_filter], is_watch=True)
                if not self._connection.pending_filters:
                    self._answered.add(topic_filter)

    def may_watch_first(self, filters: Iterable[str]) -> bool:
        """Return whether the broker has answered to these filters on an earlier connection, and did not close it."""
        return self._answered.issuperset(filters)

    async def read(self, filters: Iterable[str], *, is_optional: bool = False) -> None:
        """Subscribe, and wait until all retained messages have arrived; never return if the connection ends before.

        Args:
            filters: The topic filters.
            is_optional: Whether they are only needed for a clean-up. They are given up at once if the broker closes the
                connection.
        """
        reader, filters = self._reader, [each for each in filters if not self._suspects.is_given_up(each)]
        if reader is None or not filters:
            return
        self._is_optional = is_optional
        end = await reader.read(filters)
        if end is End.DISCONNECTED:
            # Not everything has arrived, so nothing may follow: the session cancels the caller.
            await asyncio.get_running_loop().create_future()
        self._report(reader.rejected)
        if end in _UNCERTAIN:
            self.listener.restore_uncertain(RestoreUncertain(reader.marker_topic, end.value))

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """End subscriptions, and that to the marker, which the next read needs again."""
        if self._connection is not None and self._reader is not None:
            all_filters = [*filters, self._reader.marker_topic]
            for start in range(0, len(all_filters), MOST_FILTERS):
                self._connection.unsubscribe(all_filters[start : start + MOST_FILTERS])

    def received(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Note a message; return whether the publication has to receive it."""
        return self._reader is None or self._reader.received(topic, payload, retained=retained) or not retained

    def closed(self, filters: Iterable[str]) -> None:
        """Note that the broker closed the connection at a SUBSCRIBE with these filters."""
        self.was_closed = True
        self.may_search_first &= SEARCH_FILTERS.isdisjoint(filters)
        if given_up := self._suspects.closed(filters, is_optional=self._is_optional):
            self._report([given_up])
            if given_up in SEARCH_FILTERS:  # each further one would cost another connection
                self._suspects.give_up(SEARCH_FILTERS)

    async def _subscribe(self, filters: list[str]) -> list[str]:
        """Subscribe, suspects one by one; return the filters that the broker rejected.

        They include a given-up marker.
        """
        rejected = [each for each in filters if self._suspects.is_given_up(each)]
        for batch in self._suspects.batches(filters):
            if self._connection is None or self._connection.disconnected.done():
                break
            rejected += await self._connection.subscribe(batch)
            if not self._connection.pending_filters:
                self._suspects.accepted(batch)
        return rejected

    def _report(self, filters: Iterable[str]) -> None:
        for topic_filter in filters:
            self.listener.subscription_rejected(SubscriptionRejected(topic_filter))
