"""One MQTT connection, from connecting to its end; the event loop drives paho without a thread.

A connection is never reused: paho would replay the messages that were in flight when the last one was lost, and those
values are out of date. A connection sends messages, and counts the unacknowledged ones. outbound.py encodes them, and
what the broker sends passes through inbound.py first. Other modules decide what to send, and when to reconnect.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import (
    Disconnected,
    VersionDoubt,
    connect_error,
    disconnection,
    reason_text,
    refusal,
)
from evse_mqtt_bridge.mqtt.inbound import FAILED, Connack, Inbound, InvalidPacketError
from evse_mqtt_bridge.mqtt.limits import WINDOW, WINDOW_QOS_0, Limits
from evse_mqtt_bridge.mqtt.outbound import Outbound
from evse_mqtt_bridge.mqtt.paho_client import PahoClient
from evse_mqtt_bridge.mqtt.transport import SocketTransport, Transport, open_socket
from evse_mqtt_bridge.mqtt.versions import MqttVersion
from evse_mqtt_bridge.publishing.manifest_payloads import ENTRY_LIMIT
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.support.threads import in_daemon_thread
from evse_mqtt_bridge.support.tls import client_context

__all__ = ["ConnectOptions", "Connection", "Handlers", "connect", "tls_context"]

CONNECT_TIMEOUT = 10.0
"""Seconds for name resolution, TCP, TLS and the broker's CONNACK, each."""

ACKNOWLEDGE_LIMIT = 60.0
"""Seconds without any acknowledgement after which a connection is dropped, even if the broker answers pings."""

RECENT = 2.0
"""Seconds in which a message at QoS 0 may be the one at which the broker closes the connection."""

READ_STEP = 0.01
"""Seconds after which reading pauses for the rest of the event loop, however much has arrived."""

ARRIVED_LIMIT = 16 * 1024 * 1024
"""Maximum size of what is read but not yet handled, in bytes; the manifest of 20,000 stations has about 14 MB."""

_CHUNK = 16 * 1024
"""Bytes to read at once, as many as a TLS record holds; handling them takes a few milliseconds at most."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """The callbacks of a connection, called on the event loop.

    Attributes:
        received: Called for each message: topic, payload, whether it was retained.
        rejected: Called for each message that the broker rejected: topic and reason.
        room_available: Called when messages were acknowledged, so that there is room for others.
    """

    received: Callable[[str, bytes, bool], None]
    rejected: Callable[[str, str], None]
    room_available: Callable[[], None]


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Return a context that verifies the broker, and presents a client certificate if one is configured.

    Raises:
        ConfigError: A file cannot be read, is not PEM, or the key does not belong to the certificate.
    """
    return None if tls is None else client_context("mqtt.tls", tls.ca_file, tls.cert_file, tls.key_file)


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """What a connection begins with.

    Attributes:
        settings: The settings of the broker.
        tls: The TLS context; `None`: no TLS.
        will: The will; `None`: none.
        packet_limit: Maximum size of a packet that the broker may send, in bytes.
        version: The MQTT version.
    """

    settings: Mqtt
    tls: ssl.SSLContext | None = None
    will: Message | None = None
    packet_limit: int = ENTRY_LIMIT
    version: MqttVersion = "5"


async def connect(options: ConnectOptions, handlers: Handlers) -> "Connection | Disconnected":
    """Return a connection that the broker has accepted, or the reason why it failed."""
    connection = Connection(options, handlers)
    try:
        result = await connection.open()
    except BaseException:
        connection.abort()
        raise
    return connection if result is None else result


