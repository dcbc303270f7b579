"""One MQTT connection, from connecting to its end; the event loop drives paho without a thread.

A connection is never reused: paho would replay the messages that were in flight when the last one was lost, and those
values are out of date. outbound.py encodes messages, in_flight.py counts the unacknowledged ones, byte_stream.py reads
and writes, and what the broker sends passes through inbound.py first. Other modules decide what to send, and when to
reconnect.
"""

import asyncio
from typing import Any

from paho.mqtt.client import Client, DisconnectFlags
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.byte_stream import ByteStream, StreamHandlers
from evse_mqtt_bridge.mqtt.connect_options import CONNECT_TIMEOUT, ConnectOptions, Handlers, open_transport
from evse_mqtt_bridge.mqtt.errors import (
    Disconnected,
    VersionDoubt,
    connect_error,
    disconnection,
    reason_text,
    refusal,
)
from evse_mqtt_bridge.mqtt.in_flight import ACKNOWLEDGE_LIMIT, InFlight
from evse_mqtt_bridge.mqtt.inbound import FAILED, Acknowledgement, Connack, Inbound, InvalidPacketError
from evse_mqtt_bridge.mqtt.limits import WINDOW, Limits
from evse_mqtt_bridge.mqtt.outbound import Outbound
from evse_mqtt_bridge.mqtt.paho_client import PahoClient
from evse_mqtt_bridge.mqtt.transport import Transport
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["Connection", "connect"]


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
        self._markers: dict[int, asyncio.Future[bool]] = {}
        self._has_acknowledged = False
        self._limits = Limits(options.settings.qos, WINDOW, None)
        self._in_flight = InFlight(self._limits, self._loop.time())
        self._accepted: asyncio.Future[Disconnected | None] = self._loop.create_future()
        self._subscribed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self.disconnected: asyncio.Future[Disconnected] = self._loop.create_future()
        self.pending_filters: list[str] = []
        self._is_v5 = options.version == "5"
        self._is_aborted = False
        self._inbound = Inbound(self._is_v5, options.packet_limit)
        self._outbound = Outbound(self._is_v5)
        self._stream = ByteStream(
            self._outbound.buffer, StreamHandlers(self._arrived, self._handled, self._written, self._write_failed)
        )
        self._client = client = PahoClient(options)
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_socket_close = self._on_socket_close

    async def open(self) -> Disconnected | None:
        """Connect and wait for the broker's CONNACK; return `None` if the broker accepts."""

        def open_unless_aborted() -> Transport:
            transport = open_transport(self._options.settings, self._options.tls)
            if self._is_aborted:
                transport.close()
            return transport

        try:
            transport = await in_daemon_thread(open_unless_aborted, "mqtt-connect")
        except (OSError, ValueError) as error:
            return connect_error(error)
        self._stream.use(transport)
        self._client.send_connect(transport, self._inbound, self._write)
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
            if self._in_flight.is_stalled(self._loop.time()):
                self._end(
                    Disconnected(DisconnectReason.LOST, f"the broker acknowledged nothing for {ACKNOWLEDGE_LIMIT:g} s")
                )
        return self.disconnected.result()

    @property
    def room(self) -> int:
        """The number of messages that may be sent now."""
        return 0 if self.disconnected.done() else self._in_flight.room

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent."""
        return self.room > 0

    @property
    def in_flight(self) -> int:
        """The number of unacknowledged messages."""
        return len(self._in_flight)

    @property
    def unacknowledged(self) -> list[str]:
        """The topics of the unacknowledged messages, in the order of publishing; at QoS 0, the most recent ones."""
        return self._in_flight.topics(self._loop.time())

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
        if not is_alone:
            return self.publish_all([message]) == 1
        if not self._fits(message) or not self._stream.is_open:
            return False
        (identifier,) = self._send([message])
        barrier = None if self._limits.qos else self._client.unsubscribe(message.topic)[1]
        self._in_flight.add_alone(identifier, message.topic, barrier, self._loop.time())
        return True

    def publish_all(self, messages: list[Message]) -> int:
        """Send messages, of which the caller passes at most `room`; return how many were sent."""
        if self._limits.packet_size is not None:
            messages = [message for message in messages if self._fits(message)]
        if not messages or not self._stream.is_open:
            return 0
        self._in_flight.add(self._send(messages), self._loop.time())
        return len(messages)

    def publish_marker(self, message: Message) -> asyncio.Future[bool]:
        """Send a message beside the others; the future is done when the broker accepts or rejects it.

        At QoS 0, and with MQTT 3.1.1, a broker cannot reject it.
        """
        outcome: asyncio.Future[bool] = self._loop.create_future()
        if not self._stream.is_open:
            outcome.set_result(False)
            return outcome
        (identifier,) = self._send([message])
        if self._limits.qos == 0:
            outcome.set_result(True)
        else:
            self._markers[identifier] = outcome
        return outcome

    def _fits(self, message: Message) -> bool:
        """Return whether the broker accepts messages of this size; if not, report the message as rejected."""
        if excess := self._limits.excess(message):
            self._handlers.rejected(message.topic, excess)
        return not excess

    def _send(self, messages: list[Message]) -> dict[int, str]:
        """Send messages over the open stream; return their topics by packet identifier."""
        self._stream.flush_soon()
        return self._outbound.publish(messages, self._limits.qos)

    def _write(self, packet: bytes) -> None:
        """Send a packet of paho."""
        self._outbound.buffer += packet
        self._stream.flush_soon()

    def read_acknowledgements(self) -> None:
        """Read acknowledgements now, without waiting for the event loop.

        A loop that is busy with polls reads acknowledgements only once per iteration over all connections to the cloud.
        Polling would then take the time that publishing its results needs.
        """
        self._stream.flush()
        self._stream.read()

    async def subscribe(self, filters: list[str], *, is_watch: bool = False) -> list[str]:
        """Subscribe at QoS 0; return the filters that the broker rejected, none if the connection ended.

        Args:
            filters: The topic filters.
            is_watch: Whether to receive neither the messages of this client nor retained ones. MQTT 3.1.1 lacks that:
                all filters are rejected.
        """
        if is_watch and not self._is_v5:
            return filters
        option: Any = 0
        if self._is_v5:
            option = SubscribeOptions(0, noLocal=is_watch, retainHandling=2 if is_watch else 0)
        _, mid = self._client.subscribe([(topic_filter, option) for topic_filter in filters])
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

    def disconnect(self, *, with_will: bool = False) -> None:
        """End the connection with DISCONNECT; the broker then discards the will.

        Args:
            with_will: Whether an MQTT 5 broker publishes the will nevertheless, after its delay, unless the next
                connection with this client id begins before.
        """
        self._outbound.disconnect(with_will=with_will)
        self._stream.flush()
        self.abort()

    def abort(self) -> None:
        """Drop the connection without DISCONNECT, so that the broker publishes the will."""
        self._is_aborted = True
        self._client.on_disconnect = None
        self._stream.close()
        self._end(Disconnected(DisconnectReason.LOST, "the bridge closed the connection"))

    def _on_connack(self, connack: Connack) -> None:
        """Apply the limits of the broker."""
        if (refused := refusal(connack)) is not None:
            self._accepted.set_result(refused)
            return
        self._limits = Limits.of(connack, self._limits.qos)
        self._in_flight = InFlight(self._limits, self._loop.time())
        self._accepted.set_result(None)

    # Called by paho, on the event loop

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, code: ReasonCode, _properties: object
    ) -> None:
        has_timed_out = str(code) == "Keep alive timeout"
        detail = "the broker stopped answering" if has_timed_out else "the connection was lost"
        self._end(Disconnected(DisconnectReason.LOST, detail))

    def _on_subscribe(
        self, _client: Client, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        answer = self._subscribed.pop(mid, None)
        if answer is not None and not answer.done():
            answer.set_result(codes)

    def _on_unsubscribe(self, _client: Client, _userdata: object, mid: int, *_: object) -> None:
        self._has_acknowledged |= self._in_flight.pass_barrier(mid)

    def _on_socket_close(self, _client: Client, _userdata: object, _sock: object) -> None:
        self._stream.close()

    # Called by the stream

    def _arrived(self, data: bytes) -> None:
        """Handle bytes from the broker; no bytes: the end of the connection."""
        inbound = self._inbound
        try:
            messages = inbound.feed(data)
        except InvalidPacketError as error:
            reason = DisconnectReason.LOST if self._accepted.done() else DisconnectReason.UNREACHABLE
            self._stream.close()
            self._end(Disconnected(reason, f"the answer is not MQTT: {error}"))
            return
        if inbound.connack is not None and not self._accepted.done():
            self._on_connack(inbound.connack)
        for message in messages:
            self._handlers.received(message.topic, message.payload, message.retained)
        if inbound.accepted or inbound.acknowledgements:
            self._acknowledge()
        while inbound.for_paho and self._stream.is_open:
            self._client.loop_read()
        if inbound.disconnect is not None:
            self._stream.close()
            self._end(disconnection(inbound.disconnect))
        elif not data:
            self._stream.close()
            self._end(Disconnected(DisconnectReason.LOST, "the connection was lost", by_broker=True))

    def _acknowledge(self) -> None:
        """Handle the acknowledgements of messages."""
        accepted, self._inbound.accepted = self._inbound.accepted, []
        acknowledgements, self._inbound.acknowledgements = self._inbound.acknowledgements, []
        self._in_flight.accept(accepted)
        if self._markers:
            acknowledgements += (Acknowledgement(identifier, 0, is_final=True) for identifier in accepted)
        for identifier, code, is_final in acknowledgements:
            if not is_final:
                self._outbound.release(identifier)
                self._stream.flush_soon()
            elif marker := self._markers.pop(identifier, None):
                if not marker.done():
                    marker.set_result(code < FAILED)
            else:
                topic = self._in_flight.acknowledge(identifier)
                if topic is not None and code >= FAILED:
                    self._handlers.rejected(topic, reason_text(code))
        self._has_acknowledged = True

    def _handled(self) -> None:
        """Report progress, once for all acknowledgements of a step."""
        if self._has_acknowledged:
            self._has_acknowledged = False
            self._made_progress()

    def _written(self) -> None:
        if self._in_flight.written():
            self._loop.call_soon(self._made_progress)  # now, the stream would write again while it writes

    def _made_progress(self) -> None:
        self._in_flight.made_progress(self._loop.time())
        self._handlers.room_available()

    def _write_failed(self) -> None:
        self._end(Disconnected(DisconnectReason.LOST, "the connection was lost", by_broker=True))

    def _end(self, result: Disconnected) -> None:
        if not self._accepted.done():
            self._accepted.set_result(result)
        if not self.disconnected.done():
            self.disconnected.set_result(result)
        for marker in self._markers.values():
            marker.cancel()
