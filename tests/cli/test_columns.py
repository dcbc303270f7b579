"""Tables that fit a width, or become lists."""

import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from evse_mqtt_bridge.cli.common.columns import UNLIMITED, Columns, output_width, shorten, table
from tests.harness.bridge import clean_environment

_UUID = "25104c56d7f848af830af4300193efb3"
_HEADINGS = ("name", "uuid", "interval")
_ROWS = (("Garage north", _UUID, "30"), ("", "b", "5"))


def test_table_that_fits_has_one_line_per_row() -> None:
    assert table(_HEADINGS, _ROWS, 56, right_aligned={2}) == [
        "name          uuid                              interval",
        f"Garage north  {_UUID}        30",
        f"{'':14}b{'':40}5",
    ]


def test_table_that_does_not_fit_is_a_list() -> None:
    assert table(_HEADINGS, _ROWS, 55) == [
        "Garage north",
        f"  uuid      {_UUID}",
        "  interval  30",
        "b",
        "  uuid      b",
        "  interval  5",
    ]


@given(st.lists(st.tuples(st.text("a中-", max_size=70), st.text("b-", max_size=70)), max_size=4), st.integers(1, 200))
def test_table_never_cuts_a_cell(rows: list[tuple[str, str]], width: int) -> None:
    text = "\n".join(table(("first", "second"), rows, width))
    assert all(cell in text for row in rows for cell in row)


@given(st.text("a中", max_size=30), st.integers(0, 20))
def test_shorten_leaves_out_the_middle(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cell_len(short) <= width
    assert short in (text, "") or "…" in short


def test_columns_rows_have_the_total_width() -> None:
    columns = Columns((3, 4), {1})
    assert columns.row(("a", "b")) == "a       b  "
    assert len(columns.row(("a", "b"))) == columns.total_width


@pytest.mark.parametrize(("columns", "width"), [("100", 100), (None, UNLIMITED)])
def test_output_width_of_a_pipe_is_that_of_columns(
    columns: str | None, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert output_width() == width


def test_output_width_of_closed_output_is_unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", None)
    assert output_width() == UNLIMITED


def test_output_width_of_a_terminal_is_its_own() -> None:
    ours, theirs = pty.openpty()
    program = "from evse_mqtt_bridge.cli.common.columns import output_width; print(output_width())"
    environ = clean_environment()
    del environ["COLUMNS"]
    try:
        subprocess.run(["stty", "cols", "73"], stdin=theirs, check=True, timeout=20)
        subprocess.run([sys.executable, "-c", program], stdout=theirs, env=environ, check=True, timeout=20)
        assert os.read(ours, 100).split() == [b"73"]
    finally:
        os.close(theirs)
        os.close(ours)
