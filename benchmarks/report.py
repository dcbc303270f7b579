"""Tables of figures, as text, and written into docs/performance.md between the marks that name them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Table", "spread", "write"]

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True, slots=True)
class Table:
    """What a measurement found; `name` is that of its marks in the page, `notes` stand below it."""

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
    """The median of some values, and their range where there are several: `7,100 (6,900-7,300)`; `-` where unknown."""
    ordered = sorted(value for value in values if math.isfinite(value))
    if not ordered:
        return "-"
    median = ordered[len(ordered) // 2]
    if len(ordered) == 1:
        return format(median, f",{form}")
    return f"{median:,{form}} ({ordered[0]:,{form}}-{ordered[-1]:,{form}})"


def write(tables: Iterable[Table], conditions: str, page: Path = PAGE) -> list[str]:
    """Put tables into a page, each with the conditions it was measured under; returns the names it has no marks for."""
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