class Connection:
    """One connection, see the module.

    Attributes:
        disconnected: Done when the connection has ended.
        pending_filters: The filters of a SUBSCRIBE that the broker has not answered.
    """

    def __init__(self, options: ConnectOptions, handlers: Handlers) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._handlers = handlers
        self._in_flight: dict[int, str] = {}
        self._arrived: deque[bytes] = deque()
        self._arrived_size = 0
        self._is_handling = False
        self._alone: int | None = None
        self._barrier: int | None = None
        self._recent: deque[tuple[float, str]] = deque(maxlen=WINDOW_QOS_0)
        self._markers: dict[int, asyncio.Future[bool]] = {}
        self._progress = self._loop.time()
        self._is_notifying = False
        self._limits = Limits(options.settings.qos, WINDOW, None)
        self._transport: Transport | None = None
        self._is_flush_due = False
        self._is_writing = False
        self._accepted: asyncio.Future[Disconnected | None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self.disconnected: asyncio.Future[Disconnected] = self._loop.create_future()
        self.pending_filters: list[str] = []
        self._is_v5 = options.version == "5"
        self._is_aborted = False
        self._inbound = Inbound(self._is_v5, options.packet_limit)
        self._outbound = Outbound(self._is_v5)
        self._client = client = PahoClient(options.settings, options.will, is_v5=self._is_v5)
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_socket_close = self._on_socket_close

    async def open(self) -> Disconnected | None:
        """Connect and wait for the broker's CONNACK; return `None` if the broker accepts."""

        def open_unless_aborted() -> Transport:
            transport = _open_transport(self._options.settings, self._options.tls)
            if self._is_aborted:
                transport.close()
            return transport

        try:
            self._transport = await in_daemon_thread(open_unless_aborted, "mqtt-connect")
        except (OSError, ValueError) as error:
            return connect_error(error)
        self._loop.add_reader(self._transport.fileno(), self._read)
        self._client.send_connect(self._transport, self._inbound, self._write)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                result = await self._accepted
        except TimeoutError:
            detail = f"the broker did not answer CONNECT within {CONNECT_TIMEOUT:g} s"
            result = Disconnected(DisconnectReason.UNREACHABLE, detail, VersionDoubt.POSSIBLE)
        if result is not None:
            self.abort()
            if result.reason is DisconnectReason.LOST:
                detail = "the broker closed the connection instead of answering CONNECT"
                return Disconnected(DisconnectReason.UNREACHABLE, detail, VersionDoubt.POSSIBLE)
        return result

    async def keep_alive(self) -> Disconnected:
        """Keep the connection alive until it ends; return why it ended."""
        while not self.disconnected.done():
            await asyncio.wait((self.disconnected,), timeout=1.0)
            self._client.loop_misc()
            if self._in_flight and self._loop.time() - self._progress > ACKNOWLEDGE_LIMIT:
                self._end(
                    Disconnected(DisconnectReason.LOST, f"the broker acknowledged nothing for {ACKNOWLEDGE_LIMIT:g} s")
                )
        return self.disconnected.result()

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent."""
        is_full = self._alone is not None or len(self._in_flight) >= self._limits.window
        return not is_full and not self.disconnected.done()

    @property
    def in_flight(self) -> int:
        """The number of unacknowledged messages."""
        return len(self._in_flight)

    @property
    def unacknowledged(self) -> list[str]:
        """The topics of the unacknowledged messages, in the order of publishing; at QoS 0, the most recent ones."""
        since = self._loop.time() - RECENT
        return list(dict.fromkeys([*(topic for at, topic in self._recent if at >= since), *self._in_flight.values()]))

    @property
    def skipped(self) -> int:
        """The number of received messages that were too large or malformed."""
        return self._inbound.skipped

    def publish(self, message: Message, *, is_alone: bool = False) -> bool:
        """Send a message, which requires `has_room`; return whether it was sent.

        Args:
            message: The message.
            is_alone: Whether there is no room for others until the broker has handled it; it must be the only one in
                flight. At QoS 0, the answer to an UNSUBSCRIBE shows that.
        """
        if excess := self._limits.excess(message):
            self._handlers.rejected(message.topic, excess)
            return False
        identifier = self._send(message)
        if identifier is None:
            return False
        now = self._loop.time()
        if not self._in_flight:
            self._progress = now
        self._in_flight[identifier] = message.topic
        if is_alone:
            self._alone = identifier
            self._recent.clear()
            if self._limits.qos == 0:
                _, self._barrier = self._client.unsubscribe(message.topic)
        elif self._limits.qos == 0:
            self._recent.append((now, message.topic))
        return True

    def publish_marker(self, message: Message) -> asyncio.Future[bool]:
        """Send a message beside the others; the future is done when the broker accepts or rejects it.

        At QoS 0, and with MQTT 3.1.1, a broker cannot reject it.
        """
        outcome: asyncio.Future[bool] = self._loop.create_future()
        identifier = self._send(message)
        if identifier is None:
            outcome.set_result(False)
        elif self._limits.qos == 0:
            outcome.set_result(True)
        else:
            self._markers[identifier] = outcome
        return outcome

    def _send(self, message: Message) -> int | None:
        """Send a message; return its packet identifier, `None` if there is no connection."""
        if self._transport is None:
            return None
        qos = self._limits.qos
        identifier = self._outbound.publish(message, qos if message.qos is None else min(message.qos, qos))
        self._flush_soon()
        return identifier

    def _write(self, packet: bytes) -> None:
        """Send a packet of paho."""
        self._outbound.buffer += packet
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Write once per iteration of the loop, for all packets that were added in it."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def read_acknowledgements(self) -> None:
        """Read acknowledgements now, without waiting for the event loop.

        A loop that is busy with polls reads acknowledgements only once per iteration over all connections to the cloud.
        Polling would then take the time that publishing its results needs.
        """
        self._flush()
        self._read()

    async def subscribe(self, filters: list[str]) -> list[str]:
        """Subscribe at QoS 0; return the filters that the broker rejected, none if the connection ended."""
        options: list[tuple[str, Any]] = [
            (topic_filter, SubscribeOptions(qos=0) if self._is_v5 else 0) for topic_filter in filters
        ]
        _, mid = self._client.subscribe(options)
        if mid is None:  # there is no connection any more
            return []
        self.pending_filters = filters
        answer = self._subscribed[mid] = self._loop.create_future()
        await asyncio.wait((answer, self.disconnected), return_when=asyncio.FIRST_COMPLETED, timeout=CONNECT_TIMEOUT)
        if not answer.done():
            self._end(
                Disconnected(DisconnectReason.LOST, f"the broker did not answer SUBSCRIBE within {CONNECT_TIMEOUT:g} s")
            )
            return []
        self.pending_filters = []
        return [name for name, code in zip(filters, answer.result(), strict=False) if code.value >= FAILED]

    def unsubscribe(self, filters: list[str]) -> None:
        """End subscriptions."""
        self._client.unsubscribe(filters)

    def disconnect(self) -> None:
        """End the connection with DISCONNECT; the broker then discards the will."""
        self._outbound.disconnect()
        self._flush()
        self.abort()

    def abort(self) -> None:
        """Drop the connection without DISCONNECT, so that the broker publishes the will."""
        self._is_aborted = True
        self._client.on_disconnect = None
        self._close_transport()
        self._end(Disconnected(DisconnectReason.LOST, "the bridge closed the connection"))

    def _close_transport(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self._loop.remove_reader(transport.fileno())
            self._loop.remove_writer(transport.fileno())
            transport.close()

    def _on_connack(self, connack: Connack) -> None:
        """Apply the limits of the broker."""
        if (refused := refusal(connack)) is not None:
            self._accepted.set_result(refused)
            return
        self._limits = Limits.of(connack, self._limits.qos)
        self._accepted.set_result(None)

    # Called by paho, on the event loop

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        has_timed_out = str(code) == "Keep alive timeout"
        detail = "the broker stopped answering" if has_timed_out else "the connection was lost"
        self._end(Disconnected(DisconnectReason.LOST, detail))

    def _made_progress(self) -> None:
        self._progress = self._loop.time()
        if not self._is_notifying:  # once per iteration of the loop
            self._is_notifying = True
            self._loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._is_notifying = False
        self._handlers.room_available()

    def _on_subscribe(
        self, _client: Client, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        answer = self._subscribed.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    def _on_unsubscribe(self, _client: Client, _userdata: object, mid: int, *_: object) -> None:
        if self._alone is not None and mid == self._barrier:
            self._in_flight.pop(self._alone, None)
            self._alone = None
            self._made_progress()

    def _on_socket_close(self, _client: Client, _userdata: object, _sock: object) -> None:
        self._close_transport()

    # Called by the event loop

    def _read(self) -> None:
        """Read what has arrived, for `READ_STEP` seconds; the rest follows in the next iteration of the loop.

        Reading does not wait until the messages are handled, because Mosquitto drops what the socket does not take,
        above `max_queued_messages`.
        """
        until = self._loop.time() + READ_STEP
        while (transport := self._transport) is not None and self._arrived_size < ARRIVED_LIMIT:
            try:
                data = transport.receive(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self._arrived.append(data)
            self._arrived_size += len(data)
            if not data:
                self._loop.remove_reader(transport.fileno())
                break
            if not transport.has_pending() and (len(data) < _CHUNK or self._loop.time() >= until):
                break
        if not self._is_handling:
            self._handle_arrived()

    def _handle_arrived(self) -> None:
        """Handle what was read, for `READ_STEP` seconds; the rest follows in the next iteration of the loop."""
        until = self._loop.time() + READ_STEP
        while self._arrived and self._transport is not None:
            data = self._arrived.popleft()
            self._arrived_size -= len(data)
            self._handle(data)
            if self._loop.time() >= until:
                break
        self._is_handling = bool(self._arrived) and self._transport is not None
        if self._is_handling:
            self._loop.call_soon(self._handle_arrived)
            if self._transport is not None and self._transport.has_pending():
                self._loop.call_soon(self._read)

    def _handle(self, data: bytes) -> None:
        """Handle bytes from the broker; no bytes: the end of the connection."""
        inbound = self._inbound
        try:
            messages = inbound.feed(data)
        except InvalidPacketError as error:
            reason = DisconnectReason.LOST if self._accepted.done() else DisconnectReason.UNREACHABLE
            self._close_transport()
            self._end(Disconnected(reason, f"the answer is not MQTT: {error}"))
            return
        if inbound.connack is not None and not self._accepted.done():
            self._on_connack(inbound.connack)
        for message in messages:
            self._handlers.received(message.topic, message.payload, message.retained)
        if inbound.acknowledgements:
            self._acknowledge()
        while inbound.for_paho and self._transport is not None:
            self._client.loop_read()
        if inbound.disconnect is not None:
            self._close_transport()
            self._end(disconnection(inbound.disconnect))
        elif not data:
            self._close_transport()
            self._end(Disconnected(DisconnectReason.LOST, "the connection was lost", by_broker=True))

    def _acknowledge(self) -> None:
        """Handle the acknowledgements of messages."""
        acknowledgements, self._inbound.acknowledgements = self._inbound.acknowledgements, []
        for identifier, code, is_final in acknowledgements:
            if not is_final:
                self._outbound.release(identifier)
                self._flush_soon()
            elif marker := self._markers.pop(identifier, None):
                if not marker.done():
                    marker.set_result(code < FAILED)
            else:
                topic = self._in_flight.pop(identifier, None)
                if identifier == self._alone:
                    self._alone = None
                if topic is not None and code >= FAILED:
                    self._handlers.rejected(topic, reason_text(code))
        self._made_progress()

    def _flush(self) -> None:
        """Write what the socket takes; the rest follows when it has room."""
        self._is_flush_due = False
        transport, buffer = self._transport, self._outbound.buffer
        if transport is None:
            return
        try:
            if buffer:
                del buffer[: transport.send(buffer)]
            is_writing = bool(buffer) or transport.has_unsent()
        except BlockingIOError:
            is_writing = True
        except OSError:
            self._read()  # the broker may have sent the reason
            self._close_transport()
            self._end(Disconnected(DisconnectReason.LOST, "the connection was lost", by_broker=True))
            return
        if is_writing is not self._is_writing:
            self._is_writing = is_writing
            if is_writing:
                self._loop.add_writer(transport.fileno(), self._flush)
            else:
                self._loop.remove_writer(transport.fileno())
        if not is_writing and self._limits.qos == 0 and self._in_flight and self._alone is None:
            self._in_flight.clear()
            self._made_progress()

    def _end(self, result: Disconnected) -> None:
        if not self._accepted.done():
            self._accepted.set_result(result)
        if not self.disconnected.done():
            self.disconnected.set_result(result)
        for marker in self._markers.values():
            marker.cancel()


def _open_transport(settings: Mqtt, tls: ssl.SSLContext | None) -> Transport:
    """Connect, and return the stream for MQTT. The call blocks. Raises OSError or ValueError."""
    connected = open_socket(settings, tls, CONNECT_TIMEOUT)
    if settings.transport == "tcp":
        return SocketTransport(connected)
    from evse_mqtt_bridge.mqtt.websocket import open_websocket  # noqa: PLC0415  # few bridges need the library

    return open_websocket(connected, settings, CONNECT_TIMEOUT)
