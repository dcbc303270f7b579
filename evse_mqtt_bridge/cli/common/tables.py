"""Rows of stations and plugs as text, from a snapshot or from a response of the cloud.

All text from outside is cleaned here. The functions are pure, except the two that print.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import click

from evse_mqtt_bridge.cli.common.columns import Columns, output_width, table, widest
from evse_mqtt_bridge.domain.model import PlugReading, Reading, Reason, Station
from evse_mqtt_bridge.domain.statuses import meaning
from evse_mqtt_bridge.observability.reason_texts import reason_text
from evse_mqtt_bridge.observability.snapshot import PlugSnapshot, StationSnapshot
from evse_mqtt_bridge.publishing.payloads import number, timestamp
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.text import clean

__all__ = [
    "ERROR_LENGTH",
    "PLUG_COLUMNS",
    "UNKNOWN",
    "PlugRow",
    "Rank",
    "StationRow",
    "elapsed",
    "measurement",
    "print_plugs",
    "print_table",
    "rank_of",
    "reading_lines",
    "station_row",
]

ERROR_LENGTH = 300
"""Maximum number of characters of an error text in the output."""

_RECENT = 3600.0  # seconds
_CELL_LENGTH = 128  # characters

UNKNOWN = "-"
"""The cell of a value that is not known."""


def measurement(value: float | None, unit: str, digits: int | None = None) -> str:
    """Return a value with its unit, rounded to `digits` unless that is `None`; `-` for an unknown value."""
    if value is None:
        return UNKNOWN
    return f"{number(value if digits is None else round(value, digits))} {unit}".rstrip()


def elapsed(at: datetime, since: datetime) -> str:
    """Return the time from `since` to `at`, without tenths of seconds, which would flicker in a live view."""
    seconds = max((at - since).total_seconds(), 0.0)
    return f"{seconds:.0f} s" if seconds < 10 else format_duration(seconds)  # noqa: PLR2004  # ten seconds


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, or a list if the terminal is too narrow for it; text from outside is cleaned."""
    cells = [[clean("" if value is None else str(value), _CELL_LENGTH) for value in row] for row in rows]
    for line in table(headings, cells, output_width()):
        click.echo(line)


# From a snapshot: `status` and `watch`

PLUG_COLUMNS = ("STATUS", "POWER", "L1 / L2 / L3", "LIMIT", "SESSION", "ENERGY", "AGE")
"""Headings of the cells of a `PlugRow`."""


class Rank(IntEnum):
    """The urgency of a row; `watch` shows low ranks first."""

    UNAVAILABLE = 0
    WAITING = 1
    PROBLEM = 2
    CHARGING = 3
    IDLE = 4


@dataclass(frozen=True, slots=True)
class PlugRow:
    """A plug of a snapshot.

    Attributes:
        uuid: Uuid of the plug.
        name: Name of the plug.
        cells: One text per PLUG_COLUMNS.
        rank: The urgency.
        availability: Why the plug is online or not, and since when.
        remarks: The uuid, if no alias replaces it in topics.
    """

    uuid: str
    name: str
    cells: tuple[str, ...]
    rank: Rank
    availability: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StationRow:
    """A station of a snapshot.

    Attributes:
        uuid: Uuid of the station.
        name: Name of the station.
        rank: The most urgent rank among the station and its plugs.
        unavailable: Why the station is not online, and since when; empty if it is online.
        remarks: The last error, if it is recent or the station is unavailable, when it is polled next, and the note
            about the last response.
        plugs: The plugs.
    """

    uuid: str
    name: str
    rank: Rank
    unavailable: str
    remarks: tuple[str, ...]
    plugs: tuple[PlugRow, ...]


def station_row(at: datetime, station: StationSnapshot) -> StationRow:
    """Return the row of a station in a snapshot that was taken at `at`."""
    plugs = tuple(_plug_row(at, plug) for plug in station.plugs)
    is_online = station.reason is Reason.ONLINE
    remarks = []
    if station.error and station.error_at is not None:
        age = (at - station.error_at).total_seconds()
        if not is_online or station.consecutive_failures or age < _RECENT:
            remarks.append(f"last error {elapsed(at, station.error_at)} ago: {clean(station.error, ERROR_LENGTH)}")
    if station.consecutive_failures and station.next_poll is not None:
        remarks.append(f"next poll in {elapsed(station.next_poll, at)}")
    if station.note:
        remarks.append(f"unusual: {clean(station.note, ERROR_LENGTH)}")
    return StationRow(
        uuid=station.uuid,
        name=clean(station.name),
        rank=min([_rank_of_reason(station.reason), *(plug.rank for plug in plugs)]),
        unavailable="" if is_online else _availability(at, station.reason, station.since),
        remarks=tuple(remarks),
        plugs=plugs,
    )


