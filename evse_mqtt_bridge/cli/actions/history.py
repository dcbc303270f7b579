"""Prints sessions and energy from the history as a table, CSV or JSON."""

import csv
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple

import click

from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cli.common.tables import print_table
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.publishing.payloads import timestamp
from evse_mqtt_bridge.storage.database import Database, DatabaseError
from evse_mqtt_bridge.storage.location import database_url, time_zone
from evse_mqtt_bridge.storage.queries import EnergyRow, Grouping, Selection, SessionRow, has_station
from evse_mqtt_bridge.storage.queries import energy as read_energy
from evse_mqtt_bridge.storage.queries import sessions as read_sessions
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.errors import ConfigError, Problem, UnavailableError

__all__ = ["list_sessions", "sum_energy"]

_DEFAULT_PERIOD = timedelta(days=30)
_DEFAULT_MONTHS = timedelta(days=365)
_MONTH = re.compile(r"(\d{4})-(\d{2})")


class _History(NamedTuple):
    """The opened history of a configuration.

    Attributes:
        database: The database, opened for reading.
        selection: The selected part.
        zone: The time zone of days and of shown times.
    """

    database: Database
    selection: Selection
    zone: tzinfo


def list_sessions(
    config: Path | None, *, since: str | None, until: str | None, station: str | None, output: str
) -> None:
    """Print the sessions that ended in a period.

    Args:
        config: The configuration file, as named on the command line.
        since: A day, month or time; `None`: 30 days ago.
        until: A day, month or time; `None`: now.
        station: Name, uuid or alias of a station; `None`: all.
        output: "text", "csv" or "json".

    Raises:
        UnavailableError: The history cannot be read.
        ConfigError: The configuration is invalid.
        click.BadParameter: A time or the station is invalid.
    """

    def show(history: _History) -> None:
        rows = read_sessions(history.database, history.selection)
        match output:
            case "json":
                click.echo(json.dumps([_session_object(row) for row in rows], ensure_ascii=False, indent=2))
            case "csv":
                _write_csv(_SESSION_KEYS, (list(_session_object(row).values()) for row in rows))
            case _:
                table = [_session_cells(row, history.zone) for row in rows]
                _print(("STARTED", "DURATION", "STATION", "PLUG", "ENERGY", "PEAK", "GAP"), table, "no session ended")

    _with_history(config, since, until, station, _DEFAULT_PERIOD, show)


def sum_energy(  # noqa: PLR0913  # one argument per option
    config: Path | None, *, by: str, since: str | None, until: str | None, station: str | None, output: str
) -> None:
    """Print the energy of a period.

    Args:
        config: The configuration file, as named on the command line.
        by: "day", "month" or "plug".
        since: A day, month or time; `None`: 30 days ago, or a year ago by month.
        until: A day, month or time; `None`: now.
        station: Name, uuid or alias of a station; `None`: all.
        output: "text", "csv" or "json".

    Raises:
        UnavailableError: The history cannot be read.
        ConfigError: The configuration is invalid.
        click.BadParameter: A time or the station is invalid.
    """
    grouping = Grouping(by)

    def show(history: _History) -> None:
        rows = read_energy(history.database, history.selection, grouping, history.zone)
        objects = [_energy_object(row, grouping) for row in rows]
        match output:
            case "json":
                click.echo(json.dumps(objects, ensure_ascii=False, indent=2))
            case "csv":
                _write_csv(_energy_keys(grouping), (list(item.values()) for item in objects))
            case _:
                headings = ("STATION", "PLUG") if grouping is Grouping.PLUG else (by.upper(),)
                table = [_energy_cells(row, grouping) for row in rows]
                _print((*headings, "CHARGED", "DISCHARGED", "GAP"), table, "no energy was counted")

    default = _DEFAULT_MONTHS if grouping is Grouping.MONTH else _DEFAULT_PERIOD
    _with_history(config, since, until, station, default, show)


def _with_history(  # noqa: PLR0913, PLR0917  # the arguments of the commands
    config: Path | None,
    since: str | None,
    until: str | None,
    station: str | None,
    default: timedelta,
    show: Callable[[_History], None],
) -> None:
    settings = load_config(config).config
    if not settings.history.enabled:
        raise ConfigError(Problem("is false, so there is no history; set it to true", key="history.enabled"))
    zone = time_zone(settings.history)
    start = _parse_time(since, "--since", zone) if since else _start_of_day(datetime.now(UTC) - default, zone)
    end = _parse_time(until, "--until", zone) if until else None
    selection = Selection(start, end, _find_station(settings, station) if station else None)
    try:
        database = Database(database_url(settings.history, os.environ), is_report=True)
        try:
            if selection.station and not has_station(database, selection.station):
                raise click.BadParameter(f'the history has no station "{station}"', param_hint="--station")
            show(_History(database, selection, zone))
        finally:
            database.close()
    except DatabaseError as error:
        raise UnavailableError(f"history: {error}") from None


