"""A command in a pseudo-terminal, for tests of prompts."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.bridge import clean_environment

__all__ = ["OWN_TERMINAL", "Terminal"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# Makes the terminal the controlling one of the new session, so that Ctrl-C and hidden prompts work. Restores SIGINT,
# which processes of a background job ignore.
OWN_TERMINAL = (
    "import fcntl, os, signal, sys, termios; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`evse-mqtt-bridge ARGUMENTS` in a terminal; a context manager that always ends the process."""

    def __init__(self, *arguments: str | Path, cwd: Path) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-c", OWN_TERMINAL, sys.executable, "-m", "evse_mqtt_bridge", *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env=clean_environment(),
            start_new_session=True,
        )
        os.close(theirs)
        self._raw = b""
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    @property
    def output(self) -> str:
        """The whole output so far, without colours."""
        return _COLOUR.sub("", self._raw.decode(errors="replace").replace("\r\n", "\n"))

    @property
    def command_line(self) -> str:
        """The arguments of the process, as the process list shows them."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_text().replace("\0", " ")

    def expect(self, text: str, timeout: float = 20) -> None:
        """Wait for a text after the previous one."""
        deadline = time.monotonic() + timeout
        while (at := self.output.find(text, self._seen)) < 0:
            remaining = deadline - time.monotonic()
            assert remaining > 0, f"timed out waiting for {text!r}; output:\n{self.output}"
            assert self._read(remaining), f"ended without {text!r}; output:\n{self.output}"
        self._seen = at + len(text)

    def answer(self, prompt: str, line: str) -> None:
        """Wait for a prompt and type a line."""
        self.expect(prompt)
        os.write(self._ours, line.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Press a key, given by the bytes that it sends; Ctrl-C is 3.

        Wait until the command waits for input: Python does not notice a signal that arrives just before it reads.
        """
        before = None
        while (now := self._activity()) != before:
            before = now
            time.sleep(0.03)  # nothing reports that a process started to wait for a key
        os.write(self._ours, key)

    def wait(self, timeout: float = 20) -> int:
        """Return the exit code, after the process ended by itself and its output was read."""
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"still running; output:\n{self.output}"
        return self._process.wait(timeout)

    def _activity(self) -> tuple[str, ...]:
        """Return the CPU time of the process and whether it sleeps (proc(5)); a new value while it runs."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (*fields[11:13], fields[0] if fields[0] == "S" else str(time.monotonic()))

    def _read(self, timeout: float) -> bool:
        """Read available output; return false at its end."""
        ready, _, _ = select.select([self._ours], [], [], timeout)
        if not ready:
            return True
        try:
            content = os.read(self._ours, 65_536)
        except OSError:  # the process closed its end
            return False
        self._raw += content
        return bool(content)
