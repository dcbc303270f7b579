"""Reads sessions and energy for reports, for one day, month or plug at a time.

Days and months begin at midnight in a time zone. The energy of an hour is the difference of two meter readings; a
reading below the one before it starts a new cycle, from 0. An hour belongs to the day, the month and the period in
which it begins, also if that ends within the hour, as days do in some time zones.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.connection import Row, utc_time
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.records import Plug, start_of_hour
from evse_mqtt_bridge.storage.report_request import Grouping

__all__ = ["EnergyRow", "Selection", "SessionRow", "beginning", "energy", "has_station", "sessions"]

_HOUR = timedelta(hours=1)

_SESSIONS = """
SELECT plugs.station, plugs.uuid, plugs.station_name, plugs.name,
    sessions.started, sessions.is_start_known, sessions.charged, sessions.discharged, sessions.gap, sessions.charging,
    sessions.peak, sessions.ended
FROM plugs JOIN sessions ON sessions.plug = plugs.id
{where}
ORDER BY sessions.ended DESC, sessions.plug
"""

_ENERGY_BY_PLUG = """
SELECT plugs.station, plugs.uuid, plugs.station_name, plugs.name, sum(charged), sum(discharged), sum(gap)
FROM ({hours}) AS hours JOIN plugs ON plugs.id = hours.plug
GROUP BY plugs.id, plugs.station, plugs.uuid, plugs.station_name, plugs.name
ORDER BY plugs.station_name, plugs.station, plugs.name, plugs.uuid
"""

_ENERGY_BY_HOUR = """
SELECT hour, sum(charged), sum(discharged), sum(gap)
FROM ({hours}) AS hours
GROUP BY hour
ORDER BY hour
"""

# The increase of each count since the reading before; 0 without one, and the whole count in a new cycle. The counts of
# the reading before come from a subquery of its own, so that the databases determine each of them once.
_HOURS = """
SELECT plug, hour,
    CASE WHEN charged_before IS NULL THEN 0.0 WHEN charged >= charged_before THEN charged - charged_before
        ELSE charged END AS charged,
    CASE WHEN discharged_before IS NULL THEN 0.0 WHEN discharged >= discharged_before
        THEN discharged - discharged_before ELSE discharged END AS discharged,
    CASE WHEN gap_before IS NULL THEN 0.0 WHEN gap >= gap_before THEN gap - gap_before
        ELSE gap END AS gap
