"""A client under measurement: a process on a core of its own, judged by what cloud, broker and kernel count."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.machine import Usage, pinned, usage
from benchmarks.rig import Rig

__all__ = ["Client", "Figures", "script"]

_ROOT = Path(__file__).parent.parent


def script(name: str, **options: object) -> list[str]:
    """The command of one of the scripts beside this module; an option `broker=1` becomes `--broker 1`."""
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", f"benchmarks.{name}", *words]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen of a client within a span of time.

    `polls` and `messages` (not a number where not known) are per second, `cpu` in seconds per second, `memory` resident
    at the end in bytes.
    """

    polls: float
    messages: float
    cpu: float
    memory: int

    @property
    def cpu_per_poll(self) -> float:
        """Milliseconds; infinite where nothing was polled."""
        return self.cpu / self.polls * 1000 if self.polls else float("inf")


class Client:
    """A running client as long as its context is entered; `output` holds what it wrote, stderr included."""

    def __init__(self, rig: Rig, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        self.output = rig.folder / "client.log"
        self._rig = rig
        self.began = time.monotonic()
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                pinned(command, measured=True),
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.pid)

    def lines(self, containing: str) -> int:
        """How many lines of its output have this in them."""
        return self.output.read_text(errors="replace").count(containing)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, condition: Callable[[], object], timeout: float, what: str) -> float:
        """Seconds until `condition` held.

        Raises:
            TimeoutError: it did not within `timeout` seconds.
            RuntimeError: the client ended.
        """
        began = time.monotonic()
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"ended while waiting for {what}: {self.tail()}")
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout:g} s for {what}: {self.tail()}")
            time.sleep(0.05)
        return time.monotonic() - began

    def wait_for_polls(self, count: int, timeout: float) -> float:
        """Seconds until the cloud was asked so often."""
        return self.wait(lambda: self._rig.cloud.polls() >= count, timeout, f"{count} polls")

    def figures(self, seconds: float) -> Figures:
        """What it does within this span."""
        began, polls, cpu = time.monotonic(), self._rig.cloud.polls(), self.usage.cpu
        time.sleep(seconds)
        used, polls = self.usage, self._rig.cloud.polls() - polls
        span = time.monotonic() - began
        if self._process.poll() is not None:
            raise RuntimeError(f"ended while it was measured: {self.tail()}")
        return Figures(polls / span, self._rig.broker.messages_per_second(began), (used.cpu - cpu) / span, used.memory)

    def tail(self) -> str:
        """The end of its output."""
        return self.output.read_text(errors="replace")[-2000:]
