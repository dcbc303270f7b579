"""Draws the picture of a bridge as lines of text for a terminal: pure, from a picture and a width.

A wide terminal gets one table, with why a plug is online or not as its last column. Where that does not fit, plugs
stand beneath their station, and what is to be told of one on the lines after it; rich's own tables have no cell that
runs over several columns. What comes from outside is never taken for markup.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from evse_mqtt_bridge.cli.common.rows import (
    ERROR_MOST,
    HEADS,
    PlugRow,
    Rank,
    StationRow,
    rank_of,
    span,
    station_row,
    value,
)
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import Snapshot
from evse_mqtt_bridge.support.text import clean

__all__ = ["UNLIMITED", "Line", "heading", "listing", "window"]

UNLIMITED = 10_000
"""A width for output that nobody's window limits, such as a pipe."""

_STYLES = {Rank.UNAVAILABLE: "yellow", Rank.WAITING: "dim", Rank.PROBLEM: "red", Rank.CHARGING: "green"}
_GAP = "  "
_INDENT = "  "
_RIGHT = frozenset({1, 3, 4})  # cells of a plug that are set to the right
_SACRIFICED = (3, 2, 1)  # cells of a plug that go, in this order, where the window is narrow
_NAME_LEAST = 12
_STATUS_MOST = 16  # where the window is not very wide
_WHY_LEAST = 36


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `rows` is 1 where it shows a plug, or a station that has none yet, and 0 for whatever goes with it."""

    text: Text
    rows: int = 0


def heading(picture: Snapshot) -> list[Line]:
    """The bridge, the broker and a sum of the stations; the first line says by itself how things are."""
    health, broker, bridge = picture.health, picture.broker, picture.bridge
    plugs = [plug for station in picture.stations for plug in station.plugs]
    online = [plug for plug in plugs if plug.reason is Reason.ONLINE]
    stations = sum(station.reason is Reason.ONLINE for station in picture.stations)
    charging = sum(rank_of(plug) is Rank.CHARGING for plug in plugs)
    power = value(sum(plug.power or 0.0 for plug in online), "W", 0)
    flow = f"{charging} of {len(plugs)} plugs charging, {power}"
    first = Text.assemble(
        (f"evse-mqtt-bridge {clean(bridge.version)}", "bold"),
        ": ",
        ("healthy", "green") if health.healthy else ("NOT HEALTHY", "bold red"),
        ", ",
        ("broker connected", "green") if broker.connected else ("broker NOT CONNECTED", "bold red"),
        f", {len(online)} of {len(plugs)} plugs online",
    )
    link = f"{'' if broker.connected else 'not '}connected for {span(picture.at, broker.since)}"
    running = f"running for {span(picture.at, bridge.started)}"
    lines = [
        first,
        Text(f"bridge    {clean(bridge.client_id)}, {running}, topics {clean(bridge.base_topic, 200)}/#"),
        Text(f"broker    {clean(broker.address, 300)}, {link}", style="" if broker.connected else "red"),
        Text(f"cloud     {clean(bridge.cloud, 300)}"),
        Text(f"stations  {stations} of {len(picture.stations)} online; {flow}"),
        *(Text(f"look at   {clean(words, ERROR_MOST)}", style="yellow") for words in health.messages),
    ]
    return [Line(line) for line in lines]


def listing(picture: Snapshot, width: int, *, worst_first: bool = False) -> list[Line]:
    """Stations and plugs, in lines of at most `width` cells; in the order of the configuration, or by rank.

    By rank, what is told of a station that is online is left out: windows have little room.
    """
    stations = [station_row(picture.at, station) for station in picture.stations]
    if not stations:
        return []
    if worst_first:
        stations.sort(key=lambda station: station.rank)
    cells = _cell_widths(stations, max(_STATUS_MOST, width // 8))
    names = _longest("STATION", (station.name for station in stations))
    plugs = _longest("PLUG", (plug.name for station in stations for plug in station.plugs))
    most = width // 5
    table = _Columns((min(names, most), min(plugs, most), *cells), {place + 2 for place in _RIGHT})
    rest = width - table.taken
    if rest < _WHY_LEAST:
        return list(_nested(stations, cells, width, remark_all=not worst_first))
    rows = list(_flat(stations, table, rest, remark_all=not worst_first))
    if worst_first:
        rows.sort(key=lambda row: row[0])
    head = Line(Text(table.row(("STATION", "PLUG", *HEADS)) + "AVAILABILITY", style="bold"))
    return [head, *(line for _, row in rows for line in row)]


def window(lines: Sequence[Line], height: int) -> list[Line]:
    """As many of the lines as fit, the last of which says how many rows are left out."""
    if len(lines) <= height:
        return list(lines)
    shown = list(lines[: max(height - 1, 0)])
    while len(shown) > 1 and not shown[-1].rows:  # no heading without what it heads
        shown.pop()
    left = sum(line.rows for line in lines) - sum(line.rows for line in shown)
    return [*shown, Line(Text(f"and {left} more" if left else "…", style="dim"))]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of these widths, each with a gap after it; those at the places of `right` are set to the right."""

    widths: tuple[int, ...]
    right: AbstractSet[int]

    @property
    def taken(self) -> int:
        return sum(self.widths) + len(_GAP) * len(self.widths)

    def row(self, cells: Sequence[str]) -> str:
        """The cells, cut where they do not fit."""
        row = ""
        for place, (cell, width) in enumerate(zip(cells, self.widths, strict=True)):
            fitting = _cut(cell, width)
            space = " " * (width - cell_len(fitting))
            row += (space + fitting if place in self.right else fitting + space) + _GAP
        return row


