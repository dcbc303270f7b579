"""Runs the bridge as a user does: in its own process."""

import codecs
import contextlib
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
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Self

from click.testing import CliRunner

from evse_mqtt_bridge.cli.main import cli

__all__ = ["BridgeProcess", "clean_environment", "invoke_command", "run_command"]

_STATE_HOME = TemporaryDirectory(prefix="evse-mqtt-bridge-tests-")
"""The state directory of bridges whose configuration names no database."""

_COMMAND = (sys.executable, "-m", "evse_mqtt_bridge")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of this process without the bridge's own variables, plus `extra`."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("EVSE_MQTT_BRIDGE")}
    own = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "160", "XDG_STATE_HOME": _STATE_HOME.name}
    return {**inherited, **own, **(extra or {})}


def run_command(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    timeout: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Run `evse-mqtt-bridge ARGUMENTS` and return its exit code, stdout and stderr.

    Args:
        arguments: The command and its options.
        env: Additional environment variables.
        cwd: Working directory.
        stdin: Text for its standard input.
        timeout: Seconds until the command is killed and the test fails.
    """
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


def invoke_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as `run_command` does, but in this process, which saves its start.

    Use it where other tests run the same command as a process.
    """
    result = CliRunner().invoke(cli, [*map(str, arguments)], env={"NO_COLOR": "1", "COLUMNS": "160"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


class _LineReader:
    """Reads lines from a pipe in its own thread and notifies `changed` of each.

    The thread reads from the pipe only while it holds the lock of `changed`, so nothing is in transit while another
    thread holds it.
    """

    def __init__(self, pipe: IO[bytes], changed: threading.Condition) -> None:
        self.lines: list[str] = []
        self.at_end = False
        self.may_read = threading.Event()
        self.may_read.set()
        self._pipe = pipe
        self._changed = changed
        self._partial_line = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def caught_up(self) -> bool:
        """Return whether `lines` contains all output so far, or reading is paused.

        The caller must hold the lock of `changed`.
        """
        return self.at_end or not self.may_read.is_set() or not self._is_readable(0)

    def close(self) -> None:
        """Wait for the end of the pipe: the exit of every process that can write to it."""
        self._reader.join(10)
        self._pipe.close()

    def _is_readable(self, timeout: float | None) -> bool:
        return bool(select.select([self._pipe], [], [], timeout)[0])

    def _read(self) -> None:
        while not self.at_end:
            self._is_readable(None)
            self.may_read.wait()
            with self._changed:
                data = os.read(self._pipe.fileno(), 65536)
                *lines, self._partial_line = (self._partial_line + self._decoder.decode(data, not data)).split("\n")
                self.lines += lines
                if not data:
                    self.lines += [self._partial_line] if self._partial_line else []
                    self.at_end = True
                self._changed.notify_all()


class BridgeProcess:
    """`evse-mqtt-bridge ARGUMENTS` in the background; use it as a context manager, which always stops it."""

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
        self._stdout = _LineReader(self._process.stdout, self._changed)
        self._stderr = _LineReader(self._process.stderr, self._changed)

    @classmethod
    def run(cls, config: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Self:
        """Start `evse-mqtt-bridge run --config CONFIG ARGUMENTS`."""
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
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def stdout(self) -> list[str]:
        """The lines written to stdout so far."""
        return self._lines_of(self._stdout)

    @property
    def stderr(self) -> list[str]:
        """The lines written to stderr so far."""
        return self._lines_of(self._stderr)

    @property
    def stderr_text(self) -> str:
        """Everything written to stderr so far, as one string."""
        return "\n".join(self.stderr)

    def wait_for_line(
        self, pattern: str, timeout: float = 30, *, stream: str = "stderr", since: int = 0
    ) -> re.Match[str]:
        """Wait for a line that matches and return the first match.

        Args:
            pattern: Regular expression to search for.
            timeout: Seconds until the test fails; it fails earlier if the process exits.
            stream: "stdout" or "stderr".
            since: Index of the first line to search.
        """
        reader = self._stdout if stream == "stdout" else self._stderr
        compiled = re.compile(pattern)
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for line in reader.lines[position:]:
                    if found := compiled.search(line):
                        return found
                position = max(position, len(reader.lines))
                assert not reader.at_end, f"exited without a line that matches {pattern!r}; {self._tail()}"
                left = deadline - time.monotonic()
                assert left > 0, f"no line that matches {pattern!r} after {timeout} s; {self._tail()}"
                self._changed.wait(left)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Request a shutdown, as a service manager does (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Request a shutdown, as Ctrl-C does (SIGINT)."""
        self.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill the process, so that it cannot publish or log anything (SIGKILL)."""
        self.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout: float = 30) -> int:
        """Wait for the process to exit and its last line to be read; return the exit code."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s; {self._tail()}") from None
        with self._changed:
            self._changed.wait_for(lambda: self._stdout.at_end and self._stderr.at_end, timeout)
        return code

    def assert_exit(self, code: int = 0, timeout: float = 30) -> None:
        """Fail unless the process exits with `code` within `timeout` seconds."""
        actual = self.wait(timeout)
        assert actual == code, f"exit code {actual}, expected {code}; {self._tail()}"

    def pause_log(self) -> None:
        """Stop reading stderr, and fill its pipe, so that the process cannot write to it."""
        self._stderr.may_read.clear()
        # another open file, because O_NONBLOCK would also apply to the process
        descriptor = os.open(f"/proc/{self.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(descriptor, b"." * 1023 + b"\n")
        os.close(descriptor)

    def resume_log(self) -> None:
        """Read stderr again after `pause_log`."""
        self._stderr.may_read.set()

    def stop(self, timeout: float = 30) -> None:
        """Stop the process with SIGTERM; fail unless its exit code is 0."""
        self.terminate()
        self.assert_exit(0, timeout)

    def close(self) -> None:
        """Stop the process, by force if necessary; does nothing if it has exited."""
        if self.running:
            self.resume_log()
            self.send_signal(signal.SIGCONT)
            self.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._stdout.close()
        self._stderr.close()

    def _lines_of(self, reader: _LineReader) -> list[str]:
        with self._changed:
            self._changed.wait_for(reader.caught_up)
            return list(reader.lines)

    def _tail(self) -> str:
        return "last lines:\n" + "\n".join([*self._stdout.lines[-10:], *self._stderr.lines[-30:]])
