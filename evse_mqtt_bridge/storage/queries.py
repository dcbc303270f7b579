"""Reads sessions and energy for reports, for one day, month or plug at a time.

Days and months begin at midnight in a time zone. The energy of an hour is the difference of two meter readings; a
reading below the one before it starts a new cycle, from 0.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import FromClause, Label, Row, Select, and_, case, func, select
from sqlalchemy.exc import SQLAlchemyError

from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.database import Database, DatabaseError
from evse_mqtt_bridge.storage.records import Plug
from evse_mqtt_bridge.storage.report_request import Grouping
from evse_mqtt_bridge.storage.tables import PLUGS, READINGS, SESSIONS

__all__ = ["EnergyRow", "Selection", "SessionRow", "beginning", "energy", "has_station", "sessions"]

_HOUR = timedelta(hours=1)


class Selection(NamedTuple):
    """Which part of the history to read.

    Attributes:
        since: From this time, inclusive, in UTC; `None`: from the beginning.
        until: Up to this time, exclusive, in UTC; `None`: up to now.
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
        station_name: The last display name of the station.
        plug_name: The last display name of the plug.
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
        station_name: The last display name of the station; empty if summed over plugs.
        plug_name: The last display name of the plug; empty if summed over plugs.
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
    query = select(PLUGS.c.id).where(PLUGS.c.station == station).limit(1)
    try:
        with database.engine.connect() as connection:
            return connection.execute(query).first() is not None
    except SQLAlchemyError as error:
        raise DatabaseError(f"{database.name}: {error}") from None


def beginning(database: Database) -> datetime | None:
    """Return the time from which the history has energy, in UTC; `None`: it has none.

    Raises:
        DatabaseError: The history cannot be read.
    """
    try:
        with database.engine.connect() as connection:
            return connection.execute(select(func.min(READINGS.c.hour))).scalar()
    except SQLAlchemyError as error:
        raise DatabaseError(f"{database.name}: {error}") from None


def sessions(database: Database, selection: Selection, limit: int | None = None) -> Iterator[SessionRow]:
    """Yield the sessions that ended in a period, the latest first.

    Args:
        database: The history.
        selection: Which sessions.
        limit: Maximum number; `None`: all.

    Raises:
        DatabaseError: The history cannot be read.
    """
    query = (
        select(PLUGS.c.station, PLUGS.c.uuid, PLUGS.c.station_name, PLUGS.c.name, SESSIONS)
        .join(SESSIONS, SESSIONS.c.plug == PLUGS.c.id)
        .order_by(SESSIONS.c.ended.desc(), SESSIONS.c.plug)
        .limit(limit)
    )
    query = _of_plugs(query, selection)
    if selection.since is not None:
        query = query.where(SESSIONS.c.ended >= selection.since)
    if selection.until is not None:
        query = query.where(SESSIONS.c.ended < selection.until)
    try:
        with database.engine.connect() as connection:
            for row in connection.execution_options(yield_per=1000).execute(query).mappings():
                session = Session(
                    started=row["started"],
                    is_start_known=row["is_start_known"],
                    charged=row["charged"],
                    discharged=row["discharged"],
                    gap=row["gap"],
                    charging=row["charging"],
                    peak=row["peak"],
                    ended=row["ended"],
                )
                yield SessionRow(Plug(row["station"], row["uuid"]), row["station_name"], row["name"], session)
    except SQLAlchemyError as error:
        raise DatabaseError(f"{database.name}: {error}") from None


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
    hours = _hours(selection).subquery()
    sums = [func.sum(hours.c[name]) for name in ("charged", "discharged", "gap")]
    try:
        with database.engine.connect() as connection:
            if grouping is Grouping.PLUG:
                query = (
                    select(PLUGS.c.station, PLUGS.c.uuid, PLUGS.c.station_name, PLUGS.c.name, *sums)
                    .join(hours, hours.c.plug == PLUGS.c.id)
                    .group_by(PLUGS.c.id, PLUGS.c.station, PLUGS.c.uuid, PLUGS.c.station_name, PLUGS.c.name)
                    .order_by(PLUGS.c.station_name, PLUGS.c.station, PLUGS.c.name, PLUGS.c.uuid)
                )
                rows = connection.execute(query).all()
                return [EnergyRow("", Plug(row[0], row[1]), *row[2:]) for row in rows]
            by_hour = select(hours.c.hour, *sums).group_by(hours.c.hour).order_by(hours.c.hour)
            return _summed(connection.execute(by_hour).all(), grouping, zone)
    except SQLAlchemyError as error:
        raise DatabaseError(f"{database.name}: {error}") from None


