"""The recorder: an hour of the history has the energy of the last message before its end."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.events import StateAged
from evse_mqtt_bridge.domain.meter import Meter, PublishedMeter
from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugReading, PlugState, Reading, Reason, Repeat, Station
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.service.recorder import Recorder
from evse_mqtt_bridge.storage.backlog import Backlog
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord, Record, SessionRecord
from evse_mqtt_bridge.storage.spans import Spans

_BEGAN = datetime(2026, 3, 28, 22, 57, 20, tzinfo=UTC)
_HOUR = datetime(2026, 3, 28, 23, tzinfo=UTC)
_FAILURE = Failure(Reason.UNREACHABLE)


class _History:
    """A history in memory."""

    def __init__(self) -> None:
        self._spans = Spans()
        self._backlog = Backlog(1000)
        self._all: list[Record] = []

    def put(self, records: Iterable[Record]) -> None:
        for record in records:
            self._all.append(record)
            self._backlog.put(record)

    def begin(self, plug: Plug, meter: Meter, time: datetime) -> None:
        self.put(self._spans.begin(plug, meter, time))

    def count(self, plug: tuple[str, str], old: Meter, new: Meter, time: datetime) -> bool:
        due = self._spans.add(plug, old, new, time)
        self.put(due or ())
        return due is not None

    def name(self, plug: Plug, station_name: str, plug_name: str) -> None:
        """Do nothing."""

    def readings(self) -> list[ReadingRecord]:
        """Return the readings by hour."""
        self.put(record for span in self._spans.remove(None) for record in span.records())
        found = [record for record in self._backlog.remove() if isinstance(record, ReadingRecord)]
        return sorted(found, key=lambda reading: reading.hour)

    def sessions(self) -> list[SessionRecord]:
        """Return the sessions that ended."""
        return [record for record in self._all if isinstance(record, SessionRecord)]


class _Bridge:
    """The stations of a bridge and their history, with one plug whose meter has started.

    Args:
        interval: Polling interval in seconds.
        recognizes: Whether a response with the values of the one before is a `Repeat`, as the parser returns it.
    """

    def __init__(self, interval: float, *, recognizes: bool = False) -> None:
        self.interval = interval
        self._recognizes = recognizes
        self._last: PlugReading | None = None
        self.history = _History()
        self._stations = Stations({"s": Station("s", interval)}, Rules(heartbeat=600.0), 0.0)
        self._stations.broker_read({}, ["s"], is_complete=True)
        self._recorder = Recorder()
        self._recorder.use(self.history)

    def stop(self, moment: Moment) -> None:
        """End the history, as when the bridge stops."""
        for event in self._stations.evaluate_repeats(["s", "unknown"], moment):
            self._recorder.state_aged(event)
        self._recorder.use(None)

    def begin_again(self, record: Mapping[str, Meter], now: float, *, is_read: bool = True) -> None:
        """Lose the station, and get it back at `now` (monotonic seconds) with the meters of another member."""
        self._stations.replace(["s"], {}, Rules(heartbeat=600.0))
        self._stations.replace([], {"s": Station("s", self.interval)}, Rules(heartbeat=600.0), now)
        if is_read:
            self.read_broker(record)

    def read_broker(self, record: Mapping[str, Meter]) -> None:
        """Read the record of the station on the broker."""
        self._stations.restore_plugs("s", dict.fromkeys(record))
        self._stations.broker_read({"s": record}, ["s"], is_complete=True)

    def poll(self, outcome: Outcome, moment: Moment) -> None:
        """Apply the outcome of a poll."""
        outcome = self._recognized(outcome) if isinstance(outcome, Reading) else outcome
        self._recorder.poll_completed(self._stations.apply_outcome("s", outcome, moment, 0.1))

    def age(self, moment: Moment) -> None:
        """Let time pass without a poll."""
        for event in self._stations.age(moment, 10):
            if isinstance(event, StateAged):
                self._recorder.state_aged(event)
            else:
                self._recorder.meters_started(event)

    def _recognized(self, reading: Reading) -> Reading | Repeat:
        """Return a reading with one plug as the parser returns it."""
        plug = replace(reading.plugs[0], time=None)
        is_repeated, self._last = self._recognizes and plug == self._last, plug
        reading = replace(reading, fingerprint=hash(plug) if self._recognizes else None)
        time = reading.plugs[0].time
        if is_repeated and time is not None and reading.fingerprint is not None:
            return Repeat(reading.fingerprint, time, b"", lambda _: reading)
        return reading

    @property
    def plug(self) -> PlugState:
        """The state of the plug."""
        return self._stations.state("s").plugs["p1"]

    @property
    def meter(self) -> Meter:
        """The meter of the plug."""
        meter = self.plug.meter
        assert meter is not None
        return meter


def _reading(power: float, time: datetime) -> Reading:
    return Reading((PlugReading("p1", status="charging", power=power, time=time),))


def test_plug_that_another_member_counted_begins_again() -> None:
    """A shard moves to another member, and comes back days later with a higher count."""
    bridge = _Bridge(30.0)
    for second in (0.0, 30.0, 60.0):
        time = _BEGAN + timedelta(seconds=second)
        bridge.poll(_reading(7000.0, time), Moment(1000.0 + second, time))
    assert bridge.history.readings()[-1].hour == _HOUR
    later, days = _BEGAN + timedelta(days=3), 3 * 86400.0
    counted = PlugReading("p1", status="charging", power=0.0, time=later)
    bridge.begin_again({"p1": Meter(500_000.0, counted=counted)}, 1000.0 + days)
    for second in (30.0, 60.0):
        time = later + timedelta(seconds=second)
        bridge.poll(_reading(7000.0, time), Moment(1000.0 + days + second, time))
    charged = {reading.hour: reading.charged for reading in bridge.history.readings() if not reading.is_first}
    assert charged == {_HOUR + timedelta(days=3): bridge.meter.charged}


_POLLS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 400.0, 7000.0, -3000.0]),
        st.floats(0.0, 0.3),
        st.sampled_from([0.0, 0.2, 4.9, 30.0, 110.0]),
        st.sampled_from([False] * 9 + [True]),
    ),
    min_size=60,
    max_size=200,
)


@given(st.sampled_from([1.0, 10.0, 30.0, 60.0]), st.floats(0.0, 1.0), _POLLS)
def test_hour_has_the_energy_of_its_last_message(
    interval: float, phase: float, polls: list[tuple[float, float, float, bool]]
) -> None:
    """Polls arrive late by a part of the interval, some fail, and measurements are older than their arrival."""
    bridge = _Bridge(interval)
    messages: list[tuple[datetime, PublishedMeter]] = []
    published_at, is_failed, time = None, False, _BEGAN
    start = _HOUR - timedelta(seconds=(phase + len(polls) // 2) * interval)
    for number, (power, late, age, fails) in enumerate(polls):
        seconds = (number + late) * interval
        time = start + timedelta(seconds=seconds)
        # One of two polls succeeds: after two failures, the next poll can be later than the margin.
        is_failed = fails and not is_failed and number > 0
        outcome = _FAILURE if is_failed else _reading(power, time - timedelta(seconds=age))
        bridge.poll(outcome, Moment(1000.0 + seconds, time))
        plug = bridge.plug
        if plug.last_published_at != published_at and plug.last_published_meter is not None:
            published_at = plug.last_published_at
            messages.append((time, plug.last_published_meter))
    for reading in bridge.history.readings():
        if _HOUR <= reading.hour <= time:
            last = [meter for at, meter in messages if at < reading.hour][-1]
            assert (reading.charged, reading.discharged) == (last.charged, last.discharged)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([10.0, 30.0, 700.0, 4000.0]),
            st.sampled_from([0.0, 60.0, 110.0]),
            st.sampled_from([0.0, -50.0, 90.0, 3600.0, -7200.0, 1e9]),
        ),
        max_size=40,
    )
)
def test_wrong_clock_moves_no_reading_to_another_hour(steps: list[tuple[float, float, float]]) -> None:
    """The clock of the machine is set, forward or back, between two polls; the vendor's clock is right."""
    bridge, elapsed = _Bridge(30.0), 0.0
    counted: list[tuple[datetime, float]] = []
    for seconds, age, offset in steps:
        elapsed += seconds
        true_time = _BEGAN + timedelta(seconds=elapsed)
        measured = true_time - timedelta(seconds=age)
        moment = Moment(1000.0 + elapsed, true_time + timedelta(seconds=offset))
        bridge.poll(_reading(7000.0, measured), moment)
        counted.append((measured, bridge.meter.charged))
    if not counted:
        return
    readings = bridge.history.readings()
    assert [reading.charged for reading in readings] == sorted(reading.charged for reading in readings)
    assert not readings or readings[-1].charged == bridge.meter.charged
    for reading in readings:
        margin = timedelta(minutes=4)
        least = max((charged for time, charged in counted if time < reading.hour - margin), default=0.0)
        most = max((charged for time, charged in counted if time < reading.hour + margin), default=0.0)
        assert least <= reading.charged <= most


