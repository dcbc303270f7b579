"""The recorder: an hour of the history has the energy of the last message before its end."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.meter import Meter, PublishedMeter
from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugReading, PlugState, Reading, Reason, Station
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.service.recorder import Recorder
from evse_mqtt_bridge.storage.backlog import Backlog
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord, Record
from evse_mqtt_bridge.storage.spans import Spans

_BEGAN = datetime(2026, 3, 28, 22, 57, 20, tzinfo=UTC)
_HOUR = datetime(2026, 3, 28, 23, tzinfo=UTC)
_FAILURE = Failure(Reason.UNREACHABLE)


class _History:
    """A history in memory."""

    def __init__(self) -> None:
        self._spans = Spans()
        self._backlog = Backlog(1000)

    def put(self, records: Iterable[Record]) -> None:
        for record in records:
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


class _Bridge:
    """The stations of a bridge and their history, with one plug whose meter has started.

    Args:
        interval: Polling interval in seconds.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.history = _History()
        self._stations = Stations({"s": Station("s", interval)}, Rules(heartbeat=600.0), 0.0)
        self._stations.broker_read({}, ["s"], is_complete=True)
        self._recorder = Recorder()
        self._recorder.use(self.history)

    def begin_again(self, record: Mapping[str, Meter], now: float) -> None:
        """Lose the station, and get it back at `now` (monotonic seconds) with the meters of another member."""
        self._stations.replace(["s"], {}, Rules(heartbeat=600.0))
        self._stations.replace([], {"s": Station("s", self.interval)}, Rules(heartbeat=600.0), now)
        self._stations.restore_plugs("s", dict.fromkeys(record))
        self._stations.broker_read({"s": record}, ["s"], is_complete=True)

    def poll(self, outcome: Outcome, moment: Moment) -> None:
        """Apply the outcome of a poll."""
        self._recorder.poll_completed(self._stations.apply_outcome("s", outcome, moment, 0.1))

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
