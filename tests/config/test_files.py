"""Configuration files are saved atomically, and never overwritten by accident."""

import errno
import os
import resource
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evse_mqtt_bridge.config.files import back_up, create_file, locked, replace_file, save
from evse_mqtt_bridge.support.errors import EditError


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_save_new_file_is_private(tmp_path: Path) -> None:
    save(tmp_path / "config.toml", "x = 1\r\n# ü\n")
    assert (tmp_path / "config.toml").read_bytes() == "x = 1\r\n# ü\n".encode()
    assert mode_of(tmp_path / "config.toml") == 0o600
    assert names_in(tmp_path) == ["config.toml"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666, 0o400])
def test_save_keeps_mode_and_owner(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("old")
    if os.geteuid() == 0:
        os.chown(path, 12_345, 54_321)
    path.chmod(mode)
    before = path.stat()
    save(path, "new")
    after = path.stat()
    assert path.read_text() == "new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino  # processes that have the old file open still read the old content


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="extended attributes are not supported")
def test_save_keeps_access_control_list(tmp_path: Path) -> None:
    """The access control list allows only the owner and user 12345."""
    path = tmp_path / "config.toml"
    path.write_text("old")
    entries = [(1, 6, -1), (2, 4, 12_345), (4, 0, -1), (16, 4, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError:
        pytest.skip("this file system has no access control lists")
    save(path, "new")
    assert path.read_text() == "new"
    assert os.getxattr(path, "system.posix_acl_access") == acl


def test_save_through_link_keeps_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file = tmp_path / "real" / "site.toml"
    file.write_text("old")
    (tmp_path / "config.toml").symlink_to("real/site.toml")
    save(tmp_path / "config.toml", "new")
    assert (tmp_path / "config.toml").is_symlink()
    assert file.read_text() == "new"
    assert names_in(tmp_path / "real") == ["site.toml"]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_save_on_full_disk_keeps_old_content(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("old")
    with pytest.raises(EditError) as caught, files_no_larger_than(4096):
        save(path, "x" * 100_000)
    assert str(caught.value) == f"{path} cannot be written and was not changed: {os.strerror(errno.EFBIG)}"
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["config.toml"]


def test_save_over_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "config.toml" / "x").mkdir(parents=True)
    with pytest.raises(EditError, match="Is a directory"):
        save(tmp_path / "config.toml", "new")
    assert names_in(tmp_path) == ["config.toml"]


def test_save_in_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="No such file or directory"):
        save(tmp_path / "nowhere" / "config.toml", "new")


def test_save_through_link_loop_raises(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(EditError, match="cannot be written and was not changed"):
        save(tmp_path / "a", "new")


@pytest.mark.parametrize("call", ["fchmod", "fsync"])
def test_save_with_failing_system_call_keeps_old_content(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(EditError, match="Input/output error"):
        save(path, "new")
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["config.toml"]


def test_create_file_is_private(tmp_path: Path) -> None:
    create_file(tmp_path / "config.toml", "x = 1\n")
    assert (tmp_path / "config.toml").read_text() == "x = 1\n"
    assert mode_of(tmp_path / "config.toml") == 0o600
    assert names_in(tmp_path) == ["config.toml"]


@pytest.mark.parametrize("is_link", [False, True])
def test_create_existing_file_raises(is_link: bool, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    if is_link:
        path.symlink_to("nowhere")
    else:
        path.write_text("old")
    with pytest.raises(EditError) as caught:
        create_file(path, "new")
    assert str(caught.value) == f"{path} already exists and was not changed"
    assert names_in(tmp_path) == ["config.toml"]
    assert is_link or path.read_text() == "old"


def test_create_file_on_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with files_no_larger_than(1000), pytest.raises(EditError):
        create_file(tmp_path / "config.toml", "x" * 100_000)
    assert names_in(tmp_path) == []


def test_back_up_never_overwrites_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("one")
    path.chmod(0o644)
    assert back_up(path) == tmp_path / "config.toml.bak"
    path.write_text("two")
    assert back_up(path) == tmp_path / "config.toml.bak2"
    assert [(tmp_path / name).read_text() for name in names_in(tmp_path)] == ["two", "one", "two"]
    assert {mode_of(tmp_path / name) for name in names_in(tmp_path)[1:]} == {0o600}


def test_back_up_on_full_disk_leaves_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("x" * 2000)
    with pytest.raises(EditError, match="cannot be backed up"), files_no_larger_than(1000):
        back_up(path)
    assert names_in(tmp_path) == ["config.toml"]


def test_replace_file_keeps_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("old")
    path.chmod(0o644)
    assert replace_file(path, "new") == tmp_path / "config.toml.bak"
    assert (path.read_text(), (tmp_path / "config.toml.bak").read_text()) == ("new", "old")
    assert mode_of(path) == 0o600


def test_replace_file_on_full_disk_leaves_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("old")
    with pytest.raises(EditError, match="cannot be written and was not changed"), files_no_larger_than(1000):
        replace_file(path, "x" * 2000)
    assert names_in(tmp_path) == ["config.toml"]
    assert path.read_text() == "old"


def test_back_up_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(
        EditError, match=r"cannot be backed up to .*config\.toml\.bak and was not changed: No such file"
    ):
        back_up(tmp_path / "config.toml")


def test_locked_file_is_not_locked_a_second_time(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    link = tmp_path / "link"
    link.symlink_to(path)
    with (
        locked(path),
        pytest.raises(EditError, match=r"another command has been changing it for 0\.05 s"),
        locked(link, 0.05),
    ):
        pytest.fail("locked twice")
    with locked(link, 0):
        assert names_in(tmp_path) == ["link"]


def test_locked_waits_for_the_other_command(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    order = []

    def wait_for_lock() -> None:
        with locked(path):
            order.append("second")

    with locked(path):
        second = threading.Thread(target=wait_for_lock)
        second.start()
        second.join(0.1)
        order.append("first")
    second.join(10)
    assert order == ["first", "second"]


def test_locked_file_in_no_folder_is_left_to_save(tmp_path: Path) -> None:
    with locked(tmp_path / "nowhere" / "config.toml"):
        pass