def _numbers(reading: ReadingRecord) -> tuple[float, ...]:
    return reading.charged, reading.discharged, reading.gap


_VALUES = st.sampled_from([("charging", 7000.0), ("charging", 7000.0), ("charging", 400.0), ("idle", 0.0)])
_OUTCOMES = st.lists(
    st.tuples(
        st.integers(0, 8),
        _VALUES,
        st.sampled_from([0.0, 0.3, 2.5]),
        st.sampled_from([0.0, 0.0, 4.0, 110.0]),
        st.booleans(),
    ),
    min_size=2,
    max_size=10,
)


@given(st.sampled_from([1.0, 10.0, 30.0, 60.0]), _OUTCOMES, st.integers(0, 9), st.sampled_from([0.1, 1.0, 2.0, 3.1]))
def test_repeats_lead_to_the_same_hours_and_sessions(
    interval: float, outcomes: list[tuple[int, tuple[str, float], float, float, bool]], middle: int, rest: float
) -> None:
    """Values repeat for some polls, then one may be late, or fail; one of these is near the end of the hour."""
    polls: list[tuple[float, float, tuple[str, float] | None]] = []
    seconds = hour = 0.0
    for number, (repeats, values, pause, age, fails) in enumerate(outcomes):
        polls += [(seconds + interval * (repeat + 1), age, values) for repeat in range(repeats)]
        seconds += interval * (repeats + 1 + pause)
        polls.append((seconds, age, None if fails else values))
        if number == middle % len(outcomes):
            hour = seconds - rest * interval
    bridges = [_Bridge(interval, recognizes=recognizes) for recognizes in (True, False)]
    for bridge in bridges:
        for seconds, age, measured in polls:
            time = _HOUR + timedelta(seconds=seconds - hour)
            plug = PlugReading("p1", time=time - timedelta(seconds=age))
            if measured is not None:
                plug = replace(plug, status=measured[0], power=measured[1])
            moment = Moment(1000.0 + seconds, time)
            bridge.poll(Reading((plug,)) if measured is not None else _FAILURE, moment)
            bridge.age(moment)
        end = polls[-1][0] + 0.5
        bridge.stop(Moment(1000.0 + end, _HOUR + timedelta(seconds=end - hour)))
    found, expected = ([session.session for session in bridge.history.sessions()] for bridge in bridges)
    assert [(each.started, each.ended) for each in found] == [(each.started, each.ended) for each in expected]
    assert [each.charged for each in found] == pytest.approx([each.charged for each in expected])
    readings, expected_readings = (bridge.history.readings() for bridge in bridges)
    assert [reading.hour for reading in readings] == [reading.hour for reading in expected_readings]
    for reading, other in zip(readings, expected_readings, strict=True):
        assert _numbers(reading) == pytest.approx(_numbers(other))