def _hours(selection: Selection) -> Select[tuple[int, datetime, float, float, float]]:
    """Return the energy of each hour with a reading."""
    readings = _readings(selection).subquery()
    names = ("charged", "discharged", "gap")
    before = [
        func.lag(readings.c[name]).over(partition_by=readings.c.plug, order_by=readings.c.hour).label(f"{name}_before")
        for name in names
    ]
    # A subquery of its own, so that the databases determine each previous count once.
    pairs = select(readings, *before).subquery()
    query = select(pairs.c.plug, pairs.c.hour, *(_difference(pairs, name) for name in names))
    if selection.since is not None:
        query = query.where(pairs.c.hour > selection.since)
    return query


def _difference(pairs: FromClause, name: str) -> Label[float]:
    """Return the increase of a count since the reading before; 0 without one, and the whole count in a new cycle."""
    count, before = pairs.c[name], pairs.c[f"{name}_before"]
    return case((before.is_(None), 0.0), (count >= before, count - before), else_=count).label(name)


def _readings(selection: Selection) -> Select[tuple[int, datetime, float, float, float]]:
    """Return the readings of a period, and of each plug the last one before it, from which the first energy counts."""
    columns = (READINGS.c.plug, READINGS.c.hour, READINGS.c.charged, READINGS.c.discharged, READINGS.c.gap)
    if selection.since is None:
        query = _of_plugs(select(*columns).join(PLUGS, PLUGS.c.id == READINGS.c.plug), selection)
    else:
        # One look-up in the primary key per plug, so that the query does not read the years before the period. Without
        # MATERIALIZED, the databases repeat the look-up for each reading.
        last = (
            select(func.max(READINGS.c.hour))
            .where(READINGS.c.plug == PLUGS.c.id, READINGS.c.hour <= selection.since)
            .scalar_subquery()
        )
        first = func.coalesce(last, selection.since).label("hour")
        starts = _of_plugs(select(PLUGS.c.id, first), selection).cte("starts").prefix_with("MATERIALIZED")
        query = select(*columns).join(starts, and_(READINGS.c.plug == starts.c.id, READINGS.c.hour >= starts.c.hour))
    if selection.until is not None:
        query = query.where(READINGS.c.hour <= selection.until)
    return query


def _of_plugs(query: Select, selection: Selection) -> Select:  # type: ignore[type-arg]  # any columns
    if selection.station is not None:
        query = query.where(PLUGS.c.station == selection.station)
    if selection.plug is not None:
        query = query.where(PLUGS.c.uuid == selection.plug)
    return query


def _summed(rows: Sequence[Row[Any]], grouping: Grouping, zone: tzinfo) -> list[EnergyRow]:
    sums: dict[str, list[float]] = {}
    form = "%Y-%m-%d" if grouping is Grouping.DAY else "%Y-%m"
    counts: list[float]
    for hour, *counts in rows:
        # A reading is of the end of its hour.
        period = (hour - _HOUR).astimezone(zone).strftime(form)
        total = sums.setdefault(period, [0.0, 0.0, 0.0])
        for at, count in enumerate(counts):
            total[at] += count
    return [EnergyRow(period, None, "", "", *total) for period, total in sums.items()]
