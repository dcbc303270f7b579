"""One MQTT connection, from connecting to its end, with paho driven by the event loop.

A connection is never used twice: paho would replay what was in flight when the last one was lost, and those are values
of then. It sends and it counts what is not acknowledged; what to send, and when to connect again, is decided elsewhere.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.mqtt.paho_compat import read_every_text
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["Connection", "DisconnectReason", "Disconnected", "connect"]

CONNECT_TIMEOUT = 10.0
"""Seconds for name resolution, TCP, TLS and the broker's CONNACK, each."""

WINDOW = 20
"""Publications that may wait for their acknowledgement at once; more does not make paho faster."""

ACKNOWLEDGE_LIMIT = 60.0
"""Seconds without any acknowledgement after which a connection is given up, though the broker may answer pings."""

WINDOW_QOS_0 = 500
"""The same at QoS 0, where only the socket is waited for: what is written in one turn of the loop, some 10 ms."""

WILL_DELAY = 5
"""Seconds that an MQTT 5 broker waits with the will, so that a quick reconnect shows no `offline`."""

SESSION_EXPIRY = 30
"""Seconds that an MQTT 5 broker keeps the session; longer than the will's delay, or it would cut that short."""

_INCOMING_LIMIT = 1024 * 1024
_PUBLISH_OVERHEAD = 32
_FAILED = 0x80

read_every_text()


@dataclass(frozen=True, slots=True)
class Disconnected:
    """How a connection, or the attempt at one, ended."""

    trouble: DisconnectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Handlers:
    """What a connection calls on the event loop."""

    received: Callable[[str, bytes, bool], None]
    """Topic, payload, whether it was retained."""
    refused: Callable[[str, str], None]
    """Topic of a publication that the broker will not have, and why."""
    drained: Callable[[], None]
    """There is room for another publication."""


async def connect(
    settings: Mqtt, tls: ssl.SSLContext | None, will: Message | None, handlers: Handlers
) -> "Connection | Disconnected":
    """A connection that the broker has accepted, or why there is none."""
    connection = Connection(settings, tls, will, handlers)
    try:
        ended = await connection.open()
    except BaseException:
        connection.abort()
        raise
    return connection if ended is None else ended


