"""Edits change only the intended station, and files are saved atomically."""

import errno
import os
import resource
import stat
import struct
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.config.edit import add_station, back_up, create_file, find_station, remove_station, save
from evse_mqtt_bridge.support.errors import EditError

NEW = {"edge_device_id": "1", "uuid": "new", "token_file": "new.token", "name": 'Garage "north"'}
BLOCK = """\
[[stations]]
edge_device_id = "1"
uuid = "new"
token_file = "new.token"
name = "Garage \\"north\\""
"""

FILE = """\
# my site

[mqtt]   # the broker
host = "localhost"

# --- stations ---

# the old one,
# near the gate
[[stations]]
uuid = "a"          # as on the label
alias = "gate"

  # its plugs
  [stations.plugs]
  p = "left"

# the one below the roof
[[stations]]
uuid = "b"
name = "Roof"
# token = "later"

# what is logged
[log]
level = "info"
"""


def test_add_station_inserts_after_last_station() -> None:
    assert add_station(FILE, NEW) == FILE.replace('# token = "later"\n', '# token = "later"\n\n' + BLOCK)


def test_add_first_station_appends_to_file() -> None:
    assert add_station("[mqtt]\n", NEW) == "[mqtt]\n\n" + BLOCK
    assert add_station("[mqtt]", NEW) == "[mqtt]\n\n" + BLOCK
    assert add_station("", NEW) == BLOCK


def test_remove_station_removes_only_its_own_comment() -> None:
    without_a = FILE.replace(FILE[FILE.index("# the old one") : FILE.index("# the one below")], "")
    assert remove_station(FILE, "gate") == without_a
    without_b = FILE.replace(FILE[FILE.index("# the one below") : FILE.index("# what is logged")], "")
    assert remove_station(FILE, "Roof") == without_b
    assert remove_station(remove_station(FILE, "a"), "b") == without_a.replace(
        without_a[without_a.index("# the one below") : without_a.index("# what is logged")], ""
    )


def test_remove_station_removes_its_distant_table() -> None:
    text = '[[stations]]\nuuid = "a"\n\n[log]\n\n[stations.plugs]\np = "x"\n\n[mqtt]\n'
    assert remove_station(text, "a") == "[log]\n\n[mqtt]\n"


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("stations = []\n[log]\n", 'stations = [{uuid = "new"}]\n[log]\n'),
        (
            'stations = [{uuid = "a"}]  # all\n[log]\n',
            'stations = [{uuid = "a"}, {uuid = "new"}]  # all\n[log]\n',
        ),
        (
            'stations = [\n  # first\n  {uuid = "a"}, # a\n  # second\n  {uuid = "b"}, # b\n]\n',
            'stations = [\n  # first\n  {uuid = "a"}, # a\n  # second\n  {uuid = "b"}, # b\n  {uuid = "new"},\n]\n',
        ),
    ],
)
def test_stations_in_inline_array_can_be_edited(text: str, added: str) -> None:
    assert add_station(text, {"uuid": "new"}) == added
    assert tomllib.loads(remove_station(added, "new")) == tomllib.loads(text)
    comments = [line for line in remove_station(added, "new").splitlines() if line.lstrip().startswith("#")]
    assert comments == [line for line in text.splitlines() if line.lstrip().startswith("#")]


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda: add_station(FILE, {"uuid": "b"}), "line 19: station b already exists; remove it first"),
        (
            lambda: remove_station(FILE, "c"),
            "no station has the uuid, alias or name 'c'; run `evse-mqtt-bridge station list`",
        ),
        (
            lambda: remove_station('[[stations]]\nname = "x"\n[[stations]]\nname = "x"\n', "x"),
            "2 stations have the name 'x'; use the uuid instead",
        ),
        (
            lambda: add_station("stations = 5\n", NEW),
            "stations: expected an array of tables, each written as [[stations]]",
        ),
        (
            lambda: remove_station("[stations]\n", "x"),
            "stations: expected an array of tables, each written as [[stations]]",
        ),
    ],
)
def test_impossible_edit_raises_with_reason(edit: Callable[[], str], error: str) -> None:
    with pytest.raises(EditError) as caught:
        edit()
    assert str(caught.value) == error
    assert caught.value.exit_code == 1


def test_find_station_prefers_uuid_to_alias_to_name() -> None:
    stations = [{"uuid": "a", "alias": "b"}, {"uuid": "b", "name": "c"}, {"uuid": "d", "alias": "c"}]
    assert [find_station(stations, name) for name in "abcd"] == [0, 1, 2, 2]


# properties

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)
COMMENTS = st.one_of(TEXTS.map(lambda text: f"# {text}"), st.just("# [[stations]]"), st.just("  # x = 1"))
BLANK = st.sampled_from(["", "", "  "])


@st.composite
def files(draw: st.DrawFn) -> str:
    """Draw a valid file with stations s0, s1, ... between other tables, and with comments and blank lines anywhere."""
    lines: list[str] = draw(st.lists(st.one_of(COMMENTS, BLANK), max_size=2))
    for index in range(draw(st.integers(0, 4))):
        table = draw(st.sampled_from(["[[stations]]", "[[stations]]", f"[t{index}]", f"[t{index}.x]"]))
        lines += draw(st.lists(st.one_of(COMMENTS, BLANK), max_size=3))
        lines.append(f"{table} {draw(COMMENTS)}")
        lines.append(f'uuid = "s{index}" {draw(COMMENTS)}')
        if draw(st.booleans()):
            lines += ['text = """', "[[stations]]", "", "# no comment", '"""']
        if table == "[[stations]]" and draw(st.booleans()):
            lines += [*draw(st.lists(st.one_of(COMMENTS, BLANK), max_size=2)), "[stations.plugs]", "p = 'x'"]
        lines += draw(st.lists(st.one_of(COMMENTS, BLANK), max_size=3))
    newline: str = draw(st.sampled_from(["\n", "\r\n"]))
    lines = [f"{line} {number}" if line.lstrip().startswith("#") else line for number, line in enumerate(lines)]
    return newline.join([*lines, ""]) if lines else ""


def stations_of(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(text).get("stations", [])
    return found


@given(files())
def test_remove_after_add_restores_the_text(text: str) -> None:
    added = add_station(text, NEW)
    assert stations_of(added) == [*stations_of(text), NEW]
    assert {**tomllib.loads(added), "stations": 0} == {**tomllib.loads(text), "stations": 0}
    assert remove_station(added, "new") == text
    assert added.count("\r\n") in (0, added.count("\n"))


@given(files(), st.data())
def test_remove_station_keeps_all_other_lines(text: str, data: st.DataObject) -> None:
    stations = stations_of(text)
    if not stations:
        return
    index = data.draw(st.integers(0, len(stations) - 1))
    uuid = stations[index]["uuid"]
    removed = remove_station(text, uuid)
    assert stations_of(removed) == stations[:index] + stations[index + 1 :]
    before, after = text.split("\n"), removed.split("\n")
    kept = iter(before)
    assert all(line in kept for line in after), "lines were changed or moved"
    for number, line in enumerate(before):
        if line.startswith(("[t", "[[stations]] ")) and f'"{uuid}"' not in before[number + 1]:
            assert line in after
            while number and before[number - 1].lstrip().startswith("#"):
                number -= 1  # noqa: PLW2901  # upwards from the header
                assert before[number] in after, "the comment of another table was removed"


# saving


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


def test_back_up_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(
        EditError, match=r"cannot be backed up to .*config\.toml\.bak and was not changed: No such file"
    ):
        back_up(tmp_path / "config.toml")
