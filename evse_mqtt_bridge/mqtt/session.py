"""The bridge's presence on the broker: connected again whenever that is lost, and the whole picture said each time.

    connect -> subscribe -> read what an earlier life left -> say the whole picture -> say what changes -> lost -> wait

While there is no connection nothing is kept for later: what would be sent then is read from the state when the
connection is back, so that the broker gets one message per topic, with the newest value.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.model import Message, StationState
from evse_mqtt_bridge.mqtt import connection as mqtt
from evse_mqtt_bridge.mqtt.reconnect import Reconnect
from evse_mqtt_bridge.publishing.migration import Transition
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.topics import covers
from evse_mqtt_bridge.support.errors import ConfigError
from evse_mqtt_bridge.support.tls import client_context

__all__ = ["Chance", "Session", "SessionLog", "Snapshot", "tls_context"]

QUIET = 0.5
"""Seconds without a retained message after which a subscription has delivered all of them; MQTT has no mark for it."""

GREETING_LIMIT = 30.0
"""Seconds that reading what an earlier life left may take."""

BIRTH_SPREAD = 5.0
"""Seconds over which bridges spread their answer to Home Assistant's birth message."""

STEP_PAUSE = 1.0
"""Seconds that consumers get to take a step of a transition in; MQTT does not tell when they have."""

FAREWELL_LIMIT = 2.0
"""Seconds that `offline` may take to be acknowledged."""


class Snapshot(Protocol):
    """What the session asks of the bridge, which knows what is to be said."""

    @property
    def birth_topic(self) -> str:
        """Where a consumer says that it has started; empty: nowhere."""

    @property
    def memory_filters(self) -> list[str]:
        """Subscriptions that yield what an earlier life left."""

    def more_memory_filters(self, retained: dict[str, bytes]) -> list[str]:
        """Further ones, for places that only what was read so far tells of."""

    def recall(self, retained: dict[str, bytes]) -> Transition:
        """What to say before the picture, and after it, for what an earlier life left."""

    def whole(self, waits: Callable[[str], bool]) -> Iterator[Message]:
        """Everything: discovery, then values, then availability, the bridge's own last; less what `waits` as news."""

    def late_infos(self) -> Iterator[Message]:
        """What is said after the end of a transition, since it is all that tells of what went."""

    def news(self, key: str, told: StationState | None) -> Iterator[Message]:
        """What a broker that was told this of a station, or nothing, does not know yet."""

    def will(self) -> Message:
        """What the broker publishes when the bridge is lost, and the bridge when it ends."""


class SessionLog(Protocol):
    """What the session tells, for the log and the metrics."""

    def broker_connected(self) -> None:
        """A connection was accepted."""

    def broker_ended(self, ended: mqtt.Disconnected, wait: float) -> None:
        """A connection, or an attempt, ended; the next attempt is in `wait` seconds."""

    def publish_refused(self, topic: str, reason: str) -> None:
        """The broker will not have a publication."""

    def subscription_refused(self, topic_filter: str) -> None:
        """The broker will not have a subscription."""

    def birth_seen(self) -> None:
        """A consumer started; everything will be said again."""

    def farewell_failed(self) -> None:
        """`offline` was not acknowledged; the broker is left to publish the will."""


_NO = frozenset({mqtt.DisconnectReason.LOGIN, mqtt.DisconnectReason.REFUSED, mqtt.DisconnectReason.TLS})

Chance = Callable[[], float]
"""Random, from 0 up to 1."""


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """A context that verifies the broker, and shows the bridge's own certificate where there is one.

    Raises:
        ConfigError: a file cannot be read, is not PEM, or certificate and key do not belong together.
    """
    if tls is None:
        return None
    return client_context("mqtt.tls", tls.ca_file, tls.cert_file, tls.key_file)


