"""Writes configuration files atomically, one command at a time, and backs them up."""

import contextlib
import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from evse_mqtt_bridge.support.errors import EditError

__all__ = ["back_up", "create_file", "locked", "replace_file", "save"]

_OWNER_ONLY = 0o600

_LOCK_TIMEOUT = 30.0
"""Seconds to wait for other commands that change the same file."""

_LOCK_RETRY = 0.02
"""Seconds between two attempts to lock a file."""


@contextlib.contextmanager
def locked(path: Path, timeout: float = _LOCK_TIMEOUT) -> Iterator[None]:
    """Keep other commands from changing a file from the moment it is read until it is saved.

    The lock is on the folder, because `save` replaces the file, and a lock file would stay behind. There is no lock on
    file systems that cannot lock a folder, such as NFS.

    Raises:
        EditError: Another command holds the lock for longer than `timeout` seconds.
    """
    try:
        descriptor = os.open(_resolve_links(path).parent, os.O_RDONLY)
    except (OSError, RuntimeError):  # `save` reports it
        yield
        return
    try:
        _lock(descriptor, path, timeout)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise EditError(
                    f"{path} was not changed, because another command has been changing it for {timeout:g} s"
                ) from None
            time.sleep(_LOCK_RETRY)
        except OSError:
            return
        else:
            return


def save(path: Path, text: str, mode: int | None = None) -> None:
    """Replace the content of a file atomically, or that of the file to which a symbolic link points.

    Owner and group stay the same, if permitted.

    Args:
        path: The file; it is created if it does not exist.
        text: The new content.
        mode: The new permissions; `None`: unchanged, or 0600 for a new file.

    Raises:
        EditError: The file cannot be written; it was not changed.
    """
    temporary = None
    try:
        file = _resolve_links(path)
        before = file.stat() if file.exists() else None
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                _copy_ownership(before, descriptor)
                os.fchmod(descriptor, before.st_mode & 0o7777 if mode is None else mode)
                if mode is None:
                    _copy_attributes(file, descriptor)
            stream.write(text.encode())
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(file)
        temporary = None
        with contextlib.suppress(OSError):
            _sync_folder(file.parent)
    except (OSError, RuntimeError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.errno != errno.ELOOP else "its links form a loop"
        )
        raise EditError(f"{path} cannot be written and was not changed: {reason}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _copy_ownership(status: os.stat_result, descriptor: int) -> None:
    for owner in ((status.st_uid, -1), (-1, status.st_gid)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, *owner)


def _copy_attributes(source: Path, descriptor: int) -> None:
    """Copy extended attributes: they contain access control lists (acl(5)), without which the mode is misleading."""
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(source, name))


def create_file(path: Path, text: str) -> None:
    """Create a file atomically, with mode 0600.

    Raises:
        EditError: The file exists already, or cannot be written.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))  # reserves the name
    except FileExistsError:
        raise EditError(f"{path} already exists and was not changed") from None
    except OSError as error:
        raise EditError(f"{path} cannot be written: {error.strerror}") from None
    try:
        save(path, text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def back_up(path: Path) -> Path:
    """Copy a file to a new one in the same directory, with mode 0600, and return its path.

    The copies of `config.toml` are `config.toml.bak`, `config.toml.bak2`, and so on.

    Raises:
        EditError: The file cannot be read, or the copy cannot be written.
    """
    number = 1
    while True:
        copy = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        try:
            _write_new(copy, path.read_bytes())
        except FileExistsError:
            number += 1
        except OSError as error:
            raise EditError(f"{path} cannot be backed up to {copy} and was not changed: {error.strerror}") from None
        else:
            return copy


def replace_file(path: Path, text: str) -> Path:
    """Replace a file atomically, with mode 0600, and return the path of its copy; see `back_up`.

    Raises:
        EditError: The file or its copy cannot be written; the file was not changed, and there is no copy.
    """
    with locked(path):
        copy = back_up(path)
        try:
            save(path, text, mode=_OWNER_ONLY)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
    return copy


def _write_new(path: Path, content: bytes) -> None:
    """Write a new file with mode 0600; leave nothing behind if that fails.

    Raises:
        OSError: The file exists already, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _resolve_links(path: Path) -> Path:
    """Return the path to which symbolic links point, whether or not it exists.

    Raises:
        OSError, RuntimeError: The links form a loop; which of the two depends on the version of Python.
    """
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        return path.resolve()


def _sync_folder(folder: Path) -> None:
    """Make sure that a rename survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
