"""The writer's thread: nothing that it accepted is lost while the database is away, full, locked or damaged."""

import queue
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage import connection as connection_module
from evse_mqtt_bridge.storage import writer as writer_module
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.queries import Selection, sessions
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, SessionRecord
from evse_mqtt_bridge.storage.sink import HistoryProblem
from evse_mqtt_bridge.storage.writer import HistoryWriter, Retention
from tests.harness.postgres import PostgreSql

_PLUG = Plug("station", "p1")
_BEGAN = datetime(2026, 3, 28, 22, tzinfo=UTC)
_LIMIT = 20.0

_Meters = queue.Queue[dict[Plug, Meter]]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FLUSH_AFTER", 0.02)
    monkeypatch.setattr(writer_module, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(writer_module, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(connection_module, "_BUSY_TIMEOUT", 0.05)


class _Reports(queue.Queue[HistoryProblem]):
    """The problems that a writer reports."""

    def next(self) -> HistoryProblem:
        return self.get(timeout=_LIMIT)


@pytest.fixture
def reports() -> _Reports:
    return _Reports()


def _writer(url: str, reports: _Reports, retention: timedelta | None = None) -> HistoryWriter:
    writer = HistoryWriter(url, Retention(retention, retention), reports.put)
    writer.start()
    return writer


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _LIMIT
    while not condition():
        assert time.monotonic() < deadline, "the writer does not get there"
        time.sleep(0.01)


def _session(number: int) -> SessionRecord:
    started = _BEGAN + timedelta(hours=number)
    return SessionRecord(_PLUG, Session(started, is_start_known=True, ended=started + timedelta(minutes=30)))


def _stored(url: str) -> Iterator[SessionRecord]:
    database = Database(url)
    for row in sessions(database, Selection()):
        yield SessionRecord(row.plug, row.session)
    database.close()


def test_records_are_written_at_the_latest_on_close(url: str, reports: _Reports) -> None:
    writer = _writer(url, reports)
    writer.put([_session(0), _session(1)])
    assert writer.close(_LIMIT)
    assert set(_stored(url)) == {_session(0), _session(1)}
    assert (writer.counts.written, writer.counts.waiting, writer.counts.error) == (2, 0, "")
    assert reports.empty()


def test_what_meters_counted_is_written_in_parts(url: str, reports: _Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_SPANS_AT_ONCE", 1)
    monkeypatch.setattr(writer_module, "_RECORDS_AT_ONCE", 1)
    monkeypatch.setattr(writer_module, "_SHORT_PAUSE", 0.001)
    writer = _writer(url, reports)
    began = PlugReading("p1", status="charging", power=7000.0, time=_BEGAN)
    old = Meter(counted=began)
    ended = _BEGAN + timedelta(minutes=1)
    new = Meter(100.0, counted=replace(began, time=ended))
    plugs = [Plug("station", f"p{number}") for number in range(3)]
    for plug in plugs:
        writer.begin(plug, old, _BEGAN)
        assert writer.count(plug, old, new, ended)
    writer.put([_session(0), _session(1)])
    _wait_until(lambda: not writer.counts.waiting and writer.counts.written >= 11)
    assert writer.close(_LIMIT)
    assert len(list(_stored(url))) == 2
    database = Database(url)
    assert set(database.meters()) == set(plugs)
    database.close()


def test_older_records_are_written_before_newer_counts(
    url: str, reports: _Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More records wait than one transaction takes, and the plug counts once more meanwhile."""
    monkeypatch.setattr(writer_module, "_RECORDS_AT_ONCE", 1)
    monkeypatch.setattr(writer_module, "_SHORT_PAUSE", 0.001)
    monkeypatch.setattr(writer_module, "FLUSH_AFTER", 0.001)
    writer = HistoryWriter(url, Retention(None, None), reports.put)
    plug, hour = Plug("station", "p1"), _BEGAN.replace(minute=59)
    began = PlugReading("p1", status="charging", power=7000.0, time=hour)
    meters = [Meter(100.0 * number, counted=began) for number in range(3)]
    writer.begin(plug, meters[0], hour)
    assert writer.count(plug, meters[0], meters[1], hour + timedelta(minutes=2))
    assert writer.count(plug, meters[1], meters[2], hour + timedelta(minutes=3))
    writer.start()
    _wait_until(lambda: writer.counts.written >= 6 and not writer.counts.waiting)
    assert writer.close(_LIMIT)
    database = Database(url)
    assert database.meters()[plug].charged == 200.0
    database.close()


def test_expired_sessions_are_removed(url: str, reports: _Reports) -> None:
    Database(url).close()
    database = Database(url)
    database.write([_session(0)], {})
    database.close()
    writer = _writer(url, reports, retention=timedelta(days=1))
    assert writer.close(_LIMIT)
    assert list(_stored(url)) == []


def test_locked_file_is_reported_once_and_written_later(tmp_path: Path, reports: _Reports) -> None:
    url = f"sqlite:///{tmp_path}/history.sqlite"
    Database(url).close()
    other = sqlite3.connect(tmp_path / "history.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    writer = _writer(url, reports)
    writer.put([_session(0)])
    assert "database is locked" in reports.next().error
    writer.put([_session(1)])
    _wait_until(lambda: writer.counts.failures >= 3)
    assert reports.empty(), "one report for one outage"
    other.rollback()
    other.close()
    assert reports.next() == HistoryProblem("")
    assert writer.close(_LIMIT)
    assert set(_stored(url)) == {_session(0), _session(1)}


def _full_database(url: str) -> Database:
    """Open a SQLite file that cannot grow. SQLite reports a full disk and a full database alike."""
    database = Database(url)
    with database.reading() as connection:
        [(pages,)] = connection.query("PRAGMA page_count")
        connection.query(f"PRAGMA max_page_count={pages}")
    return database


def test_full_disk_is_reported_and_written_later(
    tmp_path: Path, reports: _Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/history.sqlite"
    with monkeypatch.context() as patched:
        patched.setattr(writer_module, "Database", _full_database)
        writer = _writer(url, reports)
        writer.put([_session(0)])
        _wait_until(lambda: writer.counts.written)
    many = [_session(number) for number in range(1, 2000)]
    writer.put(many)
    assert "database or disk is full" in reports.next().error
    # The next attempt opens the file anew, without the limit.
    assert reports.next() == HistoryProblem("")
    assert writer.close(_LIMIT)
    assert len(list(_stored(url))) == 2000


def test_damaged_file_is_set_aside_and_a_new_one_is_written(tmp_path: Path, reports: _Reports) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"This is not a database, but long enough to be looked at." * 100)
    writer = _writer(f"sqlite:///{path}", reports)
    writer.put([_session(0)])
    problem = reports.next()
    assert "file is not a database" in problem.error
    assert Path(problem.set_aside).read_bytes().startswith(b"This is not")
    assert reports.next() == HistoryProblem("")
    assert writer.close(_LIMIT)
    assert list(_stored(f"sqlite:///{path}")) == [_session(0)]


@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "replaced"])
def test_removed_file_is_reported_and_created_again(tmp_path: Path, reports: _Reports, is_replaced: bool) -> None:
    path = tmp_path / "history.sqlite"
    url = f"sqlite:///{path}"
    writer = _writer(url, reports)
    writer.put([_session(0)])
    _wait_until(lambda: writer.counts.written)
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink()
    if is_replaced:
        database = Database(url)
        database.write([_session(1)], {})
        database.close()
    writer.put([_session(2)])
    assert reports.next().error == f"{path}: the file was removed or replaced"
    assert reports.next() == HistoryProblem("")
    assert writer.close(_LIMIT)
    assert set(_stored(url)) == ({_session(1), _session(2)} if is_replaced else {_session(2)})


def test_stopped_server_is_reported_once_and_written_later(postgres: PostgreSql, reports: _Reports) -> None:
    url = postgres.new_database()
    writer = _writer(url, reports)
    writer.put([_session(0)])
    _wait_until(lambda: writer.counts.written)
    postgres.stop()
    writer.put([_session(1)])
    assert "127.0.0.1" in reports.next().error
    postgres.start()
    assert reports.next() == HistoryProblem("")
    assert writer.close(_LIMIT)
    assert set(_stored(url)) == {_session(0), _session(1)}


def test_meters_are_read_before_anything_is_written(url: str, reports: _Reports) -> None:
    earlier = Meter(1000.0, counted=PlugReading("p1", status="charging", power=0.0, time=_BEGAN))
    other = Plug("other", "p1")
    database = Database(url)
    database.write([MeterRecord(_PLUG, earlier), MeterRecord(other, earlier)], {})
    database.close()
    read: _Meters = queue.Queue()
    writer = HistoryWriter(url, Retention(None, None), reports.put)
    writer.read_meters({"station"}, read.put)
    writer.put([MeterRecord(_PLUG, Meter(1.0))])
    writer.start()
    assert read.get(timeout=_LIMIT) == {_PLUG: earlier}
    assert writer.close(_LIMIT)
    assert read.empty(), "they are read once"


def test_meters_are_read_when_the_server_answers(postgres: PostgreSql, reports: _Reports) -> None:
    url = postgres.new_database()
    earlier = Meter(1000.0, counted=PlugReading("p1", status="charging", power=0.0, time=_BEGAN))
    database = Database(url)
    database.write([MeterRecord(_PLUG, earlier)], {})
    database.close()
    postgres.stop()
    read: _Meters = queue.Queue()
    writer = HistoryWriter(url, Retention(None, None), reports.put)
    writer.read_meters({"station"}, read.put)
    writer.start()
    assert "127.0.0.1" in reports.next().error
    assert read.empty(), "the server may answer later"
    postgres.start()
    assert read.get(timeout=_LIMIT) == {_PLUG: earlier}
    assert writer.close(_LIMIT)


def test_meters_are_read_while_the_writer_runs(url: str, reports: _Reports) -> None:
    """Before what waits is written, and at once."""
    writer = _writer(url, reports)
    writer.put([MeterRecord(_PLUG, Meter(1000.0))])
    read: _Meters = queue.Queue()
    for _ in range(2):
        writer.read_meters({"station"}, read.put)
    assert read.get(timeout=_LIMIT) == read.get(timeout=_LIMIT)
    writer.read_meters({"other"}, read.put)
    assert read.get(timeout=_LIMIT) == {}
    writer.read_meters({"station"}, read.put)
    assert read.get(timeout=_LIMIT) == {_PLUG: Meter(1000.0)}
    assert writer.close(_LIMIT)


def test_unusable_file_has_no_meters(tmp_path: Path, reports: _Reports) -> None:
    (tmp_path / "file").touch()
    read: _Meters = queue.Queue()
    writer = HistoryWriter(f"sqlite:///{tmp_path}/file/history.sqlite", Retention(None, None), reports.put)
    writer.read_meters({"station"}, read.put)
    writer.start()
    assert read.get(timeout=_LIMIT) == {}
    assert writer.close(_LIMIT)


def test_unreachable_server_does_not_delay_the_end(reports: _Reports) -> None:
    writer = _writer("postgresql+psycopg://bridge@127.0.0.1:1/history", reports)
    writer.put([_session(0)])
    reports.next()
    assert writer.close(_LIMIT)
    assert writer.counts.waiting == 1


def _fail(*_: object) -> None:
    raise IndexError("a bug")


def test_bug_is_reported_and_loses_nothing(tmp_path: Path, reports: _Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'history.sqlite'}"
    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", _fail)
        writer = _writer(url, reports)
        writer.put([_session(0)])
        assert reports.next().error == "IndexError: a bug"
        assert (writer.counts.failures > 0, writer.counts.waiting) == (True, 1)
    assert reports.next().error == ""
    assert writer.close(_LIMIT)
    assert set(_stored(url)) == {_session(0)}