@dataclass(slots=True)
class Session:
    """See the module. All of it is called on the event loop."""

    settings: Mqtt
    picture: Snapshot
    log: SessionLog
    chance: Chance
    published: int = 0
    """Messages handed to the broker, over all connections."""
    _outbox: Outbox[StationState] = field(init=False)
    _connection: mqtt.Connection | None = None
    _open: bool = False
    _retained: dict[str, bytes] = field(default_factory=dict)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _born: bool = False
    _changes: list[Transition] = field(default_factory=list)
    _greeted: bool = False
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _silent: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._outbox = Outbox(self.picture.news)

    def publish(self, key: str, told: StationState) -> None:
        """There is news for a broker that was told this; none while there is no connection, which gets a picture."""
        if self._open:
            self._outbox.put(key, told)
            if self._connection is not None and not self._connection.has_room:
                self._connection.catch_up()
            self._pump()

    def publish_last(self, messages: Iterable[Message]) -> None:
        """Say these records after all that waits; a transition under way says them at its end."""
        if self._open:
            self._outbox.put_last(messages)
            self._pump()

    def publish_anew(self, keys: Iterable[str], last: Iterable[Message]) -> None:
        """Say all that there is of these, and `last` after all that waits, less what was said by then."""
        if self._open:
            for key in keys:
                self._outbox.put(key, None)
        if self._greeted:
            self._outbox.put_last(last)
            self._pump()

    def repeat(self) -> None:
        """Say the whole picture again."""
        if self._open:
            self._outbox.refill(self.picture.whole(self._outbox.waits))
            self._pump()

    def change(self, transition: Transition) -> None:
        """Go through a transition, after those that are under way, then say the whole picture."""
        if self._greeted:
            self._open = False
            self._outbox.interrupt()  # what it draws would be words of the plan that the transition is to lead to
            self._changes.append(transition)
            self._asked.set()

    @property
    def connected(self) -> bool:
        """Whether what is published goes out."""
        return self._open

    def listen(self) -> None:
        """Subscribe to the birth topic, where that has changed."""
        self._asked.set()

    async def run(self) -> None:
        """Stay connected until cancelled; then say `offline`, have it acknowledged, and disconnect."""
        loop = asyncio.get_running_loop()
        state = Reconnect()
        handlers = mqtt.Handlers(self._receive, self.log.publish_refused, self._pump)
        while True:
            met = await self._connect(handlers)
            if isinstance(met, mqtt.Disconnected):
                state, ended = state.failed(refused=met.trouble in _NO), met
            else:
                state = state.connected(loop.time())
                ended = await self._serve(met)
                state = state.lost(loop.time())
                ended = _judged(ended, state)
            wait = state.wait(loop.time(), self.chance())
            self.log.broker_ended(ended, wait)
            await asyncio.sleep(wait)

    async def _connect(self, handlers: mqtt.Handlers) -> mqtt.Connection | mqtt.Disconnected:
        """One attempt; certificates are read anew for each, since they are replaced while the bridge runs."""
        try:
            tls = tls_context(self.settings.tls)
        except ConfigError as error:
            return mqtt.Disconnected(mqtt.DisconnectReason.TLS, str(error))
        return await mqtt.connect(self.settings, tls, self.picture.will(), handlers)

    async def _serve(self, connection: mqtt.Connection) -> mqtt.Disconnected:
        """One connection, from CONNACK to its end."""
        self._connection = connection
        self._outbox.empty()
        self._born = False
        self._changes.clear()
        self.log.broker_connected()
        tending = asyncio.create_task(connection.tend(), name="mqtt-tend")
        talking = asyncio.create_task(self._talk(connection), name="mqtt-talk")
        try:
            await asyncio.wait((tending, talking), return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                talking.result()  # it ends by itself only when something is wrong with the bridge
            return await tending
        except asyncio.CancelledError:
            talking.cancel()
            await self._say_farewell(connection)
            raise
        finally:
            self._open = self._greeted = False
            self._connection = None
            for task in (tending, talking):
                task.cancel()
            connection.abort()

    async def _talk(self, connection: mqtt.Connection) -> None:
        """Read what an earlier life left, say everything, and say it again when a consumer starts."""
        memory, birth_topic = self.picture.memory_filters, self.picture.birth_topic
        await self._read_retained(connection, [topic for topic in (birth_topic, *memory) if topic])
        more = self.picture.more_memory_filters(self._retained)
        if more:
            await self._read_retained(connection, more)
        connection.unsubscribe([*memory, *more])
        transition = self.picture.recall(self._retained)
        self._retained = {}
        self._greeted = True
        await self._introduce(transition)
        while True:
            await self._asked.wait()
            self._asked.clear()
            if birth_topic != self.picture.birth_topic:
                birth_topic = self.picture.birth_topic
                for refused in await connection.subscribe([birth_topic]) if birth_topic else ():
                    self.log.subscription_refused(refused)
            if self._born:
                self.log.birth_seen()
                await asyncio.sleep(self.chance() * BIRTH_SPREAD)
                self._born = False
                self.repeat()
            while self._changes:
                await self._introduce(self._changes.pop(0))

    async def _introduce(self, transition: Transition) -> None:
        """The steps of a transition, one after the other, then the whole picture, unless another one follows."""
        self._open = False
        self._outbox.interrupt()
        for step in transition.steps:
            self._outbox.put_first(step)
            self._silent.clear()
            self._pump()
            await self._silent.wait()
            await asyncio.sleep(STEP_PAUSE)
        if not self._changes:
            self._open = True
            self._outbox.refill(self.picture.whole(self._outbox.waits))
        self._outbox.put_last([*transition.last, *self.picture.late_infos()])
        self._pump()

    async def _read_retained(self, connection: mqtt.Connection, filters: list[str]) -> None:
        """Subscribe, and wait until the broker has delivered what is retained there."""
        refused = await connection.subscribe(filters)
        if connection.ended.done():
            return
        for topic_filter in refused:
            self.log.subscription_refused(topic_filter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GREETING_LIMIT):
                while await self._heard_within(QUIET):
                    pass

    async def _heard_within(self, seconds: float) -> bool:
        self._heard.clear()
        try:
            async with asyncio.timeout(seconds):
                return await self._heard.wait()
        except TimeoutError:
            return False

    async def _say_farewell(self, connection: mqtt.Connection) -> None:
        """`offline` as the last message, acknowledged; else the broker is left to publish the will."""
        self._open = self._greeted = False
        self._outbox.empty()
        self._outbox.put_first([self.picture.will()])
        self._silent.clear()
        self._pump()
        silent = asyncio.create_task(self._silent.wait(), name="mqtt-farewell")
        await asyncio.wait((silent, connection.ended), return_when=asyncio.FIRST_COMPLETED, timeout=FAREWELL_LIMIT)
        silent.cancel()
        if self._silent.is_set():
            connection.disconnect()
        else:
            self.log.farewell_failed()

    def _pump(self) -> None:
        """Hand the broker as much as it may have at once."""
        connection = self._connection
        if connection is None:
            return
        while connection.has_room:
            message = self._outbox.take()
            if message is None:
                if not connection.in_flight:
                    self._silent.set()
                return
            self.published += connection.publish(message)

    def _receive(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # what MQTT delivers
        if retained:
            if not self._open:
                self._retained[topic] = payload
                self._heard.set()
        elif payload == b"online" and self._open and covers(self.picture.birth_topic, topic):
            self._born = True
            self._asked.set()


def _judged(ended: mqtt.Disconnected, state: Reconnect) -> mqtt.Disconnected:
    """How a connection ended, in the light of those before.

    Not every broker says that a client id was taken over (with MQTT 3.1.1 none can). And one that does may mean an
    earlier attempt of this very bridge, which it only came to when it was no longer busy.
    """
    match ended.trouble:
        case mqtt.DisconnectReason.LOST if state.unsteady:
            return replace(ended, trouble=mqtt.DisconnectReason.UNSTEADY)
        case mqtt.DisconnectReason.TAKEN_OVER if state.short_lived <= 1:
            return replace(ended, trouble=mqtt.DisconnectReason.LOST)
    return ended
