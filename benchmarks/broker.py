"""Mosquitto as the broker, without persistence, and what it tells of its traffic."""

import getpass
import math
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import pinned
from benchmarks.subscriber import Subscriber
from tests.harness.mosquitto import mosquitto_path
from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["Broker"]

_RECEIVED = "$SYS/broker/messages/received"
"""MQTT packets that came: all but a few are publications, of which Mosquitto 2.0 keeps no right count."""

_RETAINED = "$SYS/broker/retained messages/count"


class Broker:
    """A running Mosquitto as long as its context is entered, always on the same port; `stop` loses what it retains."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._counter: Subscriber | None = None
        self._ticks: list[tuple[float, int]] = []
        self._retained = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after `stop` again, with nothing retained."""
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"user {getpass.getuser()}\n"
            f"listener {self.port} {HOST}\n"
            "allow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
            "max_queued_messages 0\nsys_interval 1\nlog_type error\nlog_dest stderr\n"
        )
        self._process = process = subprocess.Popen(
            pinned([mosquitto_path(), "-c", config]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until_listening(self.port, lambda: None if process.poll() is None else "Mosquitto ended")
        except BaseException:
            self.stop()
            raise
        self._ticks, self._retained = [], 0
        self._counter = Subscriber(self.port, _RECEIVED, _RETAINED, on_message=self._tick).__enter__()

    def stop(self) -> None:
        """End it without a word to anybody (SIGKILL)."""
        if self._counter is not None:
            self._counter.close()
            self._counter = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def messages_per_second(self, since: float) -> float:
        """How many publications came since a moment (`time.monotonic`), by its own count, which it tells each second.

        Not a number where it had no time to tell it twice.
        """
        ticks = [tick for tick in list(self._ticks) if tick[0] >= since]
        if len(ticks) < 2:
            return math.nan
        (began, first), (ended, last) = ticks[0], ticks[-1]
        return (last - first) / (ended - began)

    def wait_for_retained(self, count: int, timeout: float) -> None:
        """Return when it retains so many messages, by its own count, which has some fifty of its own in it.

        Raises:
            TimeoutError: it does not within `timeout` seconds.
        """
        began = time.monotonic()
        while self._retained < count:
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout:g} s for {count} retained messages, there are {self._retained}")
            time.sleep(0.05)

    def _tick(self, topic: str, payload: bytes) -> None:
        if topic == _RETAINED:
            self._retained = int(payload)
        else:
            self._ticks.append((time.monotonic(), int(payload)))
