"""Writes stderr in a thread of its own, so that no log line ever blocks the event loop.

If a terminal is paused with Ctrl-S, or a log collector hangs, nobody reads stderr, and a write blocks. The writer
queues everything that is written to `sys.stderr`: log lines, the error of a command and the traceback of a crash. If
the queue is full, it drops and counts further lines. At the exit of the process it waits for the queue, within a limit.
"""

import atexit
import io
import os
import select
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from evse_mqtt_bridge.observability.journal import is_journal, mark_unmarked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["DRAIN_TIMEOUT", "QUEUE_LIMIT", "LogWriter"]

QUEUE_LIMIT = 1024 * 1024
"""Maximum number of bytes in the queue: some thousand lines."""

DRAIN_TIMEOUT = 2.0
"""Seconds to wait for the queue when the process exits; whoever reads stderr may be slow, or gone for good."""


class LogWriter(io.RawIOBase):
    """A stream that queues what is written to it, and writes it to a file descriptor in a thread of its own.

    No method except `drain` blocks, and none raises if the descriptor cannot be written.

    Args:
        descriptor: The file descriptor, which stays open.
        limit: Maximum number of bytes in the queue.
        marked: Whether to mark lines without a priority as errors, for systemd's journal.
    """

    def __init__(self, descriptor: int, limit: int = QUEUE_LIMIT, *, marked: bool = False) -> None:
        super().__init__()
        self.dropped = 0
        """Lines that were dropped since the start."""
        self._descriptor = descriptor
        self._limit = limit
        self._is_marked = marked
        self._is_at_line_start = True
        self._queue: deque[bytes] = deque()
        self._size = 0  # bytes in the queue, including those that are being written
        self._is_failing = False
        self._reported = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log writer", daemon=True).start()

    @classmethod
    def replace_stderr(cls) -> "LogWriter":
        """Make `sys.stderr` a stream that ends in a new writer, until the process exits."""
        replaced = sys.stderr
        replaced.flush()
        writer = cls(replaced.fileno(), marked=is_journal(replaced, os.environ))
        # One write per line: a dropped one is a whole line.
        sys.stderr = io.TextIOWrapper(writer, replaced.encoding, "backslashreplace", line_buffering=True)
        atexit.register(writer.drain, DRAIN_TIMEOUT)
        return writer

    def write(self, data: "ReadableBuffer", /) -> int:
        """Queue `data`, or drop it if the queue is full; return its length."""
        length = len(chunk := bytes(data))
        with self._changed:
            if self._is_marked:
                chunk = self._mark(chunk)
            if self._size and self._size + len(chunk) > self._limit:
                self._drop(chunk)
            else:
                self._queue.append(chunk)
                self._size += len(chunk)
                self._changed.notify_all()
        return length

    def pop_dropped(self) -> int:
        """Return how many lines were dropped since the last call; 0 while a line about them would be dropped, too."""
        with self._changed:
            if self._is_failing or self._size > self._limit // 2:
                return 0
            dropped, self._reported = self.dropped - self._reported, self.dropped
            return dropped

    def drain(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the queue; return whether everything is written."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._size, timeout)

    def writable(self) -> bool:
        """Return true."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def _mark(self, chunk: bytes) -> bytes:
        rest_of_line, newline, lines = (b"", b"", chunk) if self._is_at_line_start else chunk.partition(b"\n")
        self._is_at_line_start = chunk.endswith(b"\n")
        return rest_of_line + newline + mark_unmarked(lines)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                chunk = self._queue.popleft()
            is_written = self._write_all(chunk)
            with self._changed:
                self._size -= len(chunk)
                self._is_failing = not is_written
                if not is_written:
                    self._drop(chunk)
                self._changed.notify_all()

    def _write_all(self, chunk: bytes) -> bool:
        """Write a chunk, however long it takes; return false if that is impossible: a full disk, a closed pipe."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process that shares the descriptor made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                return False
        return True

    def _drop(self, chunk: bytes) -> None:
        self.dropped += max(1, chunk.count(b"\n"))
