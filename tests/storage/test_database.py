"""The history in SQLite and in PostgreSQL: what is written is read back, and nothing is counted twice."""

import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from evse_mqtt_bridge.domain.meter import Meter, count
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.database import CorruptDatabaseError, Database, DatabaseError, set_aside
from evse_mqtt_bridge.storage.queries import Selection, energy, has_station, sessions
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord, Record, SessionRecord, first_reading, records
from evse_mqtt_bridge.storage.report_request import Grouping
from tests.harness.postgres import PostgreSql

_PLUG, _OTHER = Plug("station", "p1"), Plug("station", "p2")
_NAMES = {_PLUG: ("Garage", "Left"), _OTHER: ("Garage", "Right")}
_BEGAN = datetime(2026, 3, 28, 21, 50, tzinfo=UTC)
_BERLIN = ZoneInfo("Europe/Berlin")


def _session(hours: float, charged: float = 1000.0) -> Session:
    started = _BEGAN + timedelta(hours=hours)
    return Session(started, is_start_known=True, charged=charged, peak=7200.0, ended=started + timedelta(hours=1))


def _charged(plug: Plug, minutes: int, power: float = 6000.0) -> list[Record]:
    """Return the records of a plug that charges from _BEGAN on, polled every 30 s."""
    meter, before = Meter(), _BEGAN
    found: list[Record] = []
    for step in range(2 * minutes + 1):
        time = _BEGAN + timedelta(seconds=30 * step)
        new = count(meter, PlugReading(plug.uuid, status="charging", power=power, time=time), 90)
        if step == 0:
            found.append(first_reading(plug, new, time))
        found += records(plug, meter, new, before, time)
        meter, before = new, time
    return found


def test_session_is_read_back_as_written(url: str) -> None:
    database = Database(url)
    session = _session(0, 1234.5)._replace(is_start_known=False, discharged=67.8, gap=90.0, charging=3000.0)
    database.write([SessionRecord(_PLUG, session)], _NAMES)
    database.write([SessionRecord(_PLUG, session)], _NAMES)
    [row] = sessions(database, Selection())
    assert (row.plug, row.station_name, row.plug_name) == (_PLUG, "Garage", "Left")
    assert row.session == session
    database.close()


def test_names_with_control_characters_are_stored_cleaned(url: str) -> None:
    database = Database(url)
    database.write([SessionRecord(_PLUG, _session(0))], {_PLUG: ("Garage\0north", "Left\n" + 300 * "x")})
    [row] = sessions(database, Selection())
    assert row.station_name == "Garage north"
    assert row.plug_name.startswith("Left xxx")
    assert len(row.plug_name) == 200
    database.close()


def test_sessions_are_selected_by_end_and_plug(url: str) -> None:
    database = Database(url)
    database.write([SessionRecord(_PLUG, _session(hours)) for hours in (0, 2, 4)], _NAMES)
    database.write([SessionRecord(_OTHER, _session(2))], _NAMES)
    period = Selection(_BEGAN + timedelta(hours=2), _BEGAN + timedelta(hours=5))
    assert [row.session.started for row in sessions(database, period)] == [_session(2).started] * 2
    assert len(list(sessions(database, period._replace(plug="p1")))) == 1
    assert len(list(sessions(database, Selection(station="another")))) == 0
    assert [row.session.started for row in sessions(database, Selection(), limit=1)] == [_session(4).started]
    database.close()


def test_restored_session_is_written_unless_it_is_known(url: str) -> None:
    database = Database(url)
    exact, rounded = _session(0), _session(0)._replace(charged=_session(0).charged + 0.4)
    database.write([SessionRecord(_PLUG, exact)], _NAMES)
    database.write([SessionRecord(_PLUG, rounded, is_restored=True)], _NAMES)
    database.write([SessionRecord(_OTHER, rounded, is_restored=True)], _NAMES)
    assert {row.plug: row.session.charged for row in sessions(database, Selection())} == {
        _PLUG: exact.charged,
        _OTHER: rounded.charged,
    }
    database.close()


def test_energy_is_cut_at_local_midnight(url: str) -> None:
    database = Database(url)
    database.write(_charged(_PLUG, 130), _NAMES)  # 21:50 to 24:00 UTC; midnight in Berlin is 23:00 UTC
    days = energy(database, Selection(), Grouping.DAY, _BERLIN)
    assert [row.period for row in days] == ["2026-03-28", "2026-03-29"]
    assert [row.charged for row in days] == pytest.approx([6950, 6050]), "a measurement at midnight is of the next day"
    [month] = energy(database, Selection(), Grouping.MONTH, _BERLIN)
    assert month.period == "2026-03"
    assert month.charged == pytest.approx(13_000)
    [plug] = energy(database, Selection(), Grouping.PLUG, _BERLIN)
    assert (plug.plug, plug.station_name, plug.plug_name) == (_PLUG, "Garage", "Left")
    assert plug.charged == pytest.approx(13_000)
    database.close()


