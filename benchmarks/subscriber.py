"""A subscriber with little overhead: it keeps the newest payload of each topic, or calls a callback."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.harness.net import HOST

__all__ = ["Subscriber"]

_PAUSE = 0.05
"""Seconds between two evaluations of a condition."""


class Subscriber:
    """Subscribes at QoS 0; use it as a context manager.

    Args:
        port: The broker's port on this machine.
        filters: Topic filters.
        on_message: Called with topic and payload of each message, in paho's thread. Without it, `latest` contains the
            newest payload by topic, without cleared topics.
    """

    def __init__(self, port: int, *filters: str, on_message: Callable[[str, bytes], None] | None = None) -> None:
        self.latest: dict[str, bytes] = {}
        self._port = port
        self._filters = filters
        self._on_message = on_message or self._keep
        self._lock = threading.Lock()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._receive

    def __enter__(self) -> Self:
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        if not self._subscribed.wait(10):
            self.close()
            raise TimeoutError("the broker did not acknowledge the subscription within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; the received messages remain available."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, condition: Callable[[dict[str, bytes]], object], timeout: float, what: str) -> float:
        """Wait until `condition` is true and return how long that took, in seconds.

        Args:
            condition: Function of `latest`.
            timeout: Maximum time to wait, in seconds.
            what: Name of the condition, for the error.

        Raises:
            TimeoutError: The condition is not true within `timeout` seconds.
        """
        began = time.monotonic()
        while True:
            with self._lock:
                if condition(self.latest):
                    return time.monotonic() - began
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout:g} s for {what}")
            time.sleep(_PAUSE)

    def snapshot(self) -> dict[str, bytes]:
        """Return a copy of `latest`."""
        with self._lock:
            return dict(self.latest)

    # Everything below runs in paho's thread.

    def _subscribe(self, client: Client, *_: Any) -> None:  # noqa: ANN401  # further arguments of paho are not used
        client.subscribe([(topic_filter, 0) for topic_filter in self._filters])

    def _receive(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload))

    def _keep(self, topic: str, payload: bytes) -> None:
        # No notification: evaluating the condition every 50 ms is cheaper than for each message.
        with self._lock:
            if payload:
                self.latest[topic] = payload
            else:
                self.latest.pop(topic, None)
