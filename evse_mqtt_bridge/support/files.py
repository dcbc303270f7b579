"""Reads files that users name, within limits of size and time: whatever is at a path, reading it ends."""

import errno
import hashlib
import os
import select
import stat
import time
from pathlib import Path

__all__ = ["PIPE_TIMEOUT", "check_regular", "file_digest", "read_file"]

PIPE_TIMEOUT = 10.0
"""Seconds to wait for the content of a pipe, such as the shell's `<(command)`."""


def read_file(path: Path, limit: int, pipe_timeout: float = PIPE_TIMEOUT) -> bytes:
    """Return the content of a file: up to `limit` bytes, and one more if there are more.

    A pipe is read until its end, and /dev/null is empty. Other devices and sockets are not opened, because that may
    block, or have an effect on the device.

    Raises:
        OSError: The file cannot be read, or a pipe has not ended within `pipe_timeout` seconds.
    """
    found = path.stat()
    if _is_null_device(found):
        return b""
    if not stat.S_ISFIFO(found.st_mode):
        check_regular(path)
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        return _read_pipe(stream.fileno(), limit + 1, pipe_timeout)


def file_digest(path: Path | str) -> str:
    """Return a digest of the content of a regular file; empty if there is no name, or if the file cannot be read."""
    if not str(path):
        return ""
    try:
        check_regular(Path(path))
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def check_regular(path: Path) -> None:
    """Check that a path names a regular file, which is safe to open.

    Raises:
        OSError: It does not.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _is_null_device(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev


def _read_pipe(descriptor: int, size: int, timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    content = b""
    while len(content) < size:
        try:
            chunk = os.read(descriptor, size - len(content))
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0 or not _is_readable(descriptor, left):
                raise OSError(errno.ETIMEDOUT, f"it is a pipe that has not ended within {timeout:g} s") from None
            continue
        if not chunk:
            break
        content += chunk
    if not content:
        raise OSError(errno.ENODATA, "it is a pipe without content")
    return content


def _is_readable(descriptor: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