def test_energy_of_a_period_leaves_other_hours_out(url: str) -> None:
    database = Database(url)
    database.write([*_charged(_PLUG, 130), *_charged(_OTHER, 130, 3000.0)], _NAMES)
    hour = _BEGAN.replace(hour=22, minute=0)
    selection = Selection(hour, hour + timedelta(hours=1))
    assert energy(database, selection, Grouping.DAY, _BERLIN)[0].charged == pytest.approx(9000)
    selection = selection._replace(plug="p2")
    assert energy(database, selection, Grouping.DAY, _BERLIN)[0].charged == pytest.approx(3000)
    database.close()


def test_first_reading_of_a_running_meter_counts_nothing(url: str) -> None:
    """A history that is enabled later does not count what the meter counted before."""
    database = Database(url)
    time = _BEGAN
    old = Meter(charged=5e6, counted=PlugReading("p1", status="charging", power=6000.0, time=time))
    new = count(old, PlugReading("p1", status="charging", power=6000.0, time=time + timedelta(seconds=30)), 90)
    written = records(_PLUG, old, new, time, time + timedelta(seconds=30))
    database.write([first_reading(_PLUG, old, time), *written], {})
    assert energy(database, Selection(), Grouping.MONTH, _BERLIN)[0].charged == pytest.approx(50)
    database.close()


def test_energy_after_the_loss_of_a_database_counts_at_once(url: str) -> None:
    """The meter is running, so that no record is a first reading; what it counted before is not in this database."""
    database = Database(url)
    hour = _BEGAN.replace(hour=22, minute=0)
    for charged in (5000.0, 5100.0, 5300.0):
        database.write([ReadingRecord(_PLUG, hour, charged, 0.0, 0.0)], {})
    database.close()
    reopened = Database(url)
    reopened.write([ReadingRecord(_PLUG, hour + timedelta(hours=1), 6000.0, 0.0, 0.0)], {})
    reopened.write([ReadingRecord(_PLUG, hour + timedelta(hours=2), 6500.0, 0.0, 0.0)], {})
    for since, expected in ((None, 1500.0), (hour, 1200.0), (hour + timedelta(hours=1), 500.0)):
        [row] = energy(reopened, Selection(since), Grouping.MONTH, _BERLIN)
        assert row.charged == expected
    reopened.close()


def test_restart_moves_no_energy_to_the_hour_before(url: str) -> None:
    """The plug charged before the restart, after an hour without energy, which has no reading."""
    database = Database(url)
    hour, time = _BEGAN.replace(hour=22, minute=0), _BEGAN.replace(hour=23, minute=30)
    database.write([ReadingRecord(_PLUG, hour, 1000.0, 0.0, 0.0)], {})
    database.write([ReadingRecord(_PLUG, hour + timedelta(hours=2), 3000.0, 0.0, 0.0)], {})
    restored = Meter(charged=3000.0, counted=PlugReading("p1", status="charging", power=6000.0, time=time))
    database.write([first_reading(_PLUG, restored, time)], {})
    for since, expected in ((hour, 0.0), (hour + timedelta(hours=1), 2000.0)):
        rows = energy(database, Selection(since, since + timedelta(hours=1)), Grouping.PLUG, _BERLIN)
        assert sum(row.charged for row in rows) == expected
    database.close()


def test_new_cycle_of_a_meter_counts_from_zero(url: str) -> None:
    database = Database(url)
    database.write(_charged(_PLUG, 130), {})
    began, ended = _BEGAN + timedelta(hours=5), _BEGAN + timedelta(hours=5, seconds=60)
    old = Meter(counted=PlugReading("p1", status="charging", power=6000.0, time=began))
    later = PlugReading("p1", status="charging", power=6000.0, time=ended)
    database.write(records(_PLUG, old, count(old, later, 90), began, ended), {})
    assert sum(row.charged for row in energy(database, Selection(), Grouping.DAY, _BERLIN)) == pytest.approx(13_100)
    database.close()


def test_meter_is_read_back_as_written(url: str) -> None:
    database = Database(url)
    written = _charged(_PLUG, 10)
    database.write(written, {})
    database.close()
    reopened = Database(url)
    meter = reopened.meters()[_PLUG]
    assert meter.charged == pytest.approx(1000)
    assert meter.session is not None
    assert meter == written[-1].meter  # type: ignore[union-attr]  # the last record of a measurement is the meter
    reopened.close()


def test_expired_rows_are_removed(url: str) -> None:
    database = Database(url)
    database.write([*_charged(_PLUG, 130), SessionRecord(_PLUG, _session(0)), SessionRecord(_PLUG, _session(5))], {})
    limit = _BEGAN + timedelta(hours=2)
    assert database.remove_expired(limit, None) == 1
    assert database.remove_expired(None, limit) > 0
    assert [row.session.started for row in sessions(database, Selection())] == [_session(5).started]
    database.close()


