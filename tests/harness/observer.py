"""An MQTT client that records every message, so that a test can wait for and inspect them."""

import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.harness.net import HOST
from tests.harness.paho_compat import patch_paho

patch_paho()  # so that user properties with U+FEFF do not end the observer's connection

__all__ = ["Observer", "ReceivedMessage", "retained_messages"]

_MARKER = "observer-marker/"

_COSTLY = 0.0005
"""Seconds that a condition may take without a pause before it is evaluated again."""

_PAUSE_PER_COST = 20
"""The length of that pause, as a multiple of the time that the condition took."""

_BRIDGE_MARKER = re.compile(r"/bridge(/\d+)?/marker$")


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A received message.

    Attributes:
        topic: Its topic.
        payload: Its payload as text.
        retain: The publisher's flag if the subscription requests that (an `Observer` with MQTT 5). Otherwise the
            broker's, which is only set on messages retained before the subscription.
        qos: The QoS of its delivery, 0 or 1.
        at: When it arrived, in seconds of `time.monotonic`.
        content_type: The MQTT 5 property, if set.
    """

    topic: str
    payload: str
    retain: bool
    qos: int
    at: float
    content_type: str | None = None


class Observer:
    """Subscribes with QoS 1 and records every message; use it as a context manager.

    Entering the context returns once the broker has delivered all retained messages. The observer reconnects after a
    lost connection.

    Args:
        port: The broker's port on 127.0.0.1.
        topic_filter: The topic filter to subscribe to.
        protocol: "5" or "3.1.1".
        username: For the login, if any.
        password: For the login, if any.
        tls: Connect over TLS with this context.
        retain_as_published: MQTT 5 only: keep the publisher's retain flag on live messages.

    Attributes:
        messages: Every message received, in order.
        latest: The newest payload by topic, without cleared topics and the markers of bridges.
    """

    def __init__(
        self,
        port: int,
        topic_filter: str = "#",
        *,
        protocol: str = "5",
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        retain_as_published: bool = True,
    ) -> None:
        self.port = port
        self.messages: list[ReceivedMessage] = []
        self.latest: dict[str, str] = {}
        self._filter = topic_filter
        self._mqtt5 = protocol == "5"
        self._retain_as_published = retain_as_published
        self._login = (username, password)
        self._tls = tls
        self._changed = threading.Condition()
        self._subscribed = False
        self._connections = 0
        self._refused = ""
        self._markers: set[str] = set()
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"observer-{uuid.uuid4().hex[:12]}",
            protocol=MQTTv5 if self._mqtt5 else MQTTv311,
        )
        self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_socket_open = _disable_nagle
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect(HOST, self.port, keepalive=60)
        self._client.loop_start()
        try:
            self.sync()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect and stop the thread; the recorded messages remain available."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, condition: Callable[[], object], timeout: float = 30, what: str = "the condition") -> None:
        """Wait until `condition` is true, evaluated after messages and at least every 0.1 s.

        A costly condition is evaluated less often, so that it does not delay what it waits for.

        Args:
            condition: Function without arguments.
            timeout: Seconds until the test fails.
            what: Name of the condition, for the failure's text.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                began = time.monotonic()
                if condition():
                    return
                cost = time.monotonic() - began
                assert not self._refused, self._refused
                left = deadline - began
                assert left > 0, f"waited {timeout} s for {what}; last messages: {self._tail()}"
                self._changed.wait(min(left, 0.1))  # a condition may depend on more than messages
            if cost > _COSTLY:
                time.sleep(min(_PAUSE_PER_COST * cost, 0.1))

    def wait_for(self, topic: str, payload: str | None = None, timeout: float = 30) -> str:
        """Wait until `topic` has the payload, or any payload if none is given, and return it."""
        self.wait(
            lambda: topic in self.latest and payload in (None, self.latest[topic]),
            timeout,
            f"{topic} = {payload!r} (now {self.latest.get(topic)!r})",
        )
        return self.latest[topic]

    def sync(self, timeout: float = 30) -> None:
        """Wait until every message that the broker accepted before this call has been delivered.

        The observer publishes a marker, which the broker delivers after those messages. To check that something was
        *not* published: wait for a message that is published later, call `sync`, then inspect `messages`.
        """
        deadline = time.monotonic() + timeout
        while not self._echo(uuid.uuid4().hex, deadline - time.monotonic()):
            pass  # the connection was lost meanwhile

    def _echo(self, marker: str, timeout: float) -> bool:
        connection = self._connections
        self.publish(_MARKER + marker, "", timeout=timeout)
        self.wait(lambda: marker in self._markers or self._connections > connection, timeout, "the marker")
        return marker in self._markers

    def publish(
        self, topic: str, payload: str | bytes, *, retain: bool = False, qos: int = 1, timeout: float = 30
    ) -> None:
        """Wait for the connection, publish, and wait for the acknowledgement.

        Args:
            topic: The topic.
            payload: Text or bytes; empty clears a retained topic.
            retain: Whether the broker retains the message.
            qos: 0 or 1; with 0 there is no acknowledgement to wait for.
            timeout: Seconds until the test fails.
        """
        self.wait(lambda: self._subscribed, timeout, "the observer's connection")
        publication = self._client.publish(topic, payload, qos=qos, retain=retain)
        publication.wait_for_publish(timeout)
        assert publication.is_published(), f"waited {timeout} s for the broker to acknowledge {topic}"

    def messages_since(self, start: int = 0) -> list[ReceivedMessage]:
        """Return the messages after the first `start`, which is an earlier value of `count`."""
        with self._changed:
            return self.messages[start:]

    def payloads(self, topic: str, start: int = 0) -> list[str]:
        """Return the payloads of one topic in the order of arrival, after the first `start` messages."""
        return [message.payload for message in self.messages_since(start) if message.topic == topic]

    @property
    def count(self) -> int:
        """Number of messages received so far; pass it to `messages_since` later."""
        return len(self.messages)

    @property
    def retained(self) -> dict[str, str]:
        """Payload by topic of everything that the broker retains now, read by a new client."""
        username, password = self._login
        return retained_messages(
            self.port,
            self._filter,
            protocol="5" if self._mqtt5 else "3.1.1",
            username=username,
            password=password,
            tls=self._tls,
        )

    def _tail(self) -> str:
        return ", ".join(f"{message.topic}={message.payload[:60]}" for message in self.messages[-8:]) or "none"

    # Everything below runs in paho's thread.

    def _on_connect(
        self, client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            with self._changed:
                self._refused = f"the broker rejected the observer: {reason}"
                self._changed.notify_all()
            return
        filters = [self._filter] if self._filter == "#" else [self._filter, _MARKER + "#"]
        options = SubscribeOptions(qos=1, retainAsPublished=self._retain_as_published)
        request: list[tuple[str, Any]] = [(name, options if self._mqtt5 else 1) for name in filters]
        client.subscribe(request)

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        _reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        with self._changed:
            self._subscribed = False

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        with self._changed:
            if any(reason.is_failure for reason in reasons):
                self._refused = f"the broker rejected the observer's subscription: {reasons}"
            self._subscribed = True
            self._connections += 1
            self._changed.notify_all()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        at = time.monotonic()
        with self._changed:
            if message.topic.startswith(_MARKER):
                self._markers.add(message.topic.removeprefix(_MARKER))
            else:
                payload = message.payload.decode(errors="backslashreplace")
                content_type = getattr(message.properties, "ContentType", None)
                self.messages.append(
                    ReceivedMessage(message.topic, payload, message.retain, message.qos, at, content_type)
                )
                if _BRIDGE_MARKER.search(message.topic):
                    pass
                elif payload:
                    self.latest[message.topic] = payload
                else:
                    self.latest.pop(message.topic, None)
            self._changed.notify_all()


def _disable_nagle(_client: Client, _data: object, connection: object) -> None:
    """Disable Nagle's algorithm, with which each acknowledged publish takes 40 ms."""
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def retained_messages(
    port: int,
    topic_filter: str = "#",
    *,
    protocol: str = "5",
    username: str | None = None,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> dict[str, str]:
    """Return the payloads of all retained topics, by topic, as delivered to a new subscription.

    Args: as for `Observer`.
    """
    observer = Observer(
        port,
        topic_filter,
        protocol=protocol,
        username=username,
        password=password,
        tls=tls,
        retain_as_published=False,  # so that live messages come without the flag
    )
    with observer:
        return {message.topic: message.payload for message in observer.messages_since() if message.retain}
