"""Edits change only the intended station."""

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.config.edit import add_station, find_station, remove_station
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


@pytest.mark.parametrize("text", ["[mqtt]\n", 'stations = [{ uuid = "a" }]\n', "stations = [\n]\n"])
def test_add_station_writes_plugs_as_inline_table(text: str) -> None:
    edited = add_station(text, NEW | {"plugs": {"p": "left", "q-1": "rechts-ü"}})
    assert tomllib.loads(edited)["stations"][-1]["plugs"] == {"p": "left", "q-1": "rechts-ü"}
    assert '{p = "left"' in edited.replace("{ ", "{")


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
