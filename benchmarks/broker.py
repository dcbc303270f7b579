"""Mosquitto without persistence, and its own message counters."""

import getpass
import math
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import pin
from benchmarks.subscriber import Subscriber
from tests.harness.mosquitto import mosquitto_path
from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["Broker"]

_RECEIVED = "$SYS/broker/messages/received"
"""MQTT packets received. Nearly all are PUBLISH packets, which Mosquitto 2.0 does not count correctly."""

_RETAINED = "$SYS/broker/retained messages/count"

_QUIET = 3.0
"""Seconds without another retained message after which there are no more; the broker counts once per second."""


class Broker:
    """A Mosquitto that keeps its port; use it as a context manager. `stop` loses all retained messages."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._counter: Subscriber | None = None
        self._counts: list[tuple[float, int]] = []
        self._retained = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the broker without any retained message."""
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"user {getpass.getuser()}\n"
            f"listener {self.port} {HOST}\n"
            "allow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
            "max_queued_messages 0\nsys_interval 1\nlog_type error\nlog_dest stderr\n"
        )
        self._process = process = subprocess.Popen(
            pin([mosquitto_path(), "-c", config]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until_listening(self.port, lambda: None if process.poll() is None else "Mosquitto exited")
        except BaseException:
            self.stop()
            raise
        self._counts, self._retained = [], 0
        self._counter = Subscriber(self.port, _RECEIVED, _RETAINED, on_message=self._count).__enter__()

    def stop(self) -> None:
        """Kill the broker, so that it sends nothing more (SIGKILL)."""
        if self._counter is not None:
            self._counter.close()
            self._counter = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def messages_per_second(self, since: float) -> float:
        """Return the packets received per second since `since` (`time.monotonic`), by the broker's own counts.

        Return NaN if the broker has published fewer than two counts.
        """
        counts = [count for count in list(self._counts) if count[0] >= since]
        if len(counts) < 2:
            return math.nan
        (first_at, first), (last_at, last) = counts[0], counts[-1]
        return (last - first) / (last_at - first_at)

    def wait_for_retained(self, count: int, timeout: float) -> None:
        """Wait until the broker retains `count` messages, by its own count, which includes about fifty of its own.

        Raises:
            TimeoutError: The broker does not within `timeout` seconds.
        """
        began = time.monotonic()
        while self._retained < count:
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout:g} s for {count} retained messages, there are {self._retained}")
            time.sleep(0.05)

    def wait_until_all_are_retained(self, timeout: float) -> int:
        """Wait until the number of retained messages does not grow any more, and return it.

        Raises:
            TimeoutError: It still grows after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        before = -1
        while self._retained != before:
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout:g} s, there are {self._retained} retained messages, and more come")
            before = self._retained
            time.sleep(_QUIET)
        return before

    def _count(self, topic: str, payload: bytes) -> None:
        if topic == _RETAINED:
            self._retained = int(payload)
        else:
            self._counts.append((time.monotonic(), int(payload)))
