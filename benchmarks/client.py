"""A client under measurement: a process on its own core, measured by the counters of cloud, broker and kernel.

The instructions of a client are counted in a run of its own, because counting slows it down.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.instructions import InstructionCounter
from benchmarks.machine import Usage, pin, usage
from benchmarks.rig import Rig

__all__ = ["ROOT", "Client", "Figures", "script"]

ROOT = Path(__file__).parent.parent
"""The working tree."""

_PAUSE = 5.0  # seconds

_SLOWER_WHEN_COUNTED = 10
"""The factor by which a client whose instructions are counted may exceed a timeout."""


def script(name: str, **options: object) -> list[str]:
    """Return the command that runs a script of this package; an option `broker=1` becomes `--broker 1`."""
    arguments = [argument for key, value in options.items() for argument in (f"--{key}", str(value))]
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


@dataclass(frozen=True, slots=True)
class Figures:
    """The measured figures of a client within a period.

    Attributes:
        polls: Polls per second.
        messages: Messages per second; NaN if unknown.
        cpu: CPU seconds per second.
        memory: Resident memory at the end, in bytes.
    """

    polls: float
    messages: float
    cpu: float
    memory: int

    @property
    def cpu_per_poll(self) -> float:
        """CPU milliseconds per poll; infinite without polls."""
        return self.cpu / self.polls * 1000 if self.polls else float("inf")


class Client:
    """A client process; use it as a context manager. `output` is the file with its stdout and stderr.

    Args:
        rig: The cloud and the broker that the client uses.
        command: The command that starts the client.
        environment: Its environment; `None`: that of this process.
        tree: The folder that it runs in: the working tree, or another one to compare with.
        is_counted: Whether its instructions are counted.
    """

    def __init__(
        self,
        rig: Rig,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        *,
        tree: Path = ROOT,
        is_counted: bool = False,
    ) -> None:
        self.output = rig.folder / "client.log"
        self._rig = rig
        self._is_counted = is_counted
        self._counter = InstructionCounter(rig.folder)
        if is_counted:
            command = self._counter.command(command)
        self.began = time.monotonic()
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                pin(command, measured=True),
                cwd=tree,
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
        """The resources used so far."""
        return usage(self.pid)

    def lines(self, containing: str) -> int:
        """Return the number of occurrences of a text in the output."""
        return self.output.read_text(errors="replace").count(containing)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def patience(self, timeout: float) -> float:
        """Return a timeout in seconds, prolonged if counting slows the client down."""
        return timeout * _SLOWER_WHEN_COUNTED if self._is_counted else timeout

    def wait(self, condition: Callable[[], object], timeout: float, what: str) -> float:
        """Wait until `condition` is true and return how long that took, in seconds.

        Args:
            condition: Function without arguments, polled every 50 ms.
            timeout: Maximum time to wait, in seconds.
            what: Name of the condition, for errors.

        Raises:
            TimeoutError: The condition is not true within `timeout` seconds.
            RuntimeError: The client has exited.
        """
        began, timeout = time.monotonic(), self.patience(timeout)
        while not condition():
            if self._process.poll() is not None:
                raise RuntimeError(f"the client exited while waiting for {what}: {self.tail()}")
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout:g} s for {what}: {self.tail()}")
            time.sleep(0.05)
        return time.monotonic() - began

    def wait_for_polls(self, count: int, timeout: float) -> float:
        """Wait until the cloud has received `count` polls and return how long that took, in seconds."""
        return self.wait(lambda: self._rig.cloud.polls() >= count, timeout, f"{count} polls")

    def figures(self, seconds: float) -> Figures:
        """Measure the client for this many seconds."""
        began, polls, cpu = time.monotonic(), self._rig.cloud.polls(), self.usage.cpu
        time.sleep(seconds)
        used, polls = self.usage, self._rig.cloud.polls() - polls
        elapsed = time.monotonic() - began
        if self._process.poll() is not None:
            raise RuntimeError(f"the client exited while it was measured: {self.tail()}")
        messages = self._rig.broker.messages_per_second(began)
        return Figures(polls / elapsed, messages, (used.cpu - cpu) / elapsed, used.memory)

    def start_counting(self) -> None:
        """Count instructions from now on."""
        self._counter.start(self.pid)

    def stop_counting(self) -> int:
        """Return the number of instructions since `start_counting`."""
        return self._counter.stop(self.pid)

    def instructions_per_poll(self, seconds: float) -> float:
        """Count the instructions of this many seconds, and divide them by the polls.

        The count begins when no more connections are opened, because a handshake needs the instructions of many polls.
        """
        self._wait_for_last_connection()
        self.start_counting()
        polls = self._rig.cloud.polls()
        time.sleep(seconds)
        polls = self._rig.cloud.polls() - polls
        return self.stop_counting() / polls

    def _wait_for_last_connection(self) -> None:
        """Wait until no connection to the cloud has been opened for `_PAUSE` seconds, for a minute at most."""
        deadline = time.monotonic() + 60
        before, connections = -1, self._rig.cloud.connections()
        while connections != before and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            before, connections = connections, self._rig.cloud.connections()

    def tail(self) -> str:
        """Return the last 2000 characters of the output."""
        return self.output.read_text(errors="replace")[-2000:]
