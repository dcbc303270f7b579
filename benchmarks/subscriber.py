"""A subscriber that costs little: the newest payload of each topic, or a callback, and waiting for a condition."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.harness.net import HOST

__all__ = ["Subscriber"]

_LOOK = 0.05
"""Seconds between two looks at a condition."""


class Subscriber:
    """Subscribes to `filters` at QoS 0 as long as its context is entered.

    Without `on_message`, `latest` holds the newest payload by topic, without the topics that were cleared.
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
            raise TimeoutError("the broker did not take the subscription within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; what came can still be read."""
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, condition: Callable[[dict[str, bytes]], object], timeout: float, what: str) -> float:
        """Seconds until `condition` held of what came.

        Raises:
            TimeoutError: it did not within `timeout` seconds; `what` says what that would have been.
        """
        began = time.monotonic()
        while True:
            with self._lock:
                if condition(self.latest):
                    return time.monotonic() - began
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout:g} s for {what}")
            time.sleep(_LOOK)

    def snapshot(self) -> dict[str, bytes]:
        """A copy of `latest`."""
        with self._lock:
            return dict(self.latest)

    # paho's thread

    def _subscribe(self, client: Client, *_: Any) -> None:  # noqa: ANN401  # what paho tells besides is of no interest
        client.subscribe([(topic_filter, 0) for topic_filter in self._filters])

    def _receive(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload))

    def _keep(self, topic: str, payload: bytes) -> None:
        # Nobody is woken: a look now and then is cheaper than one for each message.
        with self._lock:
            if payload:
                self.latest[topic] = payload
            else:
                self.latest.pop(topic, None)
