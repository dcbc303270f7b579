"""Reports from the history as JSON and CSV, with the same keys in both: energy in kWh, times in UTC."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import NamedTuple

from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.publishing.contract import kilowatt_hours
from evse_mqtt_bridge.publishing.payloads import timestamp
from evse_mqtt_bridge.storage.database import Database, DatabaseError
from evse_mqtt_bridge.storage.location import database_url, time_zone
from evse_mqtt_bridge.storage.queries import EnergyRow, Selection, SessionRow, energy, sessions
from evse_mqtt_bridge.storage.report_request import (
    Grouping,
    HistoryUnavailableError,
    ReportFormat,
    ReportKind,
    ReportRequest,
    ReportRequestError,
    default_since,
    parse_time,
    start_of_day,
)
from evse_mqtt_bridge.support.errors import ConfigError

__all__ = ["MOST_SESSIONS", "Report", "energy_report", "open_history", "overview", "read_report", "session_report"]

MOST_SESSIONS = 100_000
"""Maximum number of sessions in the response to a request, about 20 MB."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SESSION_KEYS = (
    "station",
    "station_name",
    "plug",
    "plug_name",
    "started",
    "started_known",
    "ended",
    "energy",
    "energy_discharged",
    "energy_gap",
    "charging_seconds",
    "peak_power",
)
_ENERGY_KEYS = ("energy", "energy_discharged", "energy_gap")


class Report(NamedTuple):
    """A table.

    Attributes:
        keys: The headings.
        rows: One value per key.
    """

    keys: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]

    def objects(self) -> list[dict[str, object]]:
        """Return the rows as objects for JSON."""
        return [dict(zip(self.keys, row, strict=True)) for row in self.rows]

    def csv(self) -> str:
        """Return the rows as CSV. A spreadsheet takes no text for a formula, as names come from other systems."""
        output = io.StringIO()
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(self.keys)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return output.getvalue()


@contextmanager
def open_history(settings: History, environ: Mapping[str, str], time_limit: float) -> Iterator[tuple[Database, tzinfo]]:
    """Open the history of a configuration for reading, with the time zone of days and months.

    Args:
        settings: The settings of the history.
        environ: The environment variables.
        time_limit: Time limit of the queries in seconds, see `connect`.

    Raises:
        HistoryUnavailableError: The history cannot be read, now or while it is open, or the time zone is unknown.
    """
    try:
        zone = time_zone(settings)
    except ConfigError as error:
        raise HistoryUnavailableError(str(error)) from None
    try:
        database = Database(database_url(settings, environ), is_report=True, time_limit=time_limit)
        try:
            yield database, zone
        finally:
            database.close()
    except DatabaseError as error:
        raise HistoryUnavailableError(f"the history cannot be read: {error}") from None


def session_report(rows: Iterable[SessionRow]) -> Report:
    """Return the report of sessions."""
    return Report(_SESSION_KEYS, [_session_values(row) for row in rows])


def energy_report(rows: Iterable[EnergyRow], grouping: Grouping) -> Report:
    """Return the report of energy, with a column for the period, or the columns of the plug."""
    if grouping is Grouping.PLUG:
        subjects = ("station", "station_name", "plug", "plug_name")
        return Report((*subjects, *_ENERGY_KEYS), [(*_plug_values(row), *_energy_values(row)) for row in rows])
    return Report((grouping.value, *_ENERGY_KEYS), [(row.period, *_energy_values(row)) for row in rows])


def read_report(database: Database, request: ReportRequest, zone: tzinfo, now: datetime) -> bytes:
    """Return the response to a request.

    Args:
        database: The history.
        request: The request.
        zone: The time zone of days and months.
        now: The current time, in UTC.

    Raises:
        ReportRequestError: The request is invalid, or has too many sessions.
        DatabaseError: The history cannot be read.
    """
    report = _report(database, request, _selection(request, zone, now), zone)
    if request.format is ReportFormat.CSV:
        return report.csv().encode()
    return json.dumps(report.objects(), ensure_ascii=False, separators=(",", ":")).encode()


def overview(database: Database, zone: tzinfo, now: datetime) -> dict[str, object]:
    """Return the energy of all plugs today and in this month, and the current day in the zone.

    Raises:
        DatabaseError: The history cannot be read.
    """
    day = now.astimezone(zone).strftime("%Y-%m-%d")
    since = start_of_day(now.astimezone(zone).replace(day=1), zone)
    days = energy(database, Selection(since), Grouping.DAY, zone)
    today = [row for row in days if row.period == day]
    return {"day": day, "today": _sum(today), "month": _sum(days)}


def _report(database: Database, request: ReportRequest, selection: Selection, zone: tzinfo) -> Report:
    if request.kind is ReportKind.ENERGY:
        return energy_report(energy(database, selection, request.grouping, zone), request.grouping)
    limit = MOST_SESSIONS + 1 if request.limit is None else request.limit
    report = session_report(sessions(database, selection, limit))
    if len(report.rows) > MOST_SESSIONS:
        raise ReportRequestError(
            f"there are more than {MOST_SESSIONS} sessions; shorten the period with since and until"
        )
    return report


def _selection(request: ReportRequest, zone: tzinfo, now: datetime) -> Selection:
    return Selection(
        since=parse_time(request.since, zone)
        if request.since
        else default_since(request.kind, request.grouping, now, zone),
        until=parse_time(request.until, zone) if request.until else None,
        station=request.station or None,
        plug=request.plug or None,
    )


def _session_values(row: SessionRow) -> tuple[object, ...]:
    session = row.session
    return (
        *_plug_values(row),
        timestamp(session.started),
        session.is_start_known,
        timestamp(session.ended) if session.ended else None,
        kilowatt_hours(session.charged),
        kilowatt_hours(session.discharged),
        round(session.gap),
        round(session.charging),
        round(session.peak),
    )


def _plug_values(row: SessionRow | EnergyRow) -> tuple[str, ...]:
    plug = row.plug
    return (plug.station, row.station_name, plug.uuid, row.plug_name) if plug else ("", "", "", "")


def _energy_values(row: EnergyRow) -> tuple[float, ...]:
    return (kilowatt_hours(row.charged), kilowatt_hours(row.discharged), round(row.gap))


def _sum(rows: Sequence[EnergyRow]) -> dict[str, float]:
    sums = (sum(row.charged for row in rows), sum(row.discharged for row in rows), sum(row.gap for row in rows))
    return dict(zip(_ENERGY_KEYS, (kilowatt_hours(sums[0]), kilowatt_hours(sums[1]), round(sums[2])), strict=True))


def _cell(value: object) -> object:
    """Return a value for CSV, with booleans as on the topics."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
