"""The backlog: the newest record of each key, in order, and bounded."""

from datetime import UTC, datetime, timedelta

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.backlog import Backlog
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, ReadingRecord, SessionRecord

_PLUG = Plug("station", "p1")
_BEGAN = datetime(2026, 3, 28, 22, tzinfo=UTC)


def _reading(hour: int, charged: float = 0.0) -> ReadingRecord:
    return ReadingRecord(_PLUG, _BEGAN + timedelta(hours=hour), charged, 0.0, 0.0)


def _session(hour: int) -> SessionRecord:
    return SessionRecord(_PLUG, Session(_BEGAN + timedelta(hours=hour), is_start_known=True))


def test_newest_record_of_a_key_wins() -> None:
    backlog = Backlog(10)
    for record in (_reading(0, 1.0), MeterRecord(_PLUG, Meter(1.0)), _reading(0, 2.0), MeterRecord(_PLUG, Meter(2.0))):
        backlog.put(record)
    assert backlog.remove() == [_reading(0, 2.0), MeterRecord(_PLUG, Meter(2.0))]
    assert len(backlog) == 0


def test_records_that_are_put_back_do_not_replace_newer_ones() -> None:
    backlog = Backlog(10)
    backlog.put(_reading(0, 1.0))
    taken = backlog.remove()
    backlog.put(_reading(0, 2.0))
    backlog.put_back([*taken, _session(0)])
    assert backlog.remove() == [_session(0), _reading(0, 2.0)]


def test_restored_session_does_not_replace_the_exact_one() -> None:
    backlog = Backlog(10)
    exact = _session(0)
    for record in (exact, exact._replace(is_restored=True), _session(1)._replace(is_restored=True), _session(1)):
        backlog.put(record)
    assert backlog.remove() == [_session(0), _session(1)]


def test_first_reading_does_not_replace_the_reading_of_its_hour() -> None:
    backlog = Backlog(10)
    backlog.put(_reading(0, 1.0))
    backlog.put(_reading(0, 2.0)._replace(is_first=True))
    assert backlog.remove() == [_reading(0, 1.0)]


def test_full_backlog_drops_the_oldest_and_counts_them() -> None:
    backlog = Backlog(2)
    for hour in range(3):
        backlog.put(_reading(hour))
        backlog.put(_session(hour))
    assert backlog.dropped == 2
    assert backlog.remove() == [_session(1), _session(2), _reading(1), _reading(2)]