def test_energy_after_a_long_pause_survives_expiry(url: str) -> None:
    """The plug was not in use for longer than readings are kept, and its last reading is that from which it counts."""
    database = Database(url)
    limit = _BEGAN.replace(hour=22, minute=0) + timedelta(days=30)
    database.write(_charged(_PLUG, 130), {})
    database.remove_expired(None, limit)
    reading = ReadingRecord(_PLUG, limit + timedelta(hours=1), 13_000.0 + 7000.0, 0.0, 0.0)
    database.write([reading], {})
    for _ in range(2):
        database.remove_expired(None, limit)
        assert [row.charged for row in energy(database, Selection(limit), Grouping.DAY, _BERLIN)] == [7000.0]
    assert database.remove_expired(None, reading.hour + timedelta(hours=1)) == 1, "only the last one is kept"
    database.close()


def test_names_follow_the_configuration(url: str) -> None:
    database = Database(url)
    database.write([SessionRecord(_PLUG, _session(0))], _NAMES)
    database.close()
    reopened = Database(url)
    reopened.write([SessionRecord(_PLUG, _session(2))], {_PLUG: ("Yard", "Left")})
    assert {row.station_name for row in sessions(reopened, Selection())} == {"Yard"}
    reopened.close()


def test_newer_schema_is_refused_with_a_reason(url: str) -> None:
    database = Database(url)
    with database.reading() as connection:
        connection.execute("INSERT INTO schema_versions VALUES (99, '2026-01-01')")
    database.close()
    with pytest.raises(DatabaseError, match="it has version 99 of the schema"):
        Database(url)


def test_damaged_file_is_detected_and_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"This is not a database, but long enough to be looked at." * 100)
    url = f"sqlite:///{path}"
    with pytest.raises(CorruptDatabaseError, match=r"history\.sqlite: file is not a database"):
        Database(url)
    aside = set_aside(url, _BEGAN)
    assert aside.name == "history.sqlite.damaged-20260328T215000Z"
    assert aside.read_bytes().startswith(b"This is not")
    Database(url).close()


def test_new_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    Database(f"sqlite:///{tmp_path}/state/history.sqlite").close()
    assert (tmp_path / "state" / "history.sqlite").stat().st_mode & 0o777 == 0o600


def test_locked_file_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evse_mqtt_bridge.storage.connection._BUSY_TIMEOUT", 0.05)
    database = Database(f"sqlite:///{tmp_path}/history.sqlite")
    other = sqlite3.connect(tmp_path / "history.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseError, match=r"history\.sqlite: database is locked"):
        database.write([SessionRecord(_PLUG, _session(0))], {})
    other.rollback()
    database.write([SessionRecord(_PLUG, _session(0))], {})
    assert len(list(sessions(database, Selection()))) == 1
    other.close()
    database.close()


def test_connection_that_the_server_closed_is_replaced(postgres: PostgreSql) -> None:
    database = Database(postgres.new_database())
    database.write([SessionRecord(_PLUG, _session(0))], {})
    postgres.stop()
    postgres.start()
    database.write([SessionRecord(_PLUG, _session(2))], {})
    assert len(list(sessions(database, Selection()))) == 2
    database.close()


def test_failed_write_changes_nothing(url: str) -> None:
    database = Database(url)
    database.write([SessionRecord(_PLUG, _session(0))], _NAMES)
    invalid = SessionRecord(Plug("other", "p1"), _session(2)._replace(ended=None))
    with pytest.raises(DatabaseError, match=r"(?i)not.null"):
        database.write([SessionRecord(_PLUG, _session(4)), invalid], _NAMES)
    assert [row.session for row in sessions(database, Selection())] == [_session(0)]
    assert not has_station(database, "other")
    database.close()


def test_unreachable_server_is_an_error_without_its_password() -> None:
    with pytest.raises(DatabaseError) as raised:
        Database("postgresql+psycopg://bridge:s3cret@127.0.0.1:1/history")
    assert "127.0.0.1:1/history" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_missing_driver_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseError, match=r"psycopg.*pip install '\.\[postgres\]'") as raised:
        Database("postgresql+psycopg://bridge:s3cret@127.0.0.1:1/history")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("name", ["SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED_SHAREDCACHE"])
def test_every_kind_of_lock_is_temporary(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatabaseError) as raised:
        _fail_with(tmp_path, name)
    assert raised.value.is_temporary


@pytest.mark.parametrize("name", ["SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_VTAB", "SQLITE_NOTADB"])
def test_every_kind_of_damage_is_detected(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorruptDatabaseError):
        _fail_with(tmp_path, name)


@pytest.mark.parametrize("name", ["SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY"])
def test_missing_permission_to_write_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatabaseError, match="permission to write to the file and its folder"):
        _fail_with(tmp_path, name)


def _fail_with(folder: Path, name: str) -> None:
    """Let a query fail with an extended error code of SQLite."""
    database = Database(f"sqlite:///{folder}/history.sqlite")
    error = sqlite3.DatabaseError("failed")
    error.sqlite_errorname = name
    try:
        with database.reading():
            raise error
    finally:
        database.close()


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example.com"])
def test_impossible_host_is_an_error_without_its_password(host: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(DatabaseError) as raised:
        Database(f"postgresql+psycopg://bridge:s3cret@{host}/history")
    assert f"@{host}/history: " in str(raised.value)
    assert "s3cret" not in str(raised.value)
