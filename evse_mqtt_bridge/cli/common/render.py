"""Renders a snapshot as lines of text for a terminal of a given width. Pure.

A wide terminal gets one table, whose last column gives the availability. In a narrow one, plugs are listed below their
station, and remarks follow on separate lines. rich's tables are not used, because their cells cannot span columns.
Text from outside is never interpreted as markup.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from evse_mqtt_bridge.cli.common.columns import Columns, shorten, widest
from evse_mqtt_bridge.cli.common.tables import (
    ERROR_LENGTH,
    PLUG_COLUMNS,
    UNKNOWN,
    PlugRow,
    Rank,
    StationRow,
    elapsed,
    measurement,
    rank_of,
    station_row,
)
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.fleet_snapshot import FleetSnapshot, shard_ranges
from evse_mqtt_bridge.observability.snapshot import Snapshot
from evse_mqtt_bridge.support.text import clean

__all__ = ["Line", "fit_height", "heading", "listing"]

_STYLES = {Rank.UNAVAILABLE: "yellow", Rank.WAITING: "dim", Rank.PROBLEM: "red", Rank.CHARGING: "green"}
_INDENT = "  "
_RIGHT_ALIGNED = frozenset({1, 3, 4, 5, 6})  # indexes of PLUG_COLUMNS
_ENERGY_COLUMNS = (5, 4)  # indexes of PLUG_COLUMNS that are left out where nothing was counted, or without room
_DROPPED_FIRST = (*_ENERGY_COLUMNS, 3, 2, 1)  # indexes that are dropped in a narrow terminal, in this order
_MIN_NAME_WIDTH = 12
_MAX_STATUS_WIDTH = 16  # wider in a very wide terminal
_MIN_AVAILABILITY_WIDTH = 36


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output. `rows` is 1 if it shows a plug, or a station without known plugs; else 0."""

    text: Text
    rows: int = 0


def heading(snapshot: Snapshot) -> list[Line]:
    """Return lines about the bridge, the broker, and the sum of all stations; the first line is a summary."""
    health, broker, bridge = snapshot.health, snapshot.broker, snapshot.bridge
    plugs = [plug for station in snapshot.stations for plug in station.plugs]
    online = [plug for plug in plugs if plug.reason is Reason.ONLINE]
    stations = sum(station.reason is Reason.ONLINE for station in snapshot.stations)
    charging = sum(rank_of(plug) is Rank.CHARGING for plug in plugs)
    power = measurement(sum(plug.power or 0.0 for plug in online), "W", 0)
    summary = Text.assemble(
        (f"evse-mqtt-bridge {clean(bridge.version)}", "bold"),
        ": ",
        ("healthy", "green") if health.healthy else ("NOT HEALTHY", "bold red"),
        ", ",
        ("broker connected", "green") if broker.connected else ("broker NOT CONNECTED", "bold red"),
        f", {len(online)} of {len(plugs)} plugs online",
        (_first_problem(health.messages), "yellow"),
    )
    connection = f"{'' if broker.connected else 'not '}connected for {elapsed(snapshot.at, broker.since)}"
    uptime = f"running for {elapsed(snapshot.at, bridge.started)}"
    usage = f"{charging} of {len(plugs)} plugs charging, {power}"
    lines = [
        summary,
        Text(f"bridge    {clean(bridge.client_id)}, {uptime}, topics {clean(bridge.base_topic, 200)}/#"),
        Text(f"broker    {clean(broker.address, 300)}, {connection}", style="" if broker.connected else "red"),
        Text(f"cloud     {clean(bridge.cloud, 300)}"),
        *_fleet_lines(snapshot.fleet),
        Text(f"stations  {stations} of {len(snapshot.stations)} online; {usage}"),
        *(Text(f"warning   {clean(problem, ERROR_LENGTH)}", style="yellow") for problem in health.messages),
    ]
    return [Line(line) for line in lines]


def _fleet_lines(fleet: FleetSnapshot | None) -> list[Text]:
    """Return a line about the fleet; without one, nothing."""
    if fleet is None:
        return []
    numbers = f" ({shard_ranges(fleet.held)})" if fleet.held else ""
    text = f"fleet     {clean(fleet.member)} with {len(fleet.held)} of {fleet.shards} shards{numbers}"
    if fleet.engine == "static":
        return [Text(text)]
    members = ", ".join(clean(member.name) for member in fleet.members)
    text += f", {fleet.engine} {'answers' if fleet.connected else 'does NOT ANSWER'}, members {members or 'unknown'}"
    lines = [Text(text, style="" if fleet.connected else "red")]
    return [*lines, Text(f"warning   {fleet.conflict}", style="yellow")] if fleet.conflict else lines


