"""Reports from the history, on both databases."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.storage.database import Database, DatabaseError
from evse_mqtt_bridge.storage.queries import Selection, energy, sessions
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord
from evse_mqtt_bridge.storage.report_request import (
    Grouping,
    ReportFormat,
    ReportKind,
    ReportRequest,
    ReportRequestError,
    default_since,
    parse_time,
)
from evse_mqtt_bridge.storage.reports import overview, read_report
from tests.web.history_samples import write_history

_BERLIN = ZoneInfo("Europe/Berlin")
_NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)
_PLUG, _OTHER = Plug("s1", "p1"), Plug("s2", "p2")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    write_history(History(url=url), _PLUG, 60, _NOW)
    write_history(History(url=url), _OTHER, 10, _NOW)
    database = Database(url, is_report=True, time_limit=30.0)
    yield database
    database.close()


def test_energy_since_counts_from_the_reading_before(database: Database) -> None:
    # 5 kWh between 08:00 and 09:00, 5 kWh until 10:00
    selection = Selection(since=datetime(2026, 3, 25, 9, tzinfo=UTC))
    assert [row.charged for row in energy(database, selection, Grouping.PLUG, _BERLIN)] == [5000.0, 5000.0]
    selection = Selection(since=datetime(2026, 3, 24, tzinfo=UTC), station="s1")
    assert [row.charged for row in energy(database, selection, Grouping.DAY, _BERLIN)] == [10_000.0]


def test_energy_until_leaves_out_later_hours(database: Database) -> None:
    selection = Selection(
        since=datetime(2026, 3, 23, tzinfo=UTC), until=datetime(2026, 3, 25, 9, tzinfo=UTC), plug="p1"
    )
    assert [row.charged for row in energy(database, selection, Grouping.DAY, _BERLIN)] == [10_000.0, 5000.0]


@pytest.mark.parametrize("name", ["Europe/Zurich", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"])
def test_report_of_a_day_has_the_energy_of_a_longer_report(url: str, name: str) -> None:
    """Also if midnight is within an hour of UTC, and on days with a change to or from daylight saving time."""
    database, zone = Database(url), ZoneInfo(name)
    began = datetime(2026, 3, 1, tzinfo=UTC)
    hours = [began + timedelta(hours=hour) for hour in range(24 * 260)]
    database.write((ReadingRecord(_PLUG, hour, 1000.0 * n * n, 0.0, 0.0) for n, hour in enumerate(hours)), {})
    days = energy(database, Selection(parse_time("2026-03", zone)), Grouping.DAY, zone)
    at = {row.period: row for row in days}
    for day, following in (("2026-03-08", "2026-03-09"), ("2026-03-29", "2026-03-30"), ("2026-10-25", "2026-10-26")):
        selection = Selection(parse_time(day, zone), parse_time(following, zone))
        assert energy(database, selection, Grouping.DAY, zone) == [at[day]]
        assert sum(row.charged for row in energy(database, selection, Grouping.PLUG, zone)) == at[day].charged
    database.close()


def test_energy_counts_in_the_period_in_which_its_hour_begins(database: Database) -> None:
    def charged(since: str, until: str) -> list[float]:
        selection = Selection(parse_time(since, _BERLIN), parse_time(until, _BERLIN), station="s1")
        return [row.charged for row in energy(database, selection, Grouping.PLUG, _BERLIN)]

    assert charged("2026-03-25T08:20Z", "2026-03-25T09:20Z") == charged("2026-03-25T09:00Z", "2026-03-25T10:00Z")
    assert charged("2026-03-25", "9999-12-31T23:59:59Z") == [10_000.0]


def test_energy_of_a_new_cycle_counts_from_zero(url: str) -> None:
    database = Database(url)
    hours = [datetime(2026, 3, 25, hour, tzinfo=UTC) for hour in range(4)]
    counts = (100.0, 200.0, 30.0, 50.0)
    database.write((ReadingRecord(_PLUG, hour, n, 0.0, 0.0) for hour, n in zip(hours, counts, strict=True)), {})
    for since, total in ((None, 150.0), (hours[0], 150.0), (hours[1], 50.0), (hours[2], 20.0), (hours[3], 0.0)):
        rows = energy(database, Selection(since), Grouping.PLUG, _BERLIN)
        assert sum(row.charged for row in rows) == total, since
    database.close()


def test_overview_sums_the_day_and_the_month(database: Database) -> None:
    content = overview(database, _BERLIN, _NOW)
    assert content["day"] == "2026-03-25"
    assert content["today"] == {"energy": 20.0, "energy_discharged": 0.0, "energy_gap": 0}
    assert content["month"] == {"energy": 190.0, "energy_discharged": 0.0, "energy_gap": 0}


def test_sessions_above_the_limit_are_an_error(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evse_mqtt_bridge.storage.reports.MOST_SESSIONS", 5)
    request = ReportRequest(ReportKind.SESSIONS, ReportFormat.CSV)
    with pytest.raises(ReportRequestError, match="more than 5 sessions; shorten the period"):
        read_report(database, request, _BERLIN, _NOW)


def test_report_by_month_has_complete_months(database: Database) -> None:
    request = ReportRequest(ReportKind.ENERGY, grouping=Grouping.MONTH, station="s1")
    months = json.loads(read_report(database, request, _BERLIN, _NOW))
    assert [(month["month"], month["energy"]) for month in months] == [
        ("2026-01", 40.0),
        ("2026-02", 140.0),
        ("2026-03", 130.0),
    ]


def test_time_limit_interrupts_a_query(url: str) -> None:
    database = Database(url)
    hours = (_NOW + timedelta(hours=number) for number in range(5000))
    database.write((ReadingRecord(_PLUG, hour, 0.0, 0.0, 0.0) for hour in hours), {})
    database.close()
    limited = Database(url, is_report=True, time_limit=0.5)
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT count(*) FROM n"
    with pytest.raises(DatabaseError, match=r"interrupted|statement timeout"), limited.reading() as connection:
        connection.query(slow)
    assert list(sessions(limited, Selection())) == []
    limited.close()


def test_default_since_by_month_is_the_start_of_a_month() -> None:
    since = default_since(ReportKind.ENERGY, Grouping.MONTH, _NOW, _BERLIN)
    assert since.astimezone(_BERLIN).isoformat() == "2025-03-01T00:00:00+01:00"
    since = default_since(ReportKind.SESSIONS, Grouping.DAY, _NOW, _BERLIN)
    assert since.astimezone(_BERLIN).isoformat() == "2026-02-23T00:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03", "2026-02-28T23:00:00+00:00"),
        ("2026-03-29", "2026-03-28T23:00:00+00:00"),
        ("2026-03-30", "2026-03-29T22:00:00+00:00"),
        ("2026-03-25T12:00:00Z", "2026-03-25T12:00:00+00:00"),
    ],
)
def test_parse_time_reads_day_month_and_time(text: str, time: str) -> None:
    assert parse_time(text, _BERLIN).isoformat() == time


@pytest.mark.parametrize("text", ["", "today", "2026-13", "2026-02-30", "0001-01-01", "9999-12-31T23:59:59-12:00"])
def test_parse_time_of_other_text_raises(text: str) -> None:
    with pytest.raises(ReportRequestError):
        parse_time(text, _BERLIN)
