"""One MQTT connection, from connecting to its end; the event loop drives paho without a thread.

A connection is never reused: paho would replay the messages that were in flight when the last one was lost, and those
values are out of date. A connection sends messages, and counts the unacknowledged ones. Other modules decide what to
send, and when to reconnect.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import (
    MQTT_CLEAN_START_FIRST_ONLY,
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    MQTTv5,
    MQTTv311,
)
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import Disconnected, close_sockets_of, connect_error, refusal
from evse_mqtt_bridge.mqtt.paho_compat import patch_paho
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.support.threads import in_daemon_thread
from evse_mqtt_bridge.support.tls import client_context

__all__ = ["Connection", "Handlers", "connect", "tls_context"]

CONNECT_TIMEOUT = 10.0
"""Seconds for name resolution, TCP, TLS and the broker's CONNACK, each."""

WINDOW = 20
"""Maximum number of unacknowledged messages; a higher number does not make paho faster."""

WINDOW_QOS_0 = 500
"""The same at QoS 0, where only the socket is a limit: as many as one iteration of the loop writes in about 10 ms."""

ACKNOWLEDGE_LIMIT = 60.0
"""Seconds without any acknowledgement after which a connection is dropped, even if the broker answers pings."""

WILL_DELAY = 5
"""Seconds for which an MQTT 5 broker delays the will, so that a quick reconnect shows no `offline`."""

SESSION_EXPIRY = 30
"""Seconds for which an MQTT 5 broker keeps the session; the end of the session would cut the will's delay short."""

_INCOMING_LIMIT = 1024 * 1024
_PUBLISH_OVERHEAD = 32
_FAILED = 0x80

patch_paho()


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


async def connect(
    settings: Mqtt, tls: ssl.SSLContext | None, will: Message | None, handlers: Handlers
) -> "Connection | Disconnected":
    """Return a connection that the broker has accepted, or the reason why it failed.

    Args:
        settings: The settings of the broker.
        tls: The TLS context; `None`: no TLS.
        will: The will; `None`: none.
        handlers: The callbacks of the connection.
    """
    connection = Connection(settings, tls, will, handlers)
    try:
        result = await connection.open()
    except BaseException:
        connection.abort()
        raise
    return connection if result is None else result


