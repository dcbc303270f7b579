"""Lays out rows of text: a table if it fits the width, else a list. Pure, except `output_width`.

A table never wraps and never cuts a cell, so that ids stay whole. Output that is not for a terminal has no limit: a
pipe gets one line per row.
"""

import os
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

__all__ = ["UNLIMITED", "Columns", "output_width", "shorten", "table", "widest"]

UNLIMITED = 10_000
"""Width of output that no terminal limits, such as a pipe."""

_GAP = "  "
_INDENT = "  "


def output_width() -> int:
    """Return the width of the terminal, or of the environment variable COLUMNS; UNLIMITED for a pipe or a file."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal or "COLUMNS" in os.environ else UNLIMITED


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of these widths, each followed by a gap; `right_aligned` are indexes of columns."""

    widths: Sequence[int]
    right_aligned: Collection[int] = ()

    @property
    def total_width(self) -> int:
        """The width of a row, with the gap after its last column."""
        return sum(self.widths) + len(_GAP) * len(self.widths)

    @property
    def text_width(self) -> int:
        """The width of a row, without the gap after its last column."""
        return max(self.total_width - len(_GAP), 0)

    def row(self, cells: Sequence[str]) -> str:
        """Return a row of these cells, each shortened if it does not fit."""
        row = ""
        for index, (cell, width) in enumerate(zip(cells, self.widths, strict=True)):
            text = shorten(cell, width)
            padding = " " * (width - cell_len(text))
            row += (padding + text if index in self.right_aligned else text + padding) + _GAP
        return row


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, right_aligned: Collection[int] = ()
) -> list[str]:
    """Return the lines of a table of at most `width` cells, or of a list if the table is wider.

    In a list, the first cell of a row is the title of its other cells, and empty cells are left out. Without a first
    cell, the first one that is not empty is the title.

    Args:
        headings: One heading per column.
        rows: One text per column, without line breaks.
        width: The limit, in cells.
        right_aligned: Indexes of the columns with numbers.
    """
    columns = Columns([widest(column) for column in zip(headings, *rows, strict=True)], right_aligned)
    lines = [columns.row(row).rstrip() for row in (headings, *rows)]
    return lines if widest(lines) <= width else list(_list(headings, rows))


def _list(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = Columns([widest(headings[1:])])
    for title, *cells in rows:
        yield title or next(filter(None, cells), "-")
        for heading, cell in zip(headings[1:], cells, strict=True):
            if cell:
                yield f"{_INDENT}{columns.row([heading])}{cell}"


def widest(texts: Collection[str]) -> int:
    """Return the width of the widest text, in cells."""
    return max(map(cell_len, texts))


def shorten(text: str, width: int) -> str:
    """Return at most `width` cells of a text. The middle is left out, because names differ at their ends."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    head = (width - 1) // 2
    end = text[len(text) - (width - 1 - head) :]
    while cell_len(end) > width - 1 - head:
        end = end[1:]
    return set_cell_size(text, head) + "…" + end