def _parse_time(text: str, option: str, zone: tzinfo) -> datetime:
    """Return the time of a day, a month or an ISO 8601 time, in UTC.

    Raises:
        click.BadParameter: The text is none of these.
    """
    try:
        if match := _MONTH.fullmatch(text):
            moment = datetime(int(match[1]), int(match[2]), 1, tzinfo=zone)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        example = f"{date.today():%Y-%m-%d}"  # noqa: DTZ011  # an example
        raise click.BadParameter(
            f'"{text}" is not a day such as {example}, a month such as {example[:7]}, or an ISO 8601 time',
            param_hint=option,
        ) from None


def _start_of_day(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def _find_station(config: Config, name: str) -> str:
    """Return the uuid of a configured station; the text itself if it is none, because it may be that of a removed one.

    Raises:
        click.BadParameter: Several stations have this name.
    """
    stations = [entry.station(config.polling) for entry in config.stations]
    found = [item.uuid for item in stations if name in (item.uuid, item.alias)] or [
        item.uuid for item in stations if item.name.casefold() == name.casefold()
    ]
    if len(found) > 1:
        raise click.BadParameter(f'"{name}" is the name of several stations; use a uuid', param_hint="--station")
    return found[0] if found else name


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


def _session_object(row: SessionRow) -> dict[str, object]:
    """Return a session with the names of the topics: energy in kWh, times in UTC."""
    session = row.session
    values = (
        row.plug.station,
        row.station_name,
        row.plug.uuid,
        row.plug_name,
        timestamp(session.started),
        session.is_start_known,
        timestamp(session.ended) if session.ended else None,
        _kwh(session.charged),
        _kwh(session.discharged),
        round(session.gap),
        round(session.charging),
        round(session.peak),
    )
    return dict(zip(_SESSION_KEYS, values, strict=True))


def _session_cells(row: SessionRow, zone: tzinfo) -> tuple[str, ...]:
    session = row.session
    mark = "" if session.is_start_known else "before "
    return (
        f"{mark}{session.started.astimezone(zone):%Y-%m-%d %H:%M}",
        format_duration(session.connected_until(session.started)),
        row.station_name or row.plug.station,
        row.plug_name or row.plug.uuid,
        f"{_kwh(session.charged):.2f} kWh",
        f"{session.peak / 1000:.1f} kW",
        format_duration(session.gap) if session.gap else "-",
    )


def _energy_keys(grouping: Grouping) -> tuple[str, ...]:
    subject = ("station", "station_name", "plug", "plug_name") if grouping is Grouping.PLUG else (grouping.value,)
    return (*subject, "energy", "energy_discharged", "energy_gap")


def _energy_object(row: EnergyRow, grouping: Grouping) -> dict[str, object]:
    subject: tuple[object, ...] = (row.period,)
    if row.plug is not None:
        subject = (row.plug.station, row.station_name, row.plug.uuid, row.plug_name)
    values = (*subject, _kwh(row.charged), _kwh(row.discharged), round(row.gap))
    return dict(zip(_energy_keys(grouping), values, strict=True))


def _energy_cells(row: EnergyRow, grouping: Grouping) -> tuple[str, ...]:
    subject: tuple[str, ...] = (row.period,)
    if grouping is Grouping.PLUG and row.plug is not None:
        subject = (row.station_name or row.plug.station, row.plug_name or row.plug.uuid)
    gap = format_duration(row.gap) if row.gap else "-"
    return (*subject, f"{_kwh(row.charged):.2f} kWh", f"{_kwh(row.discharged):.2f} kWh", gap)


def _kwh(energy: float) -> float:
    return round(energy / 1000, 3)


def _write_csv(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(headings)
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> object:
    """Return a value for CSV, with booleans as on the topics."""
    return str(value).lower() if isinstance(value, bool) else value


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    if rows:
        print_table(headings, rows)
    else:
        click.echo(f"{nothing} in this period", err=True)
