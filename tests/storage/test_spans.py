"""Spans: the history has the same rows as if each measurement were written at once."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.meter import Meter, count
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.storage.backlog import Backlog
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, ReadingRecord, Record, records
from evse_mqtt_bridge.storage.spans import Spans

_PLUG = Plug("station", "p1")
_BEGAN = datetime(2026, 3, 28, 22, 59, tzinfo=UTC)
_STEPS = st.tuples(
    st.sampled_from([10.0, 30.0, 600.0, 3600.0, 86_400.0, 200_000.0]),
    st.sampled_from([0.0, 3000.0, 7000.0, -2000.0]),
    st.sampled_from(["charging", "connected", "idle"]),
    st.booleans(),
)


def _meter(minutes: float, charged: float) -> Meter:
    return Meter(charged, counted=PlugReading("p1", status="charging", power=6000.0, time=_at(minutes)))


def _at(minutes: float) -> datetime:
    return _BEGAN + timedelta(minutes=minutes)


def _add(spans: Spans, old: tuple[float, float], new: tuple[float, float], plug: Plug = _PLUG) -> list[Record]:
    """Add what a meter counted between two pairs of minutes and energy; begin with the first one if necessary."""
    due = spans.add(plug, _meter(*old), _meter(*new), _at(new[0]))
    if due is not None:
        return due
    begun = spans.begin(plug, _meter(*old), _at(old[0]))
    added = spans.add(plug, _meter(*old), _meter(*new), _at(new[0]))
    assert added is not None
    return [record for record in begun if not (isinstance(record, ReadingRecord) and record.is_first)] + added


def _removed(spans: Spans, limit: int | None = None) -> list[Record]:
    return [record for span in spans.remove(limit) for record in span.records()]


def _rows(written: Iterable[Record]) -> set[Record]:
    """Return what the database has at the end: the newest record of each key."""
    backlog = Backlog(1000)
    for record in written:
        backlog.put(record)
    return set(backlog.remove())


@given(st.lists(_STEPS, max_size=30))
def test_spans_write_the_same_rows_as_measurements(steps: list[tuple[float, float, str, bool]]) -> None:
    spans, meter, time, before = Spans(), Meter(), _BEGAN, _BEGAN
    spans.begin(_PLUG, meter, time)
    each: list[Record] = []
    together: list[Record] = []
    for seconds, power, status, is_written in steps:
        time += timedelta(seconds=seconds)
        new = count(meter, PlugReading("p1", status=status, power=power, time=time), 90.0)
        if found := list(records(_PLUG, meter, new, before, time)):
            each += found
            added = spans.add(_PLUG, meter, new, time)
            assert added is not None
            together += added
            before = time
        if is_written:
            together += _removed(spans)
        meter = new
    together += _removed(spans)
    assert _rows(together) == _rows(each)


def test_span_is_one_record_of_each_kind_per_plug() -> None:
    spans = Spans()
    assert _add(spans, (1, 0.0), (2, 100.0)) == []
    assert _add(spans, (2, 100.0), (3, 200.0)) == []
    removed = _removed(spans)
    hour = datetime(2026, 3, 29, 0, tzinfo=UTC)
    last = _meter(3, 200.0)
    assert removed == [ReadingRecord(_PLUG, hour, 200.0, 0.0, 0.0), MeterRecord(_PLUG, last)]
    assert len(spans) == 0


def test_end_of_an_hour_is_due_at_once() -> None:
    spans = Spans()
    assert _add(spans, (0, 0.0), (0.5, 50.0)) == []
    due = _add(spans, (0.5, 50.0), (1.5, 150.0))
    assert ReadingRecord(_PLUG, datetime(2026, 3, 28, 23, tzinfo=UTC), 50.0, 0.0, 0.0) in due
    assert ReadingRecord(_PLUG, datetime(2026, 3, 29, 0, tzinfo=UTC), 150.0, 0.0, 0.0) in due
    assert len(spans) == 0


def test_oldest_spans_are_removed_first() -> None:
    spans, plugs = Spans(), [Plug("station", f"p{number}") for number in range(3)]
    for plug in plugs:
        _add(spans, (1, 0.0), (2, 100.0), plug)
    _add(spans, (2, 100.0), (3, 200.0), plugs[0])
    assert {record.plug for record in _removed(spans, 2)} == set(plugs[:2])
    assert {record.plug for record in _removed(spans, 2)} == set(plugs[2:])


def test_meter_that_another_member_counted_is_not_added() -> None:
    spans = Spans()
    _add(spans, (1, 0.0), (2, 100.0))
    assert spans.add(_PLUG, _meter(3, 500.0), _meter(4, 600.0), _at(4)) is None
    assert spans.begin(_PLUG, _meter(3, 500.0), _at(3))[-1] == ReadingRecord(
        _PLUG, datetime(2026, 3, 28, 23, tzinfo=UTC), 500.0, 0.0, 0.0, is_first=True
    )
    assert spans.add(_PLUG, _meter(3, 500.0), _meter(4, 600.0), _at(4)) == []
