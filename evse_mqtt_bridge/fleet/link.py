"""The connection of a member itself to the broker, beside those of its shards.

It shows on the broker that the member is alive, and whether the member reaches the broker although it runs no shard. It
reads which member publishes which shard; that decides about a connection of a shard while the engine does not answer.
And it keeps a copy of the manifest, so that a shard that begins need not read it.
"""

import asyncio
from collections.abc import Callable

from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.config.shard_settings import shard_settings
from evse_mqtt_bridge.domain.events import BrokerConnected, BrokerDisconnected, DisconnectReason, Listener
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.manifest_copy import ManifestCopy
from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions, Handlers, Persistence, tls_context
from evse_mqtt_bridge.mqtt.connection import Connection, connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.reconnect import Reconnect, in_context
from evse_mqtt_bridge.mqtt.retained import PAUSES
from evse_mqtt_bridge.mqtt.subscriber import Subscriber
from evse_mqtt_bridge.publishing.known_manifest import KnownManifest
from evse_mqtt_bridge.publishing.manifest_payloads import read_claim
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.support.errors import ConfigError

__all__ = ["Link", "link_settings"]

_GATE_PAUSE = 0.25
"""Pause before it is asked again whether the connection may be made, in seconds."""

_MOST_UNREAD = 2
"""Number of connections that end before everything was read, after which no shard waits for the next one."""

_REFUSALS = frozenset({DisconnectReason.LOGIN, DisconnectReason.REFUSED, DisconnectReason.TLS})


class Link:
    """The connection, which is made again whenever it is lost. Call every method on the event loop.

    Args:
        config: The configuration, with `[fleet]`.
        member: The name of the member.
        listener: Receives the events of the connection.
        chance: Returns random numbers from 0 up to 1.
        may_connect: Returns whether the member may use its name; otherwise the connection would disconnect that of
            another process with the same name.
    """

    def __init__(
        self,
        config: Config,
        member: str,
        listener: Listener,
        chance: Callable[[], float],
        may_connect: Callable[[], bool],
    ) -> None:
        self._settings = link_settings(config, member)
        self._client_id = config.mqtt.client_id
        self._topics = Topics(config.mqtt.base_topic)
        self._topic = self._topics.member(member)
        self._listener = listener
        self._chance = chance
        self._may_connect = may_connect
        ttl = int(config.fleet.ttl) if config.fleet else 0
        self._persistence = Persistence(will_delay=ttl, session_expiry=ttl)
        self._subscriber = Subscriber(listener, chance, PAUSES)
        self._connection: Connection | None = None
        self._claims: dict[int, Claim] = {}
        self._copy = ManifestCopy(config.fleet.shards if config.fleet else 1)
        self._unread_connections = 0
        """The number of connections, one after the other, that ended before everything was read."""
        self.is_expected = True
        """Whether the connection, or the end of the reading, is a matter of time. A broker may refuse it, or close it
        at a subscription, although it accepts those of the shards."""
        self.is_current = False
        """Whether the broker is connected, and the claims on it are known."""

    @property
    def settings(self) -> Mqtt:
        """The settings of the connection."""
        return self._settings

    def claim(self, shard: int) -> Claim | None:
        """Return the claim in the retained `info` of a shard; `None`: there is none, or it is not known."""
        return self._claims.get(shard)

    def manifest(self, plan: Plan) -> KnownManifest | None:
        """Return the manifest of the stations of a shard, by its plan; `None` if it is not known."""
        if not self.is_current or not self._copy.is_complete:
            return None
        topics = [plan.topics.info, *(plan.topics.station(each.topic_id, "info") for each in plan.stations.values())]
        filters = frozenset({plan.topics.info, plan.topics.manifest_filter})
        return KnownManifest(filters, self._copy.of_shard(plan.share.number, topics))

    async def run(self) -> None:
        """Stay connected until cancelled; then clear the topic of the member, and disconnect."""
        loop = asyncio.get_running_loop()
        state = Reconnect()
        while True:
            while not self._may_connect():  # noqa: ASYNC110  # nothing reports the change
                await asyncio.sleep(_GATE_PAUSE)
            result = await self._connect()
            if isinstance(result, Disconnected):
                self.is_expected = result.reason not in _REFUSALS
                state, disconnected = state.failed(refused=not self.is_expected), result
            else:
                state = state.connected(loop.time())
                self._unread_connections += 1
                disconnected = await self._serve(result)
                self.is_expected = self._unread_connections < _MOST_UNREAD
                state = state.lost(loop.time())
                disconnected = in_context(disconnected, state)
            wait = state.wait(loop.time(), self._chance())
            self._listener.broker_disconnected(BrokerDisconnected(disconnected.reason, disconnected.detail, wait))
            await asyncio.sleep(wait)

    async def _connect(self) -> Connection | Disconnected:
        try:
            tls = tls_context(self._settings.tls)
        except ConfigError as error:
            return Disconnected(DisconnectReason.TLS, str(error))
        handlers = Handlers(self._received, lambda _topic, _detail: None, lambda: None)
        options = ConnectOptions(self._settings, tls, Message(self._topic, b"offline"), persistence=self._persistence)
        return await connect(options, handlers)

    async def _serve(self, connection: Connection) -> Disconnected:
        self._connection = connection
        self._subscriber.use(connection, f"{self._topic}/marker")
        reading = asyncio.create_task(self._read(connection), name="member-read")
        keeping_alive = asyncio.create_task(connection.keep_alive(), name="member-keep-alive")
        try:
            await asyncio.wait((keeping_alive, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            return await keeping_alive
        except asyncio.CancelledError:
            connection.publish(Message(self._topic, b""))
            connection.disconnect()
            raise
        finally:
            self.is_current = False
            self._claims.clear()
            self._copy.clear()
            self._subscriber.use(None)
            self._connection = None
            for task in (keeping_alive, reading):
                task.cancel()
            connection.abort()

    async def _read(self, connection: Connection) -> None:
        """Read the claims, which the broker keeps up to date from then on."""
        await self._subscriber.read((*self._topics.shard_info_filters, self._topics.manifest_filter))
        self._unread_connections, self.is_expected, self.is_current = 0, True, True
        connection.publish(Message(self._topic, b"online"))
        self._listener.broker_connected(BrokerConnected())

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # as MQTT delivers it
        self._subscriber.received(topic, payload, retained=retained)
        self._copy.received(topic, payload)
        shard, claim = read_claim(topic, payload, self._client_id)
        if claim is not None:
            self._claims[shard] = claim
        else:
            self._claims.pop(shard, None)


def link_settings(config: Config, member: str) -> Mqtt:
    """Return the settings of the connection of a member."""
    settings = shard_settings(config, 0)
    return settings.model_copy(update={"client_id": f"{settings.client_id}-member-{member}"})
