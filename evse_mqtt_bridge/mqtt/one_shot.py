"""The one-shot client: connects beside a running bridge, reads and clears retained messages, and disconnects."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions, Handlers, tls_context
from evse_mqtt_bridge.mqtt.connection import Connection, connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.negotiation import negotiate
from evse_mqtt_bridge.mqtt.retained import End, Pauses, RetainedReader
from evse_mqtt_bridge.mqtt.sender import Sender
from evse_mqtt_bridge.mqtt.versions import MqttVersion, Version
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.suspects import Suspects
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["ACKNOWLEDGE_LIMIT", "OneShotClient", "one_shot_client"]

_PACKET_LIMIT = 1024 * 1024
"""Maximum size of a packet, in bytes: topics to clear may have large payloads, such as labels."""

_PAUSES = Pauses(without_marker=2.0, limit=300.0, size_limit=1024 * 1024 * 1024, search_limit=64 * 1024 * 1024)
"""All topics of a bridge, with their values: more than a bridge reads when it starts."""

ACKNOWLEDGE_LIMIT = 30.0
"""Seconds without any acknowledgement after which the client stops publishing."""


@dataclass(slots=True)
class OneShotClient:
    """Reads retained messages and publishes on one connection.

    Attributes:
        rejected: The reasons of rejected messages, by topic.
        version: The MQTT version in use.
    """

    rejected: dict[str, str] = field(default_factory=dict)
    version: MqttVersion = "5"
    _connection: Connection | None = None
    _reader: RetainedReader | None = None
    _retained: dict[str, bytes] = field(default_factory=dict)
    _pending: Iterator[Message] = field(default_factory=lambda: iter(()))
    _sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self._sender = Sender(lambda most: list(islice(self._pending, most)), Suspects(""))

    def use(self, connection: Connection, base: Topics) -> None:
        """Use this connection, which the broker accepted; the marker goes below this base topic."""
        self._connection = connection
        self._sender.use(connection)
        self._reader = RetainedReader(connection, base.marker, random.random, connection.subscribe, _PAUSES)

    @property
    def is_connected(self) -> bool:
        """Whether the connection has not ended."""
        return self._connection is not None and not self._connection.disconnected.done()

    async def retained(
        self, filters: list[str], *, has_marker: bool = True, is_optional: bool = False
    ) -> dict[str, bytes]:
        """Return the retained payloads under these filters, and those of earlier calls.

        Args:
            filters: The topic filters.
            has_marker: Whether to publish a marker, which filters with wildcards need. After a call without one, later
                calls have none either.
            is_optional: Whether to return what can be read, instead of raising an error.

        Raises:
            UnavailableError: The broker rejected a subscription, or the connection was lost, or there are too many
                messages.
        """
        if self._reader is None:
            raise RuntimeError("not connected")
        if not has_marker:
            self._reader.marker_topic = ""
        end = await self._reader.read(filters)
        if is_optional:
            return dict(self._retained)
        if end is End.DISCONNECTED:  # then not everything has arrived
            detail = self._reader.connection.disconnected.result().detail
            raise UnavailableError(f"the connection to the broker was lost while reading: {detail}")
        if self._reader.rejected:
            raise UnavailableError(f"the broker does not allow this user to read {', '.join(self._reader.rejected)}")
        if end in (End.TOO_MUCH, End.TOO_LONG):
            raise UnavailableError(f"{end.value} under {', '.join(filters)}")
        return dict(self._retained)

    async def publish(self, messages: Iterable[Message]) -> None:
        """Publish these messages, and wait for the acknowledgements; rejected messages are in `rejected`.

        Raises:
            UnavailableError: The connection was lost, or the broker acknowledged nothing for ACKNOWLEDGE_LIMIT.
        """
        if self._connection is None:
            raise RuntimeError("not connected")
        self._pending = iter(messages)
        self._sender.drained.clear()
        self._sender.pump()
        while not self._sender.drained.is_set():
            self._sender.progressed.clear()
            progressed = asyncio.create_task(self._sender.progressed.wait(), name="one-shot-publish")
            waits = (progressed, self._connection.disconnected)
            done, _ = await asyncio.wait(waits, timeout=ACKNOWLEDGE_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            progressed.cancel()
            if progressed not in done:
                raise UnavailableError("the broker did not acknowledge everything: try again")

    # Called by the connection

    def message_received(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # as MQTT delivers it
        """Store a retained message."""
        if self._reader is not None and self._reader.received(topic, payload, retained=retained):
            self._retained[topic] = payload

    def message_rejected(self, topic: str, detail: str) -> None:
        """Store why the broker rejected a message."""
        self.rejected[topic] = detail

    def room_available(self) -> None:
        """Send further messages, because the broker acknowledged some."""
        self._sender.room_available()


@asynccontextmanager
async def one_shot_client(settings: Mqtt, purpose: str) -> AsyncIterator[OneShotClient]:
    """Yield a client beside a running bridge, with the client id `<client_id>-<purpose>` and without a will.

    Raises:
        ConfigError: A TLS file cannot be used.
        UnavailableError: The connection failed; the text contains the reason.
    """
    client = OneShotClient()
    handlers = Handlers(client.message_received, client.message_rejected, client.room_available)
    # QoS 2 would only cost another exchange per message.
    settings = settings.model_copy(update={"client_id": f"{settings.client_id}-{purpose}", "qos": min(1, settings.qos)})
    tls = tls_context(settings.tls)

    async def attempt(version: MqttVersion) -> Connection | Disconnected:
        return await connect(ConnectOptions(settings, tls, None, _PACKET_LIMIT, version), handlers)

    version, result = await negotiate(Version.configured(settings.protocol), attempt)
    if isinstance(result, Disconnected):
        advice = _advice(result, settings)
        raise UnavailableError(f"broker {settings.address}: {result.detail}{advice}")
    client.version = version.current
    client.use(result, Topics(settings.base_topic))
    keeping_alive = asyncio.create_task(result.keep_alive(), name="one-shot-keep-alive")
    try:
        yield client
    finally:
        keeping_alive.cancel()
        result.disconnect()


def _advice(disconnected: Disconnected, settings: Mqtt) -> str:
    """Return what to check first; empty if the error does not indicate the cause."""
    if settings.transport == "websockets":
        expected = "MQTT over WebSocket with TLS" if settings.tls is not None else "MQTT over WebSocket without TLS"
    else:
        expected = "TLS" if settings.tls is not None else "MQTT without TLS"
    port_advice = f"; does it use {expected} on this port?"
    match disconnected.reason:
        case DisconnectReason.LOGIN:
            return "; check the user name, the password and the broker's access rules for this user"
        case DisconnectReason.TLS if "certificate was rejected" not in disconnected.detail:
            return port_advice
        case DisconnectReason.UNREACHABLE if any(
            text in disconnected.detail for text in ("closed the connection", "reset", "not MQTT")
        ):
            return port_advice
    return ""