def rank_of(plug: PlugSnapshot) -> Rank:
    """Return the urgency of a plug."""
    if plug.reason is not Reason.ONLINE:
        return _rank_of_reason(plug.reason)
    status = meaning(plug.status)
    if status.problem:
        return Rank.PROBLEM
    return Rank.CHARGING if status.charging else Rank.IDLE


def _plug_row(at: datetime, plug: PlugSnapshot) -> PlugRow:
    currents = (plug.current_l1, plug.current_l2, plug.current_l3)
    phases = " / ".join(measurement(current, "", 2) for current in currents) + " A"
    cells = (
        clean(plug.status or UNKNOWN),
        measurement(plug.power, "W", 0),
        UNKNOWN if currents == (None, None, None) else phases,
        measurement(plug.dyn_current_limit, "A", 2),
        _energy(plug.session_energy if plug.session_started else None, 2),
        _energy(plug.energy, 1),
        _age(at, plug.time) if plug.time else UNKNOWN,
    )
    return PlugRow(
        uuid=plug.uuid,
        name=clean(plug.name),
        cells=cells,
        rank=rank_of(plug),
        availability=_availability(at, plug.reason, plug.since),
        remarks=(_ids(plug.uuid, None),) if plug.topic.endswith(f"/{plug.uuid}") else (),
    )


def _energy(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f} kWh"


def _rank_of_reason(reason: Reason | None) -> Rank:
    if reason is None:
        return Rank.WAITING
    return Rank.IDLE if reason is Reason.ONLINE else Rank.UNAVAILABLE


def _availability(at: datetime, reason: Reason | None, since: datetime | None) -> str:
    return reason_text(reason) + (f" (for {elapsed(at, since)})" if since is not None and reason is not None else "")


def _age(at: datetime, time: datetime) -> str:
    """Return the age of a measurement; negative if the clock that measured it is ahead by a second or more."""
    return f"-{elapsed(time, at)}" if (time - at).total_seconds() >= 1 else elapsed(at, time)


# From a response of the cloud: `check`, `init` and `station add`


def print_plugs(reading: Reading) -> None:
    """Print the plugs of a station that was polled for the first time, with the uuids for their aliases."""
    rows = [
        [plug.plug_uuid, plug.label, plug.status, None if plug.power is None else measurement(plug.power, "W")]
        for plug in reading.plugs
    ]
    print_table(["plug", "label", "status", "power"], rows)


def reading_lines(plugs: Sequence[PlugReading], station: Station, width: int) -> Iterator[str]:
    """Yield an aligned line per plug: name, status, power, currents, limit, time of the measurement, uuid and alias.

    In a narrow terminal, uuid and alias have a line of their own. The others fit into 80 columns if name and status
    have the usual length.

    Args:
        plugs: The plugs, as the cloud reports them.
        station: The station, as configured.
        width: Width of the terminal, in cells.
    """
    if not plugs:
        return
    rows = [(clean(station.plug_title(plug.plug_uuid, plug.label)), *_reading_cells(plug)) for plug in plugs]
    columns = Columns([widest(column) for column in zip(*rows, strict=True)])
    ids = [_ids(plug.plug_uuid, station.plugs.get(plug.plug_uuid)) for plug in plugs]
    is_narrow = columns.total_width + widest(ids) > width
    for row, text in zip(rows, ids, strict=True):
        yield columns.row(row).rstrip() if is_narrow else columns.row(row) + text
        if is_narrow:
            yield f"  {text}"


def _ids(uuid: str, alias: str | None) -> str:
    return f"uuid {uuid}, alias {alias}" if alias else f"uuid {uuid}, no alias"


def _reading_cells(plug: PlugReading) -> tuple[str, ...]:
    phases = " / ".join(measurement(current, "") for current in (plug.current_l1, plug.current_l2, plug.current_l3))
    return (
        clean(plug.status or UNKNOWN),
        measurement(plug.power, "W"),
        f"{phases} A",
        f"of {measurement(plug.dyn_current_limit, 'A')}",
        timestamp(plug.time.replace(microsecond=0)).replace(".000Z", "Z") if plug.time else UNKNOWN,
    )
