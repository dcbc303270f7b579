"""A pseudo-terminal for tests of full-screen views: frames, window size, keys."""

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cli.terminal import OWN_TERMINAL
from tests.harness.bridge import clean_environment

__all__ = ["ALTERNATE_OFF", "ALTERNATE_ON", "CURSOR_OFF", "CURSOR_ON", "Window"]

ALTERNATE_ON, ALTERNATE_OFF = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_ON, CURSOR_OFF = "\x1b[?25h", "\x1b[?25l"

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HOME = "\x1b[H"


class Window:
    """`evse-mqtt-bridge ARGUMENTS` in a window; a context manager that always ends the process.

    A frame is the output between two moves of the cursor to the upper left corner.

    Attributes:
        raw: The whole output, with escape sequences.
    """

    def __init__(self, *arguments: str | Path, columns: int = 80, lines: int = 24) -> None:
        self.raw = ""
        self._changed = threading.Condition()
        self._ours, theirs = os.openpty()
        self.resize(columns, lines)
        environment = clean_environment({"TERM": "xterm-256color"})
        for name in ("COLUMNS", "LINES", "NO_COLOR"):  # readline, which pytest loads, may have set the second
            environment.pop(name, None)
        command = (sys.executable, "-m", "evse_mqtt_bridge", *map(str, arguments))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", OWN_TERMINAL, *command],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        os.close(self._ours)

    @property
    def frames(self) -> list[str]:
        """The frames so far, without colours; the last one may be incomplete."""
        return [_ESCAPES.sub("", frame).replace("\r\n", "\n") for frame in self.raw.split(_HOME)[1:]]

    @property
    def text(self) -> str:
        """The whole output, without escape sequences."""
        return _ESCAPES.sub("", self.raw).replace("\r\n", "\n")

    def resize(self, columns: int, lines: int) -> None:
        """Set the size of the window."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        r"""Press keys; `\x03` is Ctrl-C."""
        os.write(self._ours, keys.encode())

    def terminate(self) -> None:
        """Send SIGTERM, as a service manager does."""
        self._process.terminate()

    def wait_for_frame(self, pattern: str, timeout: float = 15, *, since: int = 0) -> str:
        """Return the first complete frame from number `since` on that contains `pattern`."""
        expected = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for frame in self.frames[since:]:
                    if "Ctrl-C to quit" in frame and expected.search(frame):
                        return frame
                remaining = deadline - time.monotonic()
                assert remaining > 0, f"no frame with {pattern!r} after {timeout} s; the last: {self.frames[-1:]}"
                self._changed.wait(remaining)

    def wait(self, timeout: float = 10) -> int:
        """Return the exit code, after the process ended and its output was read."""
        code = self._process.wait(timeout)
        self._reader.join(timeout)
        return code

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the process closed its end
            while part := os.read(self._ours, 65536):
                with self._changed:
                    self.raw += part.decode(errors="replace")
                    self._changed.notify_all()
