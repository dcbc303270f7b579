"""The bridge as a user starts it: a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["BridgeProcess", "clean_environment", "run_command"]

_COMMAND = (sys.executable, "-m", "evse_mqtt_bridge")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any setting of the bridge, and with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("EVSE_MQTT_BRIDGE")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "160", **(extra or {})}


def run_command(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    timeout: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Runs `evse-mqtt-bridge ARGUMENTS` to its end and returns exit code, stdout and stderr."""
    return subprocess.run(
        [*_COMMAND, *map(str, arguments)],
        env=clean_environment(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


class BridgeProcess:
    """`evse-mqtt-bridge ARGUMENTS` in the background; use it as a context manager, which always ends it.

    `stdout` and `stderr` hold the lines so far.
    """

    def __init__(self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._changed = threading.Condition()
        self._open = 2
        self._process = subprocess.Popen(
            [*_COMMAND, *map(str, arguments)],
            env=clean_environment(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.stdout), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self.stderr), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def run(cls, config: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Self:
        """`evse-mqtt-bridge run --config CONFIG ARGUMENTS`."""
        return cls("run", "--config", config, *arguments, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def errors(self) -> str:
        """All of stderr so far, as one text."""
        with self._changed:
            return "\n".join(self.stderr)

    def wait_for_line(
        self, pattern: str, timeout: float = 30, *, stream: str = "stderr", since: int = 0
    ) -> re.Match[str]:
        """The first match of `pattern` in a line of `stream`, from line `since` on; fails when it ends without one."""
        lines = self.stdout if stream == "stdout" else self.stderr
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for line in lines[position:]:
                    if found := wanted.search(line):
                        return found
                position = max(position, len(lines))
                assert self._open, f"ended without a line like {pattern!r}; {self._tail()}"
                left = deadline - time.monotonic()
                assert left > 0, f"no line like {pattern!r} after {timeout} s; {self._tail()}"
                self._changed.wait(left)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Asks it to end, as a service manager does (SIGTERM)."""
        self.send(signal.SIGTERM)

    def interrupt(self) -> None:
        """Asks it to end, as Ctrl-C does (SIGINT)."""
        self.send(signal.SIGINT)

    def kill(self) -> None:
        """Ends it without a chance to say anything (SIGKILL)."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = 30) -> int:
        """The exit code, once it has ended by itself and its last line was read."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s; {self._tail()}") from None
        for reader in self._readers:
            reader.join(timeout)
        return code

    def assert_exit(self, code: int = 0, timeout: float = 30) -> None:
        """Fails unless it ends within `timeout` with this exit code."""
        got = self.wait(timeout)
        assert got == code, f"exit code {got} and not {code}; {self._tail()}"

    def stop(self, timeout: float = 30) -> None:
        """Ends it with SIGTERM, which has to give exit code 0."""
        self.terminate()
        self.assert_exit(0, timeout)

    def close(self) -> None:
        """Ends it by any means; does nothing when it has ended."""
        if self.running:
            self.send(signal.SIGCONT)
            self.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        for reader in self._readers:
            reader.join(10)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def _tail(self) -> str:
        return "last lines:\n" + "\n".join([*self.stdout[-10:], *self.stderr[-30:]])
