"""Reads what other bridges claim, and watches the bridge's own topics: what others change is published again."""

import asyncio
from dataclasses import dataclass

from evse_mqtt_bridge.domain.events import Listener, OtherBridgeStopped, SameStations, TopicsDisturbed
from evse_mqtt_bridge.mqtt.backoff import Backoff
from evse_mqtt_bridge.mqtt.births import CHECK_EVERY
from evse_mqtt_bridge.mqtt.subscriber import Subscriber
from evse_mqtt_bridge.publishing.publication import Publication
from evse_mqtt_bridge.publishing.watch import Disturbance

__all__ = ["Watcher"]


@dataclass(slots=True)
class Watcher:
    """The part of a session that is about others, on which nothing else depends.

    It begins when everything is published; on later connections before that, if the broker accepts it.

    Attributes:
        publication: Decides.
        subscriber: Subscribes.
        listener: Receives the events.
        repairs: The pauses before topics are published again; they outlive connections, so that two bridges which
            overwrite each other in spite of all rules slow down.
        reads: The pauses before the entries of other bridges are read again.
    """

    publication: Publication
    subscriber: Subscriber
    listener: Listener
    repairs: Backoff
    reads: Backoff
    _filters: tuple[str, ...] = ()
    _is_given_up: bool = False
    _has_echo: bool = False

    def use_connection(self) -> None:
        """Begin again, on a new connection."""
        self._filters, self._is_given_up = (), self._has_echo
        self.repairs.dropped()
        self.reads.dropped()

    def noticed(self) -> bool:
        """Note that a message arrived; return whether `step` has something to do because of it."""
        now = asyncio.get_running_loop().time()
        watch, before = self.publication.watch, (self.repairs.is_due, self.reads.is_due)
        if watch.is_pending:
            self.repairs.noticed(now)
        if watch.others.is_outdated:
            self.reads.noticed(now)
        return before != (self.repairs.is_due, self.reads.is_due)

    async def begin_early(self) -> None:
        """Watch from the first message on, so that nothing is missed, if that cannot cost the connection."""
        if not self._is_given_up and self.subscriber.may_watch_first(self.publication.watch.filters):
            await self._follow_filters()

    async def search(self) -> None:
        """Read what other bridges claim, and what previous runs published under other base topics."""
        while (subscriptions := self.publication.next_search()) is not None:
            await self.subscriber.read([*subscriptions.lasting, *subscriptions.retained], is_optional=True)
            if subscriptions.retained:
                self.subscriber.unsubscribe(subscriptions.retained)
                # A filter that the watch has as well is subscribed to again by the next step, with No Local.
                self._filters = tuple(each for each in self._filters if each not in subscriptions.retained)
        others = self.publication.watch.others
        for base, stations in others.with_same_stations().items():
            self.listener.same_stations(SameStations(others.client_id(base), base.base, stations))

    async def step(self) -> float | None:
        """Do what is due; return the time until the next call, in seconds; `None`: only after `noticed`.

        After 0 there are messages to send.
        """
        if not self._is_given_up:
            await self._follow_filters()
        self.noticed()
        now = asyncio.get_running_loop().time()
        if self.reads.wait(now) == 0:
            self.reads.reacted(now)
            await self.search()
            return 0
        if self.repairs.wait(now) == 0:
            if self.publication.is_republishing:
                return CHECK_EVERY
            self._repair(now)
            return 0
        return min((wait for wait in (self.reads.wait(now), self.repairs.wait(now)) if wait is not None), default=None)

    def _repair(self, now: float) -> None:
        found = self.publication.repair()
        if found.is_echo or found.rival:
            self._is_given_up, self._has_echo = True, found.is_echo
            self.subscriber.unsubscribe(self._filters)
        if found.keys:
            self.repairs.reacted(now)
        else:
            self.repairs.dropped()
        self._report(found)

    def _report(self, found: Disturbance) -> None:
        others, plan = self.publication.watch.others, self.publication.plan
        if found.topics:
            self.listener.topics_disturbed(TopicsDisturbed(found.topics, found.example, is_cleared=found.is_cleared))
        for base in found.stopped:
            self.listener.other_bridge_stopped(OtherBridgeStopped(others.client_id(base), base.base))
        if found.rival:
            self.listener.same_stations(SameStations(found.rival, plan.topics.base, len(plan.stations)))

    async def _follow_filters(self) -> None:
        """Subscribe to the topics of the current plan, and end other subscriptions."""
        old, self._filters = self._filters, self.publication.watch.filters
        if gone := [each for each in old if each not in self._filters]:
            self.subscriber.unsubscribe(gone)
        await self.subscriber.watch(each for each in self._filters if each not in old)
