"""A command on a terminal of its own, as a person has it before them."""

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

# The terminal becomes that of the new session, so that Ctrl-C and hidden questions work as they do for people; also
# where the tests were started in the background, whose processes ignore the one.
OWN_TERMINAL = (
    "import fcntl, os, signal, sys, termios; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`evse-mqtt-bridge ARGUMENTS`; a context manager, which always ends it. `shown` is all that was shown."""

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
    def shown(self) -> str:
        """Everything so far, in plain lines without colours."""
        return _COLOUR.sub("", self._raw.decode(errors="replace").replace("\r\n", "\n"))

    @property
    def command_line(self) -> str:
        """What the list of processes shows of it, its children and what they were started with."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_text().replace("\0", " ")

    def asked(self, question: str, timeout: float = 20) -> None:
        """Returns when `question` was shown, after the one before."""
        deadline = time.monotonic() + timeout
        while (at := self.shown.find(question, self._seen)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"not asked {question!r}; shown was:\n{self.shown}"
            assert self._read(left), f"ended without {question!r}; shown was:\n{self.shown}"
        self._seen = at + len(question)

    def answer(self, question: str, line: str) -> None:
        """Waits for a question and types a line."""
        self.asked(question)
        os.write(self._ours, line.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Presses a key, by what it sends; Ctrl-C is 3.

        As a person does, once the command waits for it: a signal that comes just before Python begins to read is not
        seen before the next key.
        """
        before = None
        while (now := self._work_done()) != before:
            before = now
            time.sleep(0.03)  # to wait for a key leaves no event behind
        os.write(self._ours, key)

    def ended(self, timeout: float = 20) -> int:
        """The exit code, when it has ended by itself and all was read."""
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"still running; shown was:\n{self.shown}"
        return self._process.wait(timeout)

    def _work_done(self) -> tuple[str, ...]:
        """The state of the process (proc(5): running, sleeping) and its processor time; a new one while it runs."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (*fields[11:13], fields[0] if fields[0] == "S" else str(time.monotonic()))

    def _read(self, timeout: float) -> bool:
        """Reads what there is; false when there will be no more."""
        ready, _, _ = select.select([self._ours], [], [], timeout)
        if not ready:
            return True
        try:
            content = os.read(self._ours, 65_536)
        except OSError:  # nobody has the other end open any more
            return False
        self._raw += content
        return bool(content)