FROM (
    SELECT plug, hour, charged, discharged, gap,
        lag(charged) OVER (PARTITION BY plug ORDER BY hour) AS charged_before,
        lag(discharged) OVER (PARTITION BY plug ORDER BY hour) AS discharged_before,
        lag(gap) OVER (PARTITION BY plug ORDER BY hour) AS gap_before
    FROM ({readings}) AS readings
) AS pairs
{where}
"""

_ALL_READINGS = """
SELECT readings.plug, readings.hour, readings.charged, readings.discharged, readings.gap
FROM readings JOIN plugs ON plugs.id = readings.plug
{where}
"""

# One look-up in the primary key per plug, so that the query does not read the years before the period. Without
# MATERIALIZED, the databases repeat the look-up for each reading.
_READINGS_SINCE = """
WITH starts AS MATERIALIZED (
    SELECT plugs.id, coalesce(
        (SELECT max(readings.hour) FROM readings WHERE readings.plug = plugs.id AND readings.hour <= ?), ?
    ) AS hour
    FROM plugs
    {where_plugs}
)
SELECT readings.plug, readings.hour, readings.charged, readings.discharged, readings.gap
FROM readings JOIN starts ON readings.plug = starts.id AND readings.hour >= starts.hour
{where}
"""


class Selection(NamedTuple):
    """Which part of the history to read.

    Attributes:
        since: From this time, inclusive, in UTC; `None`: from the beginning. Energy: hours that begin from then on.
        until: Up to this time, exclusive, in UTC; `None`: up to now. Energy: hours that begin before.
        station: Only this station (uuid); `None`: all.
        plug: Only this plug (uuid); `None`: all.
    """

    since: datetime | None = None
    until: datetime | None = None
    station: str | None = None
    plug: str | None = None


class SessionRow(NamedTuple):
    """A session with its plug.

    Attributes:
        plug: The plug.
        station_name: The display name of the station, see `HistoryWriter.name`.
        plug_name: The display name of the plug.
        session: The session.
    """

    plug: Plug
    station_name: str
    plug_name: str
    session: Session


class EnergyRow(NamedTuple):
    """The energy of a period or a plug.

    Attributes:
        period: A day such as `2026-03-25`, or a month such as `2026-03`; empty if grouped by plug.
        plug: The plug; `None` if summed over plugs.
        station_name: The display name of the station, see `HistoryWriter.name`; empty if summed over plugs.
        plug_name: The display name of the plug; empty if summed over plugs.
        charged: Energy into vehicles, in Wh.
        discharged: Energy out of vehicles, in Wh.
        gap: Seconds for which the energy is unknown.
    """

    period: str
    plug: Plug | None
    station_name: str
    plug_name: str
    charged: float
    discharged: float
    gap: float


def has_station(database: Database, station: str) -> bool:
    """Return whether the history has a plug of this station (uuid).

    Raises:
        DatabaseError: The history cannot be read.
    """
    with database.reading() as connection:
        return bool(connection.query("SELECT 1 FROM plugs WHERE station = ? LIMIT 1", (station,)))


def beginning(database: Database) -> datetime | None:
    """Return the time from which the history has energy, in UTC; `None`: it has none.

    Raises:
        DatabaseError: The history cannot be read.
    """
    with database.reading() as connection:
        [(hour,)] = connection.query("SELECT min(hour) FROM readings")
    return None if hour is None else utc_time(hour)


def sessions(database: Database, selection: Selection, limit: int | None = None) -> Iterator[SessionRow]:
    """Yield the sessions that ended in a period, the latest first.

    Args:
        database: The history.
        selection: Which sessions.
        limit: Maximum number; `None`: all.

    Raises:
        DatabaseError: The history cannot be read.
    """
    where = _of_plugs(selection)
    if selection.since is not None:
        where.add("sessions.ended >= ?", selection.since)
    if selection.until is not None:
        where.add("sessions.ended < ?", selection.until)
    query, values = _SESSIONS.format(where=where.clause), where.values
    if limit is not None:
        query += "LIMIT ?"
        values = [*values, limit]
    with database.reading() as connection:
        for station, uuid, station_name, plug_name, *columns in connection.stream(query, values):
            yield SessionRow(Plug(station, uuid), station_name, plug_name, _session(columns))


def energy(database: Database, selection: Selection, grouping: Grouping, zone: tzinfo) -> list[EnergyRow]:
    """Return the energy of a period, in the order of time or of names.

    Args:
        database: The history.
        selection: Which hours and plugs.
        grouping: How to sum up.
        zone: The time zone of days and months.

    Raises:
        DatabaseError: The history cannot be read.
    """
    since, until = (time and _next_full_hour(time) for time in (selection.since, selection.until))
    hours, values = _hours(selection._replace(since=since, until=until))
    with database.reading() as connection:
        if grouping is Grouping.PLUG:
            rows = connection.query(_ENERGY_BY_PLUG.format(hours=hours), values)
            return [EnergyRow("", Plug(row[0], row[1]), *row[2:]) for row in rows]
        return _summed(connection.query(_ENERGY_BY_HOUR.format(hours=hours), values), grouping, zone)


class _Conditions:
    """The conditions of a query, all of which must be true.

    Attributes:
        values: Their parameters.
    """

    def __init__(self) -> None:
        self.values: list[object] = []
        self._conditions: list[str] = []

    def add(self, condition: str, value: object) -> None:
        """Add a condition with one parameter."""
        self._conditions.append(condition)
        self.values.append(value)

    @property
    def clause(self) -> str:
        """The clause WHERE; empty without conditions."""
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def _session(columns: Sequence[Any]) -> Session:
    started, is_start_known, charged, discharged, gap, charging, peak, ended = columns
    return Session(
        started=utc_time(started),
        is_start_known=bool(is_start_known),
        charged=charged,
        discharged=discharged,
        gap=gap,
        charging=charging,
        peak=peak,
        ended=utc_time(ended),
    )


def _next_full_hour(time: datetime) -> datetime:
    """Return the start of the first hour that does not begin before a time."""
    start = start_of_hour(time)
    try:
        return start if start == time else start + _HOUR
    except OverflowError:  # the last hour of the year 9999
        return time


def _hours(selection: Selection) -> tuple[str, list[object]]:
    """Return the query for the energy of each hour with a reading, and its parameters."""
    readings, values = _readings(selection)
    where = _Conditions()
    if selection.since is not None:
        where.add("hour > ?", selection.since)
    return _HOURS.format(readings=readings, where=where.clause), values + where.values


def _readings(selection: Selection) -> tuple[str, list[object]]:
    """Return the query for the readings of a period, and its parameters.

    The result includes the last reading of each plug before the period, from which the first energy counts.
    """
    of_plugs, until = _of_plugs(selection), _Conditions()
    if selection.since is None:
        if selection.until is not None:
            of_plugs.add("readings.hour <= ?", selection.until)
        return _ALL_READINGS.format(where=of_plugs.clause), of_plugs.values
    if selection.until is not None:
        until.add("readings.hour <= ?", selection.until)
    query = _READINGS_SINCE.format(where_plugs=of_plugs.clause, where=until.clause)
    return query, [selection.since, selection.since, *of_plugs.values, *until.values]


def _of_plugs(selection: Selection) -> _Conditions:
    where = _Conditions()
    if selection.station is not None:
        where.add("plugs.station = ?", selection.station)
    if selection.plug is not None:
        where.add("plugs.uuid = ?", selection.plug)
    return where


def _summed(rows: Sequence[Row], grouping: Grouping, zone: tzinfo) -> list[EnergyRow]:
    sums: dict[str, list[float]] = {}
    form = "%Y-%m-%d" if grouping is Grouping.DAY else "%Y-%m"
    counts: list[float]
    for hour, *counts in rows:
        # A reading is of the end of its hour.
        period = (utc_time(hour) - _HOUR).astimezone(zone).strftime(form)
        total = sums.setdefault(period, [0.0, 0.0, 0.0])
        for at, count in enumerate(counts):
            total[at] += count
    return [EnergyRow(period, None, "", "", *total) for period, total in sums.items()]