class Connection:
    """See the module; `ended` is done when the connection is."""

    def __init__(self, settings: Mqtt, tls: ssl.SSLContext | None, will: Message | None, handlers: Handlers) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._handlers = handlers
        self._in_flight: dict[int, str] = {}
        self._progress = self._loop.time()
        self._draining = False
        self._window = WINDOW
        self._qos = settings.qos
        self._packet_limit: int | None = None
        self._socket: socket.socket | None = None
        self._writing = False
        self._accepted: asyncio.Future[Disconnected | None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self.ended: asyncio.Future[Disconnected] = self._loop.create_future()
        self._is_v5 = settings.protocol == "5"
        self._given_up = False
        self._json: Properties | None = None
        self._client = self._make_client(tls, will)

    def _make_client(self, tls: ssl.SSLContext | None, will: Message | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            protocol=MQTTv5 if self._is_v5 else MQTTv311,
            clean_session=None if self._is_v5 else True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # bounded by the window here; paho's own bound costs a scan per PUBACK
        client.connect_timeout = CONNECT_TIMEOUT
        if self._settings.username:
            password = self._settings.password
            client.username_pw_set(self._settings.username, password.get_secret_value() if password else None)
        if tls is not None:
            client.tls_set_context(tls)
        if self._is_v5:
            self._json = _properties(PacketTypes.PUBLISH)
            self._json.ContentType = "application/json"
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
        """Connect and wait for the broker's CONNACK; `None` when it accepted."""
        try:
            await in_daemon_thread(self._connect_blocking, "mqtt-connect")
        except (OSError, ValueError) as error:
            return _words_for(error)
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
                ended = await self._accepted
        except TimeoutError:
            ended = Disconnected(
                DisconnectReason.UNREACHABLE, f"it did not answer CONNECT within {CONNECT_TIMEOUT:g} s"
            )
        if ended is not None:
            self.abort()
            if ended.trouble is DisconnectReason.LOST:
                return Disconnected(
                    DisconnectReason.UNREACHABLE, "it closed the connection instead of answering CONNECT"
                )
        return ended

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
                clean_start=True if self._is_v5 else 3,
                properties=properties,
            )
        except BaseException as error:
            _close_what_was_begun(error)
            raise
        sock = self._client.socket()
        if self._given_up and sock is not None:
            sock.close()

    async def tend(self) -> Disconnected:
        """Keep the connection alive until it ends, and say how it did."""
        while not self.ended.done():
            await asyncio.wait((self.ended,), timeout=1.0)
            self._client.loop_misc()
            if self._in_flight and self._loop.time() - self._progress > ACKNOWLEDGE_LIMIT:
                self._end(Disconnected(DisconnectReason.LOST, f"it acknowledged nothing for {ACKNOWLEDGE_LIMIT:g} s"))
        return self.ended.result()

    @property
    def has_room(self) -> bool:
        """Whether another publication may be sent."""
        return len(self._in_flight) < self._window and not self.ended.done()

    @property
    def in_flight(self) -> int:
        """Publications without acknowledgement."""
        return len(self._in_flight)

    def publish(self, message: Message) -> bool:
        """Send one retained message, to be called only while there `has_room`; returns whether it is on its way."""
        if self._packet_limit is not None:
            size = len(message.payload) + len(message.topic.encode()) + _PUBLISH_OVERHEAD
            if size > self._packet_limit:
                self._handlers.refused(message.topic, f"{size} bytes are more than the {self._packet_limit} it takes")
                return False
        info = self._client.publish(
            message.topic,
            message.payload,
            qos=self._qos,
            retain=True,
            properties=self._json if message.json and message.payload else None,
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if not self._in_flight:
            self._progress = self._loop.time()
        self._in_flight[info.mid] = message.topic
        return True

    def catch_up(self) -> None:
        """Look for acknowledgements now.

        A loop that is busy with polls comes to them once in as many polls as there are connections, and would make
        polls in the time that telling their news takes.
        """
        if self._socket is not None:
            self._flush()
            self._read()

    async def subscribe(self, filters: list[str]) -> list[str]:
        """Subscribe, at QoS 0, and return the filters that the broker refused."""
        options: list[tuple[str, Any]] = [
            (topic_filter, SubscribeOptions(qos=0) if self._is_v5 else 0) for topic_filter in filters
        ]
        _, mid = self._client.subscribe(options)
        if mid is None:
            return filters
        answer = self._subscribed[mid] = self._loop.create_future()
        await asyncio.wait((answer, self.ended), return_when=asyncio.FIRST_COMPLETED, timeout=CONNECT_TIMEOUT)
        if not answer.done():
            self._end(Disconnected(DisconnectReason.LOST, f"it did not answer SUBSCRIBE within {CONNECT_TIMEOUT:g} s"))
            return []
        return [name for name, code in zip(filters, answer.result(), strict=False) if code.value >= _FAILED]

    def unsubscribe(self, filters: list[str]) -> None:
        """End subscriptions."""
        self._client.unsubscribe(filters)

    def disconnect(self) -> None:
        """End the connection in good order; the broker then keeps the will to itself."""
        self._client.disconnect()
        self._client.loop_write()
        self.abort()

    def abort(self) -> None:
        """Drop the connection without a word, so that the broker publishes the will."""
        self._given_up = True
        self._client.on_disconnect = None
        sock, self._socket = self._socket, None
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()
        self._end(Disconnected(DisconnectReason.LOST, "closed by the bridge"))

    # What paho calls, all on the event loop

    def _on_connect(
        self, _client: Client, _userdata: object, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self._accepted.done():
            return
        if code.is_failure:
            self._accepted.set_result(_refusal(code))
            return
        self._packet_limit = getattr(properties, "MaximumPacketSize", None)
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self._qos = min(self._qos, getattr(properties, "MaximumQoS", self._qos))
        if self._qos == 0:
            self._window = WINDOW_QOS_0
            self._client.on_publish = None  # it tells no more than that the socket took it, and costs a third of it
        self._accepted.set_result(None)

    def _on_disconnect(
        self, _client: Client, _userdata: object, flags: DisconnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        if str(code) == "Session taken over":
            ended = Disconnected(DisconnectReason.TAKEN_OVER, "another client took over this client id")
        elif flags.is_disconnect_packet_from_server:
            ended = Disconnected(DisconnectReason.LOST, f"the broker ended it: {clean(str(code))}")
        elif str(code) == "Keep alive timeout":
            ended = Disconnected(DisconnectReason.LOST, "the broker did not answer any more")
        else:
            ended = Disconnected(DisconnectReason.LOST, "the connection broke off")
        self._end(ended)

    def _on_publish(self, _client: Client, _userdata: object, mid: int, code: ReasonCode, _properties: object) -> None:
        topic = self._in_flight.pop(mid, None)
        if topic is not None and code.value >= _FAILED:
            self._handlers.refused(topic, clean(str(code)))
        self._made_progress()

    def _made_progress(self) -> None:
        self._progress = self._loop.time()
        if not self._draining:  # once per turn of the loop
            self._draining = True
            self._loop.call_soon(self._drained)

    def _drained(self) -> None:
        self._draining = False
        self._handlers.drained()

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
        # Once per turn of the loop, for all that was published in it.
        self._loop.call_soon(self._flush)

    # What the event loop calls

    def _read(self) -> None:
        self._client.loop_read()
        # TLS may have decrypted more than was asked for, which the selector does not see.
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

    def _end(self, ended: Disconnected) -> None:
        if not self._accepted.done():
            self._accepted.set_result(ended)
        if not self.ended.done():
            self.ended.set_result(ended)


def _close_what_was_begun(error: BaseException) -> None:
    """Close the sockets of the calls that failed: paho leaves one whose handshake failed to the garbage collector."""
    trace = error.__traceback__
    while trace is not None:
        for value in trace.tb_frame.f_locals.values():
            if isinstance(value, socket.socket):
                value.close()
        trace = trace.tb_next


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves its constructor untyped


def _refusal(code: ReasonCode) -> Disconnected:
    words = clean(str(code))
    if words == "QoS not supported":  # of the will, which is said before the broker tells what it supports
        return Disconnected(DisconnectReason.REFUSED, f"{words}: set mqtt.qos = 0")
    if words in ("Not authorized", "Bad user name or password", "Banned", "Bad authentication method"):
        return Disconnected(DisconnectReason.LOGIN, words)
    return Disconnected(DisconnectReason.REFUSED, words)


def _words_for(error: Exception) -> Disconnected:
    match error:
        case ssl.SSLCertVerificationError():
            return Disconnected(DisconnectReason.TLS, f"the certificate was refused: {clean(error.verify_message)}")
        case ssl.SSLError():
            return Disconnected(DisconnectReason.TLS, clean(error.reason or str(error)))
        case socket.gaierror() | UnicodeError():  # the latter for a label that is empty or too long
            told = error.strerror if isinstance(error, OSError) else None
            return Disconnected(
                DisconnectReason.UNREACHABLE, f"name not resolved: {clean(told or 'no host is called so')}"
            )
        case TimeoutError():
            return Disconnected(DisconnectReason.UNREACHABLE, "it did not answer in time")
        case OSError():
            return Disconnected(DisconnectReason.UNREACHABLE, clean(error.strerror or type(error).__name__))
    return Disconnected(DisconnectReason.REFUSED, clean(str(error)))
