"""Formats tables of results, and writes them into docs/performance.md between the marks with their names."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Table", "spread", "write"]

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True, slots=True)
class Table:
    """The results of a measurement.

    Attributes:
        name: Name of the marks in the page.
        columns: Headings.
        rows: Cells.
        notes: Paragraphs below the table.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        widths = [max(len(row[at]) for row in (self.columns, *self.rows)) for at in range(len(self.columns))]

        def line(cells: Sequence[str]) -> str:
            padded = [cell.rjust(width) if at else cell.ljust(width) for at, (cell, width) in _numbered(cells, widths)]
            return f"| {' | '.join(padded)} |"

        rule = "|".join(("-" * (width + 1) + ":") if at else "-" * (width + 2) for at, width in enumerate(widths))
        text = "\n".join([line(self.columns), f"|{rule}|", *map(line, self.rows)])
        return "\n\n".join([text, *self.notes])


def spread(values: Sequence[float], form: str = ".0f") -> str:
    """Return the median of these values, with the range if there are several: `7,100 (6,900-7,300)`; `-` if unknown."""
    ordered = sorted(value for value in values if math.isfinite(value))
    if not ordered:
        return "-"
    median = ordered[len(ordered) // 2]
    if len(ordered) == 1:
        return format(median, f",{form}")
    return f"{median:,{form}} ({ordered[0]:,{form}}-{ordered[-1]:,{form}})"


def write(tables: Iterable[Table], conditions: str, page: Path = PAGE) -> list[str]:
    """Write tables into a page, each with its conditions; return the names of tables without marks in the page."""
    text = page.read_text()
    unknown = []
    for table in tables:
        begin, end = f"<!-- bench:{table.name} -->", f"<!-- /bench:{table.name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if found and closed:
            text = f"{before}{begin}\n\n{table}\n\n{conditions}\n\n{end}{after}"
        else:
            unknown.append(table.name)
    page.write_text(text)
    return unknown


def _numbered(cells: Sequence[str], widths: Sequence[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(cells, widths, strict=True))
