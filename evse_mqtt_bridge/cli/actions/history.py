"""Prints sessions and energy from the history as a table, CSV or JSON."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import NamedTuple

import click

from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cli.common.tables import print_table
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.publishing.contract import kilowatt_hours
from evse_mqtt_bridge.storage.database import Database, DatabaseError
from evse_mqtt_bridge.storage.location import database_url, time_zone
from evse_mqtt_bridge.storage.queries import EnergyRow, Selection, SessionRow, beginning, has_station
from evse_mqtt_bridge.storage.queries import energy as read_energy
from evse_mqtt_bridge.storage.queries import sessions as read_sessions
from evse_mqtt_bridge.storage.report_request import (
    Grouping,
    ReportKind,
    ReportRequestError,
    default_since,
    parse_time,
)
from evse_mqtt_bridge.storage.reports import Report, energy_report, session_report
from evse_mqtt_bridge.storage.writer import FLUSH_AFTER
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.errors import ConfigError, Problem, UnavailableError

__all__ = ["list_sessions", "sum_energy"]


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
        if output == "text":
            table = [_session_cells(row, history.zone) for row in rows]
            headings = ("STARTED", "DURATION", "STATION", "PLUG", "ENERGY", "PEAK", "GAP")
            _print(headings, table, "no session ended in this period", history)
        else:
            _write(session_report(rows), output)

    _with_history(config, since, until, station, (ReportKind.SESSIONS, Grouping.DAY), show)


def sum_energy(  # noqa: PLR0913  # one argument per option
    config: Path | None, *, by: str, since: str | None, until: str | None, station: str | None, output: str
) -> None:
    """Print the energy of a period.

    Args:
        config: The configuration file, as named on the command line.
        by: "day", "month" or "plug".
        since: A day, month or time; `None`: 30 days ago, or by month that month a year ago.
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
        if output == "text":
            headings = ("STATION", "PLUG") if grouping is Grouping.PLUG else (by.upper(),)
            table = [_energy_cells(row, grouping) for row in rows]
            _print((*headings, "CHARGED", "DISCHARGED", "GAP"), table, "no energy was counted in this period", history)
        else:
            _write(energy_report(rows, grouping), output)

    _with_history(config, since, until, station, (ReportKind.ENERGY, grouping), show)


def _with_history(  # noqa: PLR0913, PLR0917  # the arguments of the commands
    config: Path | None,
    since: str | None,
    until: str | None,
    station: str | None,
    report: tuple[ReportKind, Grouping],
    show: Callable[[_History], None],
) -> None:
    settings = load_config(config).config
    if not settings.history.enabled:
        raise ConfigError(Problem("is false, so there is no history; set it to true", key="history.enabled"))
    zone = time_zone(settings.history)
    start = _parse_time(since, "--since", zone) if since else default_since(*report, datetime.now(UTC), zone)
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
    try:
        return parse_time(text, zone)
    except ReportRequestError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


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


def _session_cells(row: SessionRow, zone: tzinfo) -> tuple[str, ...]:
    session = row.session
    mark = "" if session.is_start_known else "before "
    return (
        f"{mark}{session.started.astimezone(zone):%Y-%m-%d %H:%M}",
        format_duration(session.connected_until(session.started)),
        row.station_name or row.plug.station,
        row.plug_name or row.plug.uuid,
        f"{kilowatt_hours(session.charged):.2f} kWh",
        f"{session.peak / 1000:.1f} kW",
        format_duration(session.gap) if session.gap else "-",
    )


def _energy_cells(row: EnergyRow, grouping: Grouping) -> tuple[str, ...]:
    subject: tuple[str, ...] = (row.period,)
    if grouping is Grouping.PLUG and row.plug is not None:
        subject = (row.station_name or row.plug.station, row.plug_name or row.plug.uuid)
    gap = format_duration(row.gap) if row.gap else "-"
    return (*subject, f"{kilowatt_hours(row.charged):.2f} kWh", f"{kilowatt_hours(row.discharged):.2f} kWh", gap)


def _write(report: Report, output: str) -> None:
    if output == "csv":
        click.echo(report.csv(), nl=False)
    else:
        click.echo(json.dumps(report.objects(), ensure_ascii=False, indent=2))


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]], nothing: str, history: _History) -> None:
    if rows:
        print_table(headings, rows)
        return
    since = beginning(history.database)
    if since is None:
        hint = f"the history is still empty; the bridge writes it every {FLUSH_AFTER:g} s while it counts"
    else:
        hint = f"the history begins at {since.astimezone(history.zone):%Y-%m-%d %H:%M}"
    click.echo(f"{nothing}: {hint}. What the counters of the topics had before is not in it.", err=True)
