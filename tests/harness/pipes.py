"""Pipes that nobody reads, as the stderr of a process whose log collector hangs."""

import contextlib
import os
import select
from types import TracebackType
from typing import Self

__all__ = ["StuckPipe"]


class StuckPipe:
    """A full pipe that nobody reads until `read` is called; a context manager."""

    def __init__(self) -> None:
        self._readable, self.writable = os.pipe()
        """Writable: the end for the process under test."""
        self.filled = 0
        """Number of bytes in the pipe before the process under test writes to it."""

    def __enter__(self) -> Self:
        self.fill()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_reader()
        os.close(self.writable)

    def fill(self) -> None:
        """Write to the pipe until it is full. Call it again after the process under test has started to write."""
        # another open file, because O_NONBLOCK would also apply to the process under test
        descriptor = os.open(f"/proc/self/fd/{self.writable}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.filled += os.write(descriptor, b"." * (size - 1) + b"\n")
        os.close(descriptor)

    def close_reader(self) -> None:
        """Let every further write fail; does nothing if the reader is closed."""
        if self._readable >= 0:
            os.close(self._readable)
            self._readable = -1

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes, and wait for at least one."""
        data = b""
        while len(data) < size and (not data or self._is_readable()):
            data += os.read(self._readable, size - len(data))
        return data

    def _is_readable(self) -> bool:
        return bool(select.select([self._readable], [], [], 0)[0])