class Connection:
    """One connection, see the module. The future `disconnected` is done when the connection has ended."""

    def __init__(self, settings: Mqtt, tls: ssl.SSLContext | None, will: Message | None, handlers: Handlers) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._handlers = handlers
        self._in_flight: dict[int, str] = {}
        self._progress = self._loop.time()
        self._is_notifying = False
        self._window = WINDOW
        self._qos = settings.qos
        self._packet_limit: int | None = None
        self._socket: socket.socket | None = None
        self._writing = False
        self._accepted: asyncio.Future[Disconnected | None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self.disconnected: asyncio.Future[Disconnected] = self._loop.create_future()
        self._is_v5 = settings.protocol == "5"
        self._is_aborted = False
        self._properties: dict[str, Properties] = {}
        self._client = self._make_client(tls, will)

    def _make_client(self, tls: ssl.SSLContext | None, will: Message | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=MQTTv5 if self._is_v5 else MQTTv311,
            clean_session=None if self._is_v5 else True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # the window here is the limit; paho's own costs a scan per PUBACK
        client.connect_timeout = CONNECT_TIMEOUT
        if self._settings.username:
            password = self._settings.password
            client.username_pw_set(self._settings.username, password.get_secret_value() if password else None)
        if tls is not None:
            client.tls_set_context(tls)
        if will is not None:
            delayed = _properties(PacketTypes.WILLMESSAGE)
            delayed.WillDelayInterval = WILL_DELAY
            client.will_set(
                will.topic,
                will.payload,
                qos=min(1, self._qos),
                retain=True,
                properties=delayed if self._is_v5 else None,
            )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        return client

    async def open(self) -> Disconnected | None:
        """Connect and wait for the broker's CONNACK; return `None` if the broker accepts."""
        try:
            await in_daemon_thread(self._connect_blocking, "mqtt-connect")
        except (OSError, ValueError) as error:
            return connect_error(error)
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            return Disconnected(DisconnectReason.UNREACHABLE, "the connection was closed at once")
        self._socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.on_socket_close = self._on_socket_close
        self._client.on_socket_register_write = self._on_write_wanted
        self._loop.add_reader(sock, self._read)
        if self._client.want_write():
            self._flush()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                result = await self._accepted
        except TimeoutError:
            detail = f"the broker did not answer CONNECT within {CONNECT_TIMEOUT:g} s"
            result = Disconnected(DisconnectReason.UNREACHABLE, detail)
        if result is not None:
            self.abort()
            if result.reason is DisconnectReason.LOST:
                detail = "the broker closed the connection instead of answering CONNECT"
                return Disconnected(DisconnectReason.UNREACHABLE, detail)
        return result

    def _connect_blocking(self) -> None:
        properties = None
        if self._is_v5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY
            properties.MaximumPacketSize = _INCOMING_LIMIT
        try:
            self._client.connect(
                self._settings.host,
                self._settings.effective_port,
                keepalive=self._settings.keepalive,
                clean_start=True if self._is_v5 else MQTT_CLEAN_START_FIRST_ONLY,
                properties=properties,
            )
        except BaseException as error:
            close_sockets_of(error)
            raise
        sock = self._client.socket()
        if self._is_aborted and sock is not None:
            sock.close()

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
        return len(self._in_flight) < self._window and not self.disconnected.done()

    @property
    def in_flight(self) -> int:
        """The number of unacknowledged messages."""
        return len(self._in_flight)

    def publish(self, message: Message) -> bool:
        """Send a message, which requires `has_room`; return whether it was sent."""
        if self._packet_limit is not None:
            size = len(message.payload) + len(message.topic.encode()) + _PUBLISH_OVERHEAD
            if size > self._packet_limit:
                self._handlers.rejected(
                    message.topic, f"{size} bytes exceed the broker's limit of {self._packet_limit}"
                )
                return False
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=self._qos if message.qos is None else min(message.qos, self._qos),
            retain=message.retain,
            properties=self._properties_of(message),
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if not self._in_flight:
            self._progress = self._loop.time()
        self._in_flight[info.mid] = message.topic
        return True

    def _properties_of(self, message: Message) -> Properties | None:
        """Return the PUBLISH properties of a message; all messages of a content type share one object."""
        content_type = message.content_type
        if not content_type or not self._is_v5 or not message.payload:
            return None
        properties = self._properties.get(content_type)
        if properties is None:
            properties = self._properties[content_type] = _properties(PacketTypes.PUBLISH)
            properties.ContentType = content_type
        return properties

    def read_acknowledgements(self) -> None:
        """Read acknowledgements now, without waiting for the event loop.

        A loop that is busy with polls reads acknowledgements only once per iteration over all connections to the cloud.
        Polling would then take the time that publishing its results needs.
        """
        if self._socket is not None:
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
        answer = self._subscribed[mid] = self._loop.create_future()
        await asyncio.wait((answer, self.disconnected), return_when=asyncio.FIRST_COMPLETED, timeout=CONNECT_TIMEOUT)
        if not answer.done():
            self._end(
                Disconnected(DisconnectReason.LOST, f"the broker did not answer SUBSCRIBE within {CONNECT_TIMEOUT:g} s")
            )
            return []
        return [name for name, code in zip(filters, answer.result(), strict=False) if code.value >= _FAILED]

    def unsubscribe(self, filters: list[str]) -> None:
        """End subscriptions."""
        self._client.unsubscribe(filters)

    def disconnect(self) -> None:
        """End the connection with DISCONNECT; the broker then discards the will."""
        self._client.disconnect()
        self._client.loop_write()
        self.abort()

    def abort(self) -> None:
        """Drop the connection without DISCONNECT, so that the broker publishes the will."""
        self._is_aborted = True
        self._client.on_disconnect = None
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()
        self._end(Disconnected(DisconnectReason.LOST, "the bridge closed the connection"))

    # Called by paho, on the event loop

    def _on_connect(
        self, _client: Client, _userdata: object, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self._accepted.done():
            return
        if code.is_failure:
            self._accepted.set_result(refusal(code))
            return
        self._packet_limit = getattr(properties, "MaximumPacketSize", None)
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self._qos = min(self._qos, getattr(properties, "MaximumQoS", self._qos))
        if self._qos == 0:
            self._window = WINDOW_QOS_0
            self._client.on_publish = (
                None  # paho would only report that the socket accepted the message, at a third of the total cost
            )
        self._accepted.set_result(None)

    def _on_disconnect(
        self, _client: Client, _userdata: object, flags: DisconnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        if str(code) == "Session taken over":
            result = Disconnected(DisconnectReason.TAKEN_OVER, "another client took over this client id")
        elif flags.is_disconnect_packet_from_server:
            result = Disconnected(DisconnectReason.LOST, f"the broker closed the connection: {clean(str(code))}")
        elif str(code) == "Keep alive timeout":
            result = Disconnected(DisconnectReason.LOST, "the broker stopped answering")
        else:
            result = Disconnected(DisconnectReason.LOST, "the connection was lost")
        self._end(result)

    def _on_publish(self, _client: Client, _userdata: object, mid: int, code: ReasonCode, _properties: object) -> None:
        topic = self._in_flight.pop(mid, None)
        if topic is not None and code.value >= _FAILED:
            self._handlers.rejected(topic, clean(str(code)))
        self._made_progress()

    def _made_progress(self) -> None:
        self._progress = self._loop.time()
        if not self._is_notifying:  # once per iteration of the loop
            self._is_notifying = True
            self._loop.call_soon(self._notify)

    def _notify(self) -> None:
        self._is_notifying = False
        self._handlers.room_available()

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        self._handlers.received(topic, bytes(message.payload), message.retain)

    def _on_subscribe(
        self, _client: Client, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        answer = self._subscribed.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    def _on_socket_close(self, _client: Client, _userdata: object, _sock: object) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def _on_write_wanted(self, _client: Client, _userdata: object, _sock: object) -> None:
        # Write once per iteration of the loop, for all messages that were published in it.
        self._loop.call_soon(self._flush)

    # Called by the event loop

    def _read(self) -> None:
        self._client.loop_read()
        # TLS may have decrypted more than was read, which the selector does not detect.
        while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            self._client.loop_read()

    def _flush(self) -> None:
        self._client.loop_write()
        if self._socket is None:
            return
        if self._client.want_write():
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket, self._flush)
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)
        if self._qos == 0 and self._in_flight:
            self._in_flight.clear()
            self._made_progress()

    def _end(self, result: Disconnected) -> None:
        if not self._accepted.done():
            self._accepted.set_result(result)
        if not self.disconnected.done():
            self.disconnected.set_result(result)


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves its constructor untyped