def _first_problem(messages: Sequence[str]) -> str:
    """Return the end of the summary: the first problem, and the number of further ones."""
    if not messages:
        return ""
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    return f"; {clean(messages[0], ERROR_LENGTH)}{more}"


def listing(snapshot: Snapshot, width: int, *, worst_first: bool = False) -> list[Line]:
    """Return lines of at most `width` cells about stations and plugs. Names may be shortened, but uuids never are.

    Args:
        snapshot: The snapshot.
        width: Width of the terminal, in cells.
        worst_first: Whether to sort by rank instead of keeping the order of the configuration. Remarks about stations
            that are online are then left out, because a window has little room.
    """
    stations = [station_row(snapshot.at, station) for station in snapshot.stations]
    if not stations:
        return []
    if worst_first:
        stations.sort(key=lambda station: station.rank)
    cells = _cell_widths(stations, max(_MAX_STATUS_WIDTH, width // 8))
    plugs = [plug for station in stations for plug in station.plugs]
    names = (_name_width("STATION", stations, width), _name_width("PLUG", plugs, width))
    kept = _counted_columns(plugs)
    for index in (None, *_ENERGY_COLUMNS):
        if index in kept:
            kept.remove(index)
        columns = _columns(names, cells, kept)
        remaining = width - columns.total_width
        if remaining >= _MIN_AVAILABILITY_WIDTH:
            break
    else:
        return list(_nested(stations, cells, width, all_remarks=not worst_first))
    rows = list(_flat(stations, columns, kept, remaining, all_remarks=not worst_first))
    if worst_first:
        rows.sort(key=lambda row: row[0])
    titles = columns.row(("STATION", "PLUG", *(PLUG_COLUMNS[index] for index in kept)))
    return [Line(Text(titles + "AVAILABILITY", style="bold")), *(line for _, row in rows for line in row)]


def fit_height(lines: Sequence[Line], height: int) -> list[Line]:
    """Return as many lines as fit into `height`; if some do not, the last line counts the rows left out."""
    if len(lines) <= height:
        return list(lines)
    kept = list(lines[: max(height - 1, 0)])
    while len(kept) > 1 and not kept[-1].rows:  # a station's heading without any of its plugs
        kept.pop()
    omitted = sum(line.rows for line in lines) - sum(line.rows for line in kept)
    return [*kept, Line(Text(f"and {omitted} more" if omitted else "…", style="dim"))]


# Wide: one table


def _flat(
    stations: Sequence[StationRow], columns: Columns, kept: Sequence[int], remaining: int, *, all_remarks: bool
) -> Iterator[tuple[Rank, list[Line]]]:
    """Yield the rank and the lines of each row; `remaining` is the width of the last column."""
    for station in stations:
        remarks = station.remarks if all_remarks or station.unavailable else ()
        if not station.plugs:
            row = columns.row((station.name, *["-"] * (len(columns.widths) - 1)))
            yield station.rank, _with_notes(row, [station.unavailable, *remarks], remaining, station.rank)
        for plug in station.plugs:
            row = columns.row((station.name, plug.name, *(plug.cells[index] for index in kept)))
            notes = [plug.availability, *(plug.remarks if all_remarks else ()), *remarks]
            yield plug.rank, _with_notes(row, notes, remaining, plug.rank)
            remarks = ()  # only the first plug of a station carries its remarks


def _with_notes(row: str, notes: Sequence[str], width: int, rank: Rank) -> list[Line]:
    """Return a row with its notes in the last column, wrapped to as many lines as they need."""
    style = _STYLES.get(rank, "")
    wrapped = _wrap("; ".join(notes), width) or [""]
    return [
        Line(Text(row + wrapped[0], style=style), 1),
        *(Line(Text(" " * cell_len(row) + part, style=style)) for part in wrapped[1:]),
    ]


# Narrow: plugs below their station


def _nested(stations: Sequence[StationRow], cells: Sequence[int], width: int, *, all_remarks: bool) -> Iterator[Line]:
    plugs = [plug for station in stations for plug in station.plugs]
    longest_id = max((len(_INDENT) + cell_len(plug.name) for plug in plugs if plug.name == plug.uuid), default=0)
    kept = _kept_columns(cells, width, max(longest_id, _MIN_NAME_WIDTH), _counted_columns(plugs))
    name_limit = max(width - _width_of(cells, kept), 1)
    names = [
        "STATION / PLUG",
        *(_INDENT + plug.name for plug in plugs),
        *(joined for station in stations if cell_len(joined := _joined_name(station)) <= name_limit),
    ]
    name_width = min(max(map(cell_len, names)), name_limit)
    columns = _columns((name_width,), cells, kept)
    header = columns.row(("STATION / PLUG", *(PLUG_COLUMNS[index] for index in kept))).rstrip()
    yield Line(Text(header, style="bold"))
    for station in stations:
        remarks = station.remarks if all_remarks or station.unavailable else ()
        joined = _joined_name(station)
        if joined and cell_len(joined) <= name_width:
            plug = station.plugs[0]
            yield from _plug_lines(joined, plug, columns, kept, width)
            yield from _indented([*remarks, *(plug.remarks if all_remarks else ())], width, _STYLES.get(plug.rank, ""))
            continue
        style = _STYLES[station.rank] if station.unavailable else ""
        yield Line(Text(shorten(station.name, width), style=style or "bold"), 0 if station.plugs else 1)
        yield from _indented([station.unavailable, *remarks], width, style or "dim")
        for plug in station.plugs:
            is_explained = bool(station.unavailable)
            yield from _plug_lines(_INDENT + plug.name, plug, columns, kept, width, is_explained=is_explained)
            yield from _indented(plug.remarks if all_remarks else (), width, _STYLES.get(plug.rank, "") or "dim")


def _plug_lines(  # noqa: PLR0913  # a row and its layout
    name: str, plug: PlugRow, columns: Columns, kept: Sequence[int], width: int, *, is_explained: bool = False
) -> Iterator[Line]:
    """Yield a row, and why the plug is not online, unless the lines of its station explain that already."""
    style = _STYLES.get(plug.rank, "")
    yield Line(Text(columns.row((name, *(plug.cells[index] for index in kept))).rstrip(), style=style), 1)
    if plug.rank <= Rank.WAITING and not is_explained:
        yield from _indented([plug.availability], width, style)


def _indented(notes: Iterable[str], width: int, style: str) -> Iterator[Line]:
    indent = _INDENT * 2
    for note in notes:
        parts = _wrap(note, max(width, 20), indent, indent + _INDENT)
        yield from (Line(Text(part, style=style)) for part in parts)


def _wrap(text: str, width: int, first_indent: str = "", other_indent: str = "") -> list[str]:
    """Return lines of at most `width` characters; a longer word, such as a uuid, stays whole."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first_indent,
        subsequent_indent=other_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _joined_name(station: StationRow) -> str:
    """Return the names of a station and its only plug, which share a line if they fit; else an empty text."""
    return f"{station.name}, {station.plugs[0].name}" if len(station.plugs) == 1 else ""


def _counted_columns(plugs: Iterable[PlugRow]) -> list[int]:
    """Return the indexes of the plug columns, without those of the energy if none was counted."""
    energy = _ENERGY_COLUMNS[0]
    is_counted = any(plug.cells[energy] != UNKNOWN for plug in plugs)
    return [index for index in range(len(PLUG_COLUMNS)) if is_counted or index not in _ENERGY_COLUMNS]


def _kept_columns(cells: Sequence[int], width: int, min_name_width: int, columns: Sequence[int]) -> list[int]:
    """Return the indexes of those of these plug columns that leave enough room for the name."""
    kept = list(columns)
    for index in _DROPPED_FIRST:
        if index in kept and width - _width_of(cells, kept) < min_name_width:
            kept.remove(index)
    return kept


def _columns(names: Sequence[int], cells: Sequence[int], kept: Sequence[int]) -> Columns:
    """Return columns with names of these widths, and then the kept plug columns."""
    right = {position for position, index in enumerate(kept, len(names)) if index in _RIGHT_ALIGNED}
    return Columns((*names, *(cells[index] for index in kept)), right)


def _name_width(heading: str, rows: Sequence[StationRow] | Sequence[PlugRow], width: int) -> int:
    """Return the width of a column of names: a fifth of the width, or more if a uuid serves as a name."""
    limit = max([width // 5, *(cell_len(row.name) for row in rows if row.name == row.uuid)])
    return min(limit, widest([heading, *(row.name for row in rows)]))


def _width_of(cells: Sequence[int], kept: Sequence[int]) -> int:
    """Return the width of these columns, with a gap before each."""
    return Columns([cells[index] for index in kept]).total_width


def _cell_widths(stations: Iterable[StationRow], max_status_width: int) -> tuple[int, ...]:
    rows = [plug.cells for station in stations for plug in station.plugs]
    status, *others = (widest([title, *(row[index] for row in rows)]) for index, title in enumerate(PLUG_COLUMNS))
    return min(status, max_status_width), *others
