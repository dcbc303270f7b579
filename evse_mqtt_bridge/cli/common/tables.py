"""How the answers of stations are shown in a terminal."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evse_mqtt_bridge.domain.model import PlugReading, Reading
from evse_mqtt_bridge.publishing.messages import number, timestamp
from evse_mqtt_bridge.support.text import clean

__all__ = ["plug_lines", "print_plugs", "print_table"]


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table in which nothing is cut off, and no text from outside is taken for markup."""
    table = Table(*headings, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(clean("" if value is None else str(value), 128)) for value in row))
    Console().print(table)


def print_plugs(reading: Reading) -> None:
    """What a station answered when it was asked for the first time: its plugs by uuid."""
    rows = [
        [plug.plug_uuid, plug.label, plug.status, None if plug.power is None else _with_unit(plug.power, "W")]
        for plug in reading.plugs
    ]
    print_table(["plug", "label", "status", "power"], rows)


def plug_lines(plugs: Sequence[PlugReading]) -> Iterator[str]:
    """A line for each plug: label, status, power, currents, limit and the time of the measurement, in columns.

    With labels and words of the usual length a line fits 80 columns.
    """
    rows = [_cells(plug) for plug in plugs]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _cells(plug: PlugReading) -> tuple[str, ...]:
    """What is not known is `-`."""
    phases = (plug.current_l1, plug.current_l2, plug.current_l3)
    currents = " / ".join("-" if value is None else number(value) for value in phases)
    return (
        clean(plug.label or plug.plug_uuid),
        clean(plug.status or "-"),
        _with_unit(plug.power, "W"),
        f"{currents} A",
        f"of {_with_unit(plug.dyn_current_limit, 'A')}",
        timestamp(plug.time.replace(microsecond=0)).replace(".000Z", "Z") if plug.time else "-",
    )


def _with_unit(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{number(value)} {unit}"
