"""The duration of reports from the history of 1,000 plugs and 100,000 sessions, on SQLite and on PostgreSQL."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.effort import Effort
from benchmarks.history_data import fill, plug
from benchmarks.report import Table, spread
from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.report_request import Grouping, ReportFormat, ReportKind, ReportRequest
from evse_mqtt_bridge.storage.reports import open_history, overview, read_report
from tests.harness.postgres import PostgreSql, find_postgres

__all__ = ["history"]

_PLUGS = 1_000
_ZONE = "Europe/Berlin"
_LIMIT = 120.0  # seconds, for a report
_REPEATS = 5
_COMMANDS = (
    ("sessions",),
    ("sessions", "--since", "2000-01-01", "--csv"),
    ("energy", "--by", "day"),
    ("energy", "--by", "month"),
    ("energy", "--by", "plug"),
)

_Read = Callable[[Database, datetime], object]


def history(effort: Effort) -> Iterator[Table]:
    """Yield the table of the page's reports, and that of the commands."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="history-")))
        urls = {"SQLite": f"sqlite:///{folder}/history.sqlite"}
        if find_postgres() is not None:
            server = PostgreSql().create()
            stack.callback(server.close)
            urls["PostgreSQL"] = server.new_database()
        now = datetime.now(UTC)
        readings = [fill(url, _PLUGS, effort.history_sessions, now) for url in urls.values()]
        size = f"{_PLUGS:,} plugs, {effort.history_sessions:,} sessions of a year, {readings[0]:,} hourly readings."
        pages = {name: _pages(url, now) for name, url in urls.items()}
        yield _table("history-page", "report of the page, ms", pages, size)
        commands = {name: _commands(url, folder) for name, url in urls.items()}
        yield _table("history-commands", "command, s", commands, size)


def _table(name: str, heading: str, results: dict[str, dict[str, str]], note: str) -> Table:
    reports = next(iter(results.values()))
    rows = tuple((report, *(result[report] for result in results.values())) for report in reports)
    missing = () if "PostgreSQL" in results else ("PostgreSQL is not installed, so it was not measured.",)
    return Table(name, (heading, *results), rows, (note, *missing))


def _pages(url: str, now: datetime) -> dict[str, str]:
    return {name: _milliseconds(url, now, read) for name, read in _reads().items()}


def _milliseconds(url: str, now: datetime, read: _Read) -> str:
    durations = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        with open_history(History(url=url, time_zone=_ZONE), os.environ, _LIMIT) as (database, _):
            read(database, now)
        durations.append(1000 * (time.perf_counter() - began))
    return spread(durations)


def _reads() -> dict[str, _Read]:
    one = plug(_PLUGS // 2)
    sessions, energy, csv = ReportKind.SESSIONS, ReportKind.ENERGY, ReportFormat.CSV

    def report(request: ReportRequest) -> _Read:
        return lambda database, now: read_report(database, request, ZoneInfo(_ZONE), now)

    by_month = Grouping.MONTH
    return {
        "energy today and this month": lambda database, now: overview(database, ZoneInfo(_ZONE), now),
        "30 days of a plug": report(ReportRequest(energy, station=one.station, plug=one.uuid)),
        "last 10 sessions of a plug": report(
            ReportRequest(sessions, since="2000-01-01", station=one.station, plug=one.uuid, limit=10)
        ),
        "13 months of a station": report(ReportRequest(energy, grouping=by_month, station=one.station)),
        "CSV: sessions of 30 days": report(ReportRequest(sessions, csv)),
        "CSV: energy of 30 days by plug": report(ReportRequest(energy, csv, Grouping.PLUG)),
        "CSV: all sessions": report(ReportRequest(sessions, csv, since="2000-01-01")),
    }


def _commands(url: str, folder: Path) -> dict[str, str]:
    """Return the duration of each command, with the start of Python."""
    config = folder / "config.toml"
    config.write_text(f'[mqtt]\nhost = "localhost"\n[history]\nurl = {json.dumps(url)}\ntime_zone = "{_ZONE}"\n')
    results = {}
    for command in _COMMANDS:
        durations = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            arguments = [sys.executable, "-m", "evse_mqtt_bridge", *command, "--config", str(config)]
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, timeout=_LIMIT)
            durations.append(time.perf_counter() - began)
        results[" ".join(command)] = spread(durations, ".1f")
    return results