# One table


def _flat(
    stations: Sequence[StationRow], table: _Columns, rest: int, *, remark_all: bool
) -> Iterator[tuple[Rank, list[Line]]]:
    """The lines of each row, and its rank; `rest` is the width of the last column."""
    for station in stations:
        # what is told of a station is told once, with its first plug
        remarks = station.remarks if remark_all or station.trouble else ()
        if not station.plugs:
            row = table.row((station.name, *["-"] * (len(table.widths) - 1)))
            yield station.rank, _with_notes(row, [station.trouble, *remarks], rest, station.rank)
        for plug in station.plugs:
            row = table.row((station.name, plug.name, *plug.cells))
            yield plug.rank, _with_notes(row, [plug.availability, *remarks], rest, plug.rank)
            remarks = ()


def _with_notes(row: str, notes: Sequence[str], width: int, rank: Rank) -> list[Line]:
    """A row with its notes in the last column, on as many lines as they take."""
    style = _STYLES.get(rank, "")
    told = textwrap.wrap("; ".join(notes), width) or [""]
    return [
        Line(Text(row + told[0], style=style), 1),
        *(Line(Text(" " * cell_len(row) + part, style=style)) for part in told[1:]),
    ]


# Plugs beneath their stations


def _nested(stations: Sequence[StationRow], cells: Sequence[int], width: int, *, remark_all: bool) -> Iterator[Line]:
    kept = _kept(cells, width)
    room = max(width - _taken(cells, kept), 1)
    names = [
        "STATION / PLUG",
        *(_INDENT + plug.name for station in stations for plug in station.plugs),
        *(joined for station in stations if cell_len(joined := _joined(station)) <= room),
    ]
    name = min(max(map(cell_len, names)), room)
    table = _Columns(
        (name, *(cells[place] for place in kept)), {place for place, cell in enumerate(kept, 1) if cell in _RIGHT}
    )
    yield Line(Text(table.row(("STATION / PLUG", *(HEADS[place] for place in kept))).rstrip(), style="bold"))
    for station in stations:
        remarks = station.remarks if remark_all or station.trouble else ()
        joined = _joined(station)
        if joined and cell_len(joined) <= name:
            yield from _plug_lines(joined, station.plugs[0], table, kept, width)
            yield from _indented(remarks, width, _STYLES.get(station.plugs[0].rank, ""))
            continue
        style = _STYLES[station.rank] if station.trouble else ""
        yield Line(Text(_cut(station.name, width), style=style or "bold"), 0 if station.plugs else 1)
        yield from _indented([station.trouble, *remarks], width, style or "dim")
        for plug in station.plugs:
            yield from _plug_lines(_INDENT + plug.name, plug, table, kept, width, told=bool(station.trouble))


def _plug_lines(  # noqa: PLR0913  # what a row is made of
    name: str, plug: PlugRow, table: _Columns, kept: Sequence[int], width: int, *, told: bool = False
) -> Iterator[Line]:
    """A row, and why it is not online, unless that was `told` of its station."""
    style = _STYLES.get(plug.rank, "")
    yield Line(Text(table.row((name, *(plug.cells[place] for place in kept))).rstrip(), style=style), 1)
    if plug.rank <= Rank.WAITING and not told:
        yield from _indented([plug.availability], width, style)


def _indented(words: Iterable[str], width: int, style: str) -> Iterator[Line]:
    indent = _INDENT * 2
    for word in words:
        for part in textwrap.wrap(word, max(width, 20), initial_indent=indent, subsequent_indent=indent + _INDENT):
            yield Line(Text(part, style=style))


def _joined(station: StationRow) -> str:
    """The name of a station with one plug, which takes one line with it where the names fit."""
    return f"{station.name}, {station.plugs[0].name}" if len(station.plugs) == 1 else ""


def _kept(cells: Sequence[int], width: int) -> list[int]:
    """The cells of a plug that leave room for its name."""
    kept = list(range(len(cells)))
    for place in _SACRIFICED:
        if width - _taken(cells, kept) < _NAME_LEAST:
            kept.remove(place)
    return kept


def _taken(cells: Sequence[int], kept: Sequence[int]) -> int:
    """The width of these cells, with a gap before each."""
    return sum(cells[place] + len(_GAP) for place in kept)


def _cell_widths(stations: Iterable[StationRow], status_most: int) -> tuple[int, ...]:
    rows = [plug.cells for station in stations for plug in station.plugs]
    status, *others = (_longest(head, (row[place] for row in rows)) for place, head in enumerate(HEADS))
    return min(status, status_most), *others


def _longest(head: str, texts: Iterable[str]) -> int:
    return max([cell_len(head), *map(cell_len, texts)])


def _cut(text: str, width: int) -> str:
    """At most `width` cells of a text; what is cut is its middle, since names differ at their ends."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    head = (width - 1) // 2
    end = text[len(text) - (width - 1 - head) :]
    while cell_len(end) > width - 1 - head:
        end = end[1:]
    return set_cell_size(text, head) + "…" + end
