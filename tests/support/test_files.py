"""Files that users name: reading ends, whatever is at the path."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evse_mqtt_bridge.support.files import check_regular, read_file


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def test_file_is_read_up_to_the_limit_and_one_more_byte(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert [len(read_file(path, limit)) for limit in (20, 10, 9, 3)] == [10, 10, 10, 4]


def test_null_device_is_empty() -> None:
    assert read_file(Path(os.devnull), 10) == b""


@pytest.mark.parametrize(
    ("create", "error"),
    [
        (os.mkfifo, "it is a pipe without content"),
        (_socket, "it is not a regular file"),
        (os.mkdir, "Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda _path: None, "No such file or directory"),
    ],
)
def test_path_without_a_file_is_an_error(tmp_path: Path, create: Callable[[Path], object], error: str) -> None:
    create(tmp_path / "x")
    with pytest.raises(OSError, match=error):
        read_file(tmp_path / "x", 10)


def test_pipe_is_read_until_its_end() -> None:
    readable, writable = os.pipe()

    def write() -> None:
        for chunk in (b"1", b"2" * 100_000, b"3"):
            os.write(writable, chunk)
        os.close(writable)

    writer = threading.Thread(target=write)
    writer.start()
    content = read_file(Path(f"/dev/fd/{readable}"), 1_000_000)
    writer.join()
    os.close(readable)
    assert content == b"1" + b"2" * 100_000 + b"3"


def test_endless_pipe_is_an_error_after_its_timeout() -> None:
    readable, writable = os.pipe()
    os.write(writable, b"the start")
    with pytest.raises(OSError, match=r"a pipe that has not ended within 0\.05 s"):
        read_file(Path(f"/dev/fd/{readable}"), 1000, pipe_timeout=0.05)
    os.close(readable)
    os.close(writable)


def test_only_a_regular_file_is_regular(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    check_regular(tmp_path / "file")
    with pytest.raises(OSError, match="it is not a regular file"):
        check_regular(tmp_path / "pipe")
