"""The bridge as a user starts it: a process of its own."""

import codecs
import os
import re
import select
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


class _Lines:
    """The lines that come out of a pipe, read by a thread of its own, which tells of each by `changed`.

    Under the lock of `changed` nothing is on its way from the pipe to the lines.
    """

    def __init__(self, pipe: IO[bytes], changed: threading.Condition) -> None:
        self.lines: list[str] = []
        self.ended = False
        self._pipe = pipe
        self._changed = changed
        self._begun = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def caught_up(self) -> bool:
        """Whether all that was written so far is in the lines; to be asked under the lock."""
        return self.ended or not self._readable(0)

    def close(self) -> None:
        """Waits for the end of the pipe, which comes when all who can write into it have ended."""
        self._reader.join(10)
        self._pipe.close()

    def _readable(self, timeout: float | None) -> bool:
        return bool(select.select([self._pipe], [], [], timeout)[0])

    def _read(self) -> None:
        while not self.ended:
            self._readable(None)
            with self._changed:
                data = os.read(self._pipe.fileno(), 65536)
                *lines, self._begun = (self._begun + self._decoder.decode(data, not data)).split("\n")
                self.lines += lines
                if not data:
                    self.lines += [self._begun] if self._begun else []
                    self.ended = True
                self._changed.notify_all()


class BridgeProcess:
    """`evse-mqtt-bridge ARGUMENTS` in the background; use it as a context manager, which always ends it."""

    def __init__(self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [*_COMMAND, *map(str, arguments)],
            env=clean_environment(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout = _Lines(self._process.stdout, self._changed)
        self._stderr = _Lines(self._process.stderr, self._changed)

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
    def stdout(self) -> list[str]:
        """The lines that it has written to stdout by now."""
        return self._written(self._stdout)

    @property
    def stderr(self) -> list[str]:
        """The lines that it has written to stderr by now."""
        return self._written(self._stderr)

    @property
    def stderr_text(self) -> str:
        """All of stderr by now, as one text."""
        return "\n".join(self.stderr)

    def wait_for_line(
        self, pattern: str, timeout: float = 30, *, stream: str = "stderr", since: int = 0
    ) -> re.Match[str]:
        """The first match of `pattern` in a line of `stream`, from line `since` on; fails when it ends without one."""
        source = self._stdout if stream == "stdout" else self._stderr
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for line in source.lines[position:]:
                    if found := wanted.search(line):
                        return found
                position = max(position, len(source.lines))
                assert not source.ended, f"ended without a line like {pattern!r}; {self._tail()}"
                left = deadline - time.monotonic()
                assert left > 0, f"no line like {pattern!r} after {timeout} s; {self._tail()}"
                self._changed.wait(left)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Asks it to end, as a service manager does (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Asks it to end, as Ctrl-C does (SIGINT)."""
        self.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends it without a chance to say anything (SIGKILL)."""
        self.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = 30) -> int:
        """The exit code, once it has ended by itself and its last line was read."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s; {self._tail()}") from None
        with self._changed:
            self._changed.wait_for(lambda: self._stdout.ended and self._stderr.ended, timeout)
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
            self.send_signal(signal.SIGCONT)
            self.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._stdout.close()
        self._stderr.close()

    def _written(self, source: _Lines) -> list[str]:
        with self._changed:
            self._changed.wait_for(source.caught_up)
            return list(source.lines)

    def _tail(self) -> str:
        return "last lines:\n" + "\n".join([*self._stdout.lines[-10:], *self._stderr.lines[-30:]])
