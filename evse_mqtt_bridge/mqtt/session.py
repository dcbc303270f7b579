"""The session with the broker: stays connected, and publishes the messages of the publication.

    connect -> read the manifest -> migrate -> full republish, then changes -> disconnected -> wait -> connect

publishing/publication.py decides what to publish, and in which order. This module does the waiting and the I/O.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.events import (
    BrokerConnected,
    BrokerDisconnected,
    ConsumerStarted,
    DisconnectReason,
    Listener,
    OlderVersionUsed,
    PublishForbidden,
    PublishRejected,
)
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.mqtt.backoff import Backoff
from evse_mqtt_bridge.mqtt.births import Births
from evse_mqtt_bridge.mqtt.closing import Ending, close
from evse_mqtt_bridge.mqtt.connect_options import PERSISTENCE, ConnectOptions, Handlers, Persistence, tls_context
from evse_mqtt_bridge.mqtt.connection import Connection, connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.negotiation import negotiate
from evse_mqtt_bridge.mqtt.reconnect import Reconnect, in_context
from evse_mqtt_bridge.mqtt.retained import PAUSES, Pauses
from evse_mqtt_bridge.mqtt.sender import Sender
from evse_mqtt_bridge.mqtt.subscriber import Subscriber
from evse_mqtt_bridge.mqtt.versions import MqttVersion, Version
from evse_mqtt_bridge.mqtt.watcher import Watcher
from evse_mqtt_bridge.publishing.known_manifest import NOTHING_KNOWN, KnownManifest
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Phase, Publication, Subscriptions
from evse_mqtt_bridge.publishing.suspects import Suspects
from evse_mqtt_bridge.support.errors import ConfigError
from evse_mqtt_bridge.support.text import clean

__all__ = ["Chance", "Gate", "Session", "Timing"]

Chance = Callable[[], float]
"""Returns a random number from 0 up to 1."""

Gate = Callable[[], Awaitable[bool]]
"""Returns whether this process may connect now; asked before each connection. If not, it is asked again soon."""

_LOGGED_TOPIC = 256

_LONGEST_PAUSE = 600.0
"""Maximum of the pauses that grow, in seconds."""

_REFUSALS = frozenset({DisconnectReason.LOGIN, DisconnectReason.REFUSED, DisconnectReason.TLS})


@dataclass(frozen=True, slots=True)
class Timing:
    """The waiting times of the session, in seconds.

    Attributes:
        retained: The waiting times for retained messages.
        birth_spread: Time over which several bridges spread their full republish after a birth message.
        birth_spacing: Minimum time between two full republishes because of birth messages.
        stage_pause: Time for consumers to process a stage of a migration; MQTT does not report when they have.
        closing_limit: Maximum time to wait for the acknowledgement of `offline`.
        repair_pause: Pause before topics that others changed are published again; it grows if they change them again.
        others_pause: Pause before what other bridges claim is read again; it grows, too.
        gate_pause: Pause before the gate is asked again.
        search_limit: Maximum time to wait until everything is published, before topics of previous runs are searched.
    """

    retained: Pauses = PAUSES
    birth_spread: float = 5.0
    birth_spacing: float = 10.0
    stage_pause: float = 1.0
    closing_limit: float = 2.0
    repair_pause: float = 2.0
    others_pause: float = 3.0
    gate_pause: float = 1.0
    search_limit: float = 60.0


_TIMING = Timing()


async def _always_open() -> bool:
    return True


def _nothing_known() -> KnownManifest:
    return NOTHING_KNOWN


@dataclass(slots=True)
class Session:
    """The session, see the module. Call every method on the event loop.

    Attributes:
        settings: The settings of the broker.
        publication: Yields the messages to publish.
        listener: Receives the events of the connection.
        chance: Returns random numbers for the waits.
        timing: The waiting times.
        persistence: What the broker keeps after a connection.
        gate: Decides before each connection whether it may begin: a connection disconnects the one of another member.
        manifest: Returns the part of the manifest that need not be read, at the begin of each connection.
    """

    settings: Mqtt
    publication: Publication
    listener: Listener
    chance: Chance
    timing: Timing = _TIMING
    persistence: Persistence = PERSISTENCE
    gate: Gate = _always_open
    manifest: Callable[[], KnownManifest] = _nothing_known
    _sender: Sender = field(init=False)
    _suspects: Suspects = field(init=False)
    _subscriber: Subscriber = field(init=False)
    _version: Version = field(init=False)
    _ending: Ending = Ending.OFFLINE
    _birth_topic: str = ""
    _births: Births = field(init=False)
    _watcher: Watcher = field(init=False)
    _is_search_complete: bool = False
    _wake_up: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._suspects = Suspects(self.settings.base_topic)
        self._sender = Sender(self.publication.next_messages, self._suspects)
        self._subscriber = Subscriber(self.listener, self.chance, self.timing.retained)
        self._version = Version.configured(self.settings.protocol)
        self._births = self._no_births()
        pauses = Backoff(self.timing.repair_pause, _LONGEST_PAUSE), Backoff(self.timing.others_pause, _LONGEST_PAUSE)
        self._watcher = Watcher(self.publication, self._subscriber, self.listener, *pauses)

    def _no_births(self) -> Births:
        return Births(self.timing.birth_spread, self.timing.birth_spacing)

    @property
    def is_live(self) -> bool:
        """Whether changes are published at once: the broker is connected, and any migration is completed."""
        return self.publication.phase is Phase.LIVE

    @property
    def published(self) -> int:
        """The number of messages sent to the broker, over all connections."""
        return self._sender.sent

    def continue_count(self, published: int) -> None:
        """Continue the count of sent messages from that of a previous session."""
        self._sender.sent += published

    def station_changed(self, station: Station, old: StationState, new: StationState) -> None:
        """Publish the changes of a poll, or of the passing of time; without a connection, do nothing."""
        self.publication.station_changed(station, old, new)
        connection = self._sender.connection
        if connection is not None and not connection.has_room:
            connection.read_acknowledgements()
        self._sender.pump()

    def sessions_changed(self) -> None:
        """Publish what happened to sessions before the meters of stations started."""
        self.publication.sessions_changed()
        self._sender.pump()

    def reconfigure(self, plan: Plan) -> None:
        """Switch to another plan on the same connection."""
        self.publication.reconfigured(plan)
        self._sender.pump()
        self._wake_up.set()

    def reconnect(self, plan: Plan) -> None:
        """Switch to another plan on another connection, which reads the manifest before it publishes."""
        if self._sender.connection is not None:
            self._sender.connection.abort()
        self.publication.reconfigured(plan)

    def hand_over(self) -> None:
        """Publish only what is pending now; the caller then cancels `run`, and another member continues."""
        self._ending = Ending.HAND_OVER
        if self.publication.phase is not Phase.OFFLINE:
            self.publication.handing_over()
            self._sender.pump()

    def abandon(self) -> None:
        """Publish nothing more; the caller then cancels `run`, as another member publishes the shard."""
        self._ending = Ending.ABANDON
        if self.publication.phase is not Phase.OFFLINE:
            self.publication.abandoning()

    def allow_clearing(self, *, is_allowed: bool) -> None:
        """Clear topics of previous entries from now on, or keep them for now."""
        self.publication.allow_clearing(is_allowed=is_allowed)
        self._sender.pump()
        self._wake_up.set()

    def clock_changed(self, shift: timedelta) -> None:
        """Publish the start time again, corrected by `shift`."""
        self.publication.clock_changed(shift)
        self._sender.pump()

    async def run(self) -> None:
        """Stay connected until cancelled; then publish `offline`, wait for the acknowledgement, and disconnect.

        After `hand_over`, it publishes what was pending then, and not `offline`; after `abandon`, nothing.
        """
        loop = asyncio.get_running_loop()
        state = Reconnect()
        while True:
            if not await self.gate():
                await asyncio.sleep(self.timing.gate_pause)
                continue
            result = await self._connect()
            if isinstance(result, Disconnected):
                state, disconnected = state.failed(refused=result.reason in _REFUSALS), result
            else:
                state = state.connected(loop.time())
                disconnected = await self._serve(result)
                state = state.lost(loop.time())
                if not await self.gate():
                    continue  # another member has the shard now, which is no outage
                disconnected = in_context(disconnected, state)
            wait = state.wait(loop.time(), self.chance())
            self.listener.broker_disconnected(BrokerDisconnected(disconnected.reason, disconnected.detail, wait))
            await asyncio.sleep(wait)

    async def _connect(self) -> Connection | Disconnected:
        """Try to connect once. Certificates are read each time, because they may be replaced while the bridge runs."""
        try:
            tls = tls_context(self.settings.tls)
        except ConfigError as error:
            return Disconnected(DisconnectReason.TLS, str(error))
        handlers = Handlers(self._received, self._rejected, self._sender.room_available)

        async def attempt(version: MqttVersion) -> Connection | Disconnected:
            will = self.publication.will()
            options = ConnectOptions(self.settings, tls, will, version=version, persistence=self.persistence)
            return await connect(options, handlers)

        was_fallback = self._version.is_fallback
        self._version, result = await negotiate(self._version, attempt)
        if self._version.is_fallback and not was_fallback:
            self.listener.older_version_used(OlderVersionUsed(self._version.current))
        return result

    async def _serve(self, connection: Connection) -> Disconnected:
        """Use one connection, from CONNACK to its end."""
        self._sender.use(connection)
        self._subscriber.use(connection, self.publication.plan.topics.marker)
        self._births, self._is_search_complete = self._no_births(), False
        self._watcher.use_connection()
        known = self.manifest()
        may_search_first = self._subscriber.may_search_first and not known.filters
        subscriptions = self.publication.connected(
            may_search_first=may_search_first, may_read_again=not self._subscriber.was_closed, known=known
        )
        self._birth_topic = self.publication.plan.birth_topic
        self.listener.broker_connected(BrokerConnected())
        keeping_alive = asyncio.create_task(connection.keep_alive(), name="mqtt-keep-alive")
        publishing = asyncio.create_task(self._publish(subscriptions, known), name="mqtt-publish")
        try:
            await asyncio.wait((keeping_alive, publishing), return_when=asyncio.FIRST_COMPLETED)
            if publishing.done():
                publishing.result()  # it ends only because of a bug, which this raises
            return self._closed(connection, await keeping_alive)
        except asyncio.CancelledError:
            publishing.cancel()
            limit = self.timing.closing_limit
            await close(self._ending, connection, self.publication, self._sender, self.listener, limit)
            raise
        finally:
            self.publication.disconnected()
            self._sender.use(None)
            self._subscriber.use(None)
            for task in (keeping_alive, publishing):
                task.cancel()
            connection.abort()

    def _closed(self, connection: Connection, disconnected: Disconnected) -> Disconnected:
        """Note at which topics the broker closed a connection, if it did."""
        if not disconnected.by_broker:
            return disconnected
        if filters := connection.pending_filters:
            self._subscriber.closed(filters)
            detail = f"{disconnected.detail} after a subscription to {', '.join(filters)}"
            return replace(disconnected, detail=clean(detail, _LOGGED_TOPIC), has_cause=True)
        topics = connection.unacknowledged
        if left_out := self._suspects.closed(topics):
            self.listener.publish_forbidden(PublishForbidden(left_out))
        if len(topics) != 1:
            return disconnected
        detail = f"{disconnected.detail} after a message on {clean(topics[0], _LOGGED_TOPIC)}"
        return replace(disconnected, detail=detail, has_cause=True)

    async def _publish(self, subscriptions: Subscriptions, known: KnownManifest) -> None:
        """Read the manifest, then publish until cancelled."""
        loop = asyncio.get_running_loop()
        await self._restore(subscriptions, known)
        await self._watcher.begin_early()
        search_at = loop.time() + self.timing.search_limit
        while True:
            self._sender.drained.clear()
            self._sender.pump()
            await self._follow_birth_topic()
            if self.publication.phase is Phase.MIGRATING:
                await self._finish_stage()
                continue
            wait = self._births.wait(loop.time(), is_republishing=self.publication.is_republishing)
            if self._sender.drained.is_set() and self.publication.drained():
                continue
            if wait == 0:
                self.listener.consumer_started(ConsumerStarted())
                self._births.republished()
                self.publication.republish()
            elif self._is_search_complete:
                completion = (self._sender.drained,) if self.publication.is_completing else ()
                await self._woken(_earlier(wait, await self._watcher.step()), *completion)
            elif self._sender.drained.is_set() or loop.time() >= search_at:
                await self._watcher.search()
                self._is_search_complete = True
            else:
                await self._woken(_earlier(wait, search_at - loop.time()), self._sender.drained)

    async def _woken(self, limit: float | None, *events: asyncio.Event) -> None:
        """Wait until there is something else to do, for at most `limit` seconds, or until one of the events."""
        waits = [asyncio.create_task(event.wait(), name="mqtt-wait") for event in (self._wake_up, *events)]
        try:
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        self._wake_up.clear()

    async def _restore(self, subscriptions: Subscriptions | None, known: KnownManifest) -> None:
        read: list[str] = []
        while subscriptions is not None:
            filters = [each for each in subscriptions.retained if each not in known.filters]
            await self._subscriber.subscribe(() if filters else subscriptions.lasting)
            await self._subscriber.read([*subscriptions.lasting, *filters] if filters else ())
            read += filters
            for topic_filter in known.filters.intersection(subscriptions.retained):
                for topic, payload in known.covered_by(topic_filter).items():
                    self.publication.received(topic, payload, retained=True)
            if self.publication.phase is Phase.CLOSING:
                return
            subscriptions = self.publication.restored()
            if subscriptions is None:
                # First, because the broker would deliver what follows, which looks like messages of another client.
                self._subscriber.unsubscribe(read)
            self._sender.pump()

    async def _follow_birth_topic(self) -> None:
        """Subscribe to the birth topic if a reload changed it; the old subscription ends with the connection."""
        topic = self.publication.plan.birth_topic
        if topic != self._birth_topic:
            self._birth_topic = topic
            await self._subscriber.subscribe([topic] if topic else [])

    async def _finish_stage(self) -> None:
        """Wait until a stage of a migration is acknowledged, pause for the consumers, and go on to the next stage."""
        self._sender.drained.clear()
        self._sender.pump()
        await self._sender.drained.wait()
        await asyncio.sleep(self.timing.stage_pause)
        self.publication.stage_acknowledged()
        self._sender.pump()

    # Called by the connection

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # as MQTT delivers it
        is_wanted = self._subscriber.received(topic, payload, retained=retained)
        if is_wanted and self.publication.received(topic, payload, retained=retained):
            if not self._births.is_pending:
                self._wake_up.set()
            self._births.received(asyncio.get_running_loop().time(), self.chance())
        if not retained and self._watcher.noticed():
            self._wake_up.set()

    def _rejected(self, topic: str, detail: str) -> None:
        self.listener.publish_rejected(PublishRejected(topic, detail))


def _earlier(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)