@pytest.mark.parametrize("outcome", ["repeat", "failure", "change"])
def test_late_poll_moves_no_repeat_to_the_next_hour(outcome: str) -> None:
    bridges = [_Bridge(10.0, recognizes=recognizes) for recognizes in (True, False)]
    for bridge in bridges:
        for second in (-70.0, -60.0, -50.0, -40.0, -30.0, -20.0, 4.0):
            time = _HOUR + timedelta(seconds=second)
            values = _reading(7000.0, time) if second < 0 or outcome == "repeat" else _reading(3000.0, time)
            bridge.poll(_FAILURE if second > 0 and outcome == "failure" else values, Moment(1000.0 + second, time))
    found, expected = ([_numbers(reading) for reading in bridge.history.readings()] for bridge in bridges)
    assert found == [pytest.approx(numbers) for numbers in expected]


def test_energy_until_the_first_poll_after_a_restart_is_recorded() -> None:
    """The vehicle leaves during the restart; the first poll comes before the record, and the plug stays empty."""
    bridge = _Bridge(30.0)
    began = _HOUR - timedelta(seconds=20)
    counted = PlugReading("p1", status="charging", power=7200.0, time=began)
    record = Meter(5000.0, counted=counted, session=Session(began - timedelta(hours=1), is_start_known=True))
    bridge.begin_again({}, 1000.0, is_read=False)
    arrived = _HOUR + timedelta(seconds=20)
    plug = PlugReading("p1", status="idle", power=0.0, time=arrived)
    bridge.poll(Reading((plug,)), Moment(1000.0, arrived))
    bridge.read_broker({"p1": record})
    bridge.age(Moment(1001.0, arrived + timedelta(seconds=1)))
    readings = [(reading.hour, reading.charged) for reading in bridge.history.readings() if not reading.is_first]
    assert readings == [(_HOUR, 5000.0), (_HOUR + timedelta(hours=1), 5040.0)]
    [session] = {record.session.ended: record for record in bridge.history.sessions()}.values()
    assert (session.session.charged, session.session.ended) == (40.0, arrived)


def test_end_of_polling_records_repeats() -> None:
    bridge = _Bridge(10.0, recognizes=True)
    for second in (0.0, 10.0, 20.0, 30.0):
        time = _BEGAN + timedelta(seconds=second)
        bridge.poll(_reading(7200.0, time), Moment(1000.0 + second, time))
    bridge.stop(Moment(1031.0, _BEGAN + timedelta(seconds=31)))
    assert bridge.history.readings()[-1].charged == pytest.approx(60.0)
