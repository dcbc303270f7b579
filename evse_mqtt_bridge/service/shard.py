"""One shard of the running bridge: its publication, and its session with the broker."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.config.shard_settings import shard_settings
from evse_mqtt_bridge.domain.events import BrokerConnected, BrokerDisconnected, ConsumerStarted, Listener, Listeners
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.mqtt.connect_options import PERSISTENCE, Persistence
from evse_mqtt_bridge.mqtt.session import Chance, Gate, Session
from evse_mqtt_bridge.publishing.known_manifest import KnownManifest
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Publication
from evse_mqtt_bridge.publishing.topic_transfer import needs_manifest
from evse_mqtt_bridge.service.components.component import BackgroundTask

__all__ = ["LINK", "Connections", "Shard"]

LINK = -1
"""Stands for the connection of the member itself among the numbers of shards."""


class Connections:
    """Combines the connections of the shards to one event each, so that an outage of the broker is one outage.

    The broker counts as connected when every shard is. Each lost connection and failed attempt is an event. A shard
    that begins later is no outage, and its first connection no event.

    Args:
        listener: Receives the events.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._disconnected: set[int] = set()
        self._shards: Sequence[int] = ()
        self._is_reported = False
        """Whether the last event was that of the connection."""

    def begin(self, shards: Sequence[int]) -> None:
        """Expect the connections of these shards, none of which exists yet."""
        self._shards, self._disconnected = shards, set(shards)
        self._is_reported = False

    def change(self, shards: Sequence[int], begun: Collection[int]) -> None:
        """Expect the connections of these shards, of which some have just begun, and of no others."""
        self._shards, self._disconnected = shards, {*self._disconnected.intersection(shards), *begun}
        self._report(BrokerConnected())

    @property
    def is_complete(self) -> bool:
        """Whether every expected connection exists."""
        return not self._disconnected

    def listener(self, shard: int) -> Listener:
        """Return the listener for the session of a shard."""
        return _ShardListener(self, shard, self._listener)

    def connected(self, shard: int, event: BrokerConnected) -> None:
        """Note the connection of a shard."""
        if shard in self._shards:
            self._disconnected.discard(shard)
            self._report(event)

    def disconnected(self, shard: int, event: BrokerDisconnected) -> None:
        """Note a lost connection, or a failed attempt, of a shard."""
        if shard in self._shards:
            self._disconnected.add(shard)
            self._is_reported = False
            detail = f"member: {event.detail}" if shard == LINK else f"shard {shard}: {event.detail}"
            self._listener.broker_disconnected(replace(event, detail=detail, is_of_member=True))

    def consumer_started(self, shard: int, event: ConsumerStarted) -> None:
        """Note a birth message, which each shard receives."""
        if shard == min((each for each in self._shards if each != LINK), default=None):
            self._listener.consumer_started(event)

    def _report(self, event: BrokerConnected) -> None:
        if self._shards and not self._disconnected and not self._is_reported:
            self._is_reported = True
            self._listener.broker_connected(event)


class _ShardListener(Listeners):
    """Passes the events of one session on, those of the connection combined with those of the other shards."""

    def __init__(self, connections: Connections, shard: int, listener: Listener) -> None:
        super().__init__((listener,))
        self._connections = connections
        self._shard = shard

    def broker_connected(self, event: BrokerConnected) -> None:
        """See `Connections`."""
        self._connections.connected(self._shard, event)

    def broker_disconnected(self, event: BrokerDisconnected) -> None:
        """See `Connections`."""
        self._connections.disconnected(self._shard, event)

    def consumer_started(self, event: ConsumerStarted) -> None:
        """See `Connections`."""
        self._connections.consumer_started(self._shard, event)


class Shard:
    """A shard that runs in this process; without `[fleet]`, the whole bridge.

    Args:
        config: The configuration.
        plan: The publishing plan of the shard.
        stations: The states of the stations of all shards.
        started: When the bridge started, in UTC.
        listener: Receives the events of the session.
        chance: Returns random numbers.
        gate: Decides whether the session may connect; `None`: always.
        manifest: Returns the known part of the manifest for a plan; `None`: the shard reads all of it.
        is_continued: Whether another member polled the stations until now.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the bridge that the shards share
        self,
        config: Config,
        plan: Plan,
        stations: Stations,
        started: datetime,
        listener: Listener,
        chance: Chance,
        gate: Gate | None = None,
        manifest: Callable[[Plan], KnownManifest] | None = None,
        *,
        is_continued: bool = False,
    ) -> None:
        self.share = plan.share
        self.publication = Publication(plan, stations, started, is_continued=is_continued)
        self._listener = listener
        self._chance = chance
        self._gate = gate
        self._manifest = manifest
        self._task = BackgroundTask(f"session-{plan.share.number}" if config.fleet else "session")
        self.session = self._new_session(config)

    @property
    def settings(self) -> Mqtt:
        """The settings of the session in use."""
        return self.session.settings

    @property
    def plan(self) -> Plan:
        """The current plan."""
        return self.publication.plan

    def start(self, on_bug: Callable[[BaseException], None]) -> None:
        """Connect, and stay connected; `on_bug` receives an exception, which ends the session."""
        self._task.start(self.session.run())
        self._task.report_bugs(on_bug)

    async def stop(self) -> None:
        """Publish `offline`, and disconnect."""
        await self._task.stop()

    def hand_over(self) -> None:
        """Publish only what is pending now, and not `offline`; call `stop` next. The states may be dropped."""
        self.session.hand_over()

    def abandon(self) -> None:
        """Publish nothing more; call `stop` next. The states may be dropped."""
        self.session.abandon()

    def reconfigure(self, config: Config, plan: Plan) -> None:
        """Switch to other topics and stations. With other settings, a new session replaces the stopped one."""
        settings = shard_settings(config, self.share.number)
        if settings == self.settings:
            if needs_manifest(self.plan, plan):
                self.session.reconnect(plan)
            elif plan != self.plan:  # else another port of the status page, which is in no message
                self.session.reconfigure(plan)
            return
        if settings.address != self.settings.address:
            self.publication.broker_changed()
        self.publication.reconfigured(plan)
        published = self.session.published
        self.session = self._new_session(config)
        self.session.continue_count(published)

    def _new_session(self, config: Config) -> Session:
        settings = shard_settings(config, self.share.number)
        fleet = config.fleet
        persistence = (
            PERSISTENCE if fleet is None else Persistence(int(2 * fleet.ttl), int(3 * fleet.ttl), continues=True)
        )
        session = Session(settings, self.publication, self._listener, self._chance, persistence=persistence)
        if self._gate is not None:
            session.gate = self._gate
        if (manifest := self._manifest) is not None:
            session.manifest = lambda: manifest(self.plan)
        return session
