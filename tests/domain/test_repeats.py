"""Repeated responses lead to the same messages, reasons, counts and events as responses that are evaluated at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.events import PollCompleted, StateAged
from evse_mqtt_bridge.domain.meter import Meter, PublishedMeter
from evse_mqtt_bridge.domain.model import Failure, PlugState, Reading, Reason, Repeat, Station, StationState
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.domain.repeats import with_repeats
from evse_mqtt_bridge.domain.stations import Stations
from tests.harness.samples import NOW, at, failure, plug_reading

_RULES = Rules(stale_after=300)
_STATION = Station("s1", 10)
_IDLE = replace(plug_reading("p2"), status="idle", power=0.0)
_RESPONSES = (
    (plug_reading("p1"), _IDLE),
    (plug_reading("p1", power=50.0), _IDLE),
    (plug_reading("p1", power=-2300.0), replace(_IDLE, status="offline")),
    (plug_reading("p1", current_l1=10.300000190734863),),
    (plug_reading("p1", status="finishing", power=None), replace(_IDLE, status="charging", power=3680.04)),
    (_IDLE,),
)


@dataclass
class _Cloud:
    """Returns the outcomes of the parser, or complete readings if it does not recognize repetitions."""

    recognizes: bool
    last: int | None = None

    def outcome(self, number: int, time: datetime) -> Reading | Repeat:
        plugs = tuple(replace(plug, time=time) for plug in _RESPONSES[number])
        if not self.recognizes:
            return Reading(plugs)
        is_repeated, self.last = self.last == number, number
        reading = Reading(plugs, fingerprint=number)
        return Repeat(number, time, b"", lambda _: reading) if is_repeated else reading


@dataclass
class _Bridge:
    """The stations of one bridge, and what it publishes."""

    cloud: _Cloud
    rules: Rules = _RULES
    stations: Stations = field(init=False)
    evaluations: int = 0

    def __post_init__(self) -> None:
        self.stations = Stations({"s1": _STATION}, self.rules, started=at(0).monotonic)
        self.stations.broker_read({}, ["s1"], is_complete=True)

    def poll(self, number: int, time: datetime, moment: Moment) -> PollCompleted:
        event = self.stations.apply_outcome("s1", self.cloud.outcome(number, time), moment, 0.1)
        self.evaluations += event.new.plugs is not event.old.plugs
        return event

    def fail(self, outcome: Failure, moment: Moment) -> PollCompleted:
        return self.stations.apply_outcome("s1", outcome, moment, 0.1)

    def plugs(self) -> dict[str, PlugState]:
        return dict(with_repeats(self.stations.state("s1")).plugs)


_waits = st.sampled_from([0.5, 10.0, 10.0, 10.0, 10.2, 31.0, 95.0, 400.0, 1800.0])
_steps = st.one_of(
    st.tuples(st.just("poll"), st.integers(0, len(_RESPONSES) - 1), st.sampled_from([0.0, 0.0, 0.0, 4.0, -400.0])),
    st.tuples(st.just("repeat"), st.integers(1, 30), st.just(0.0)),
    st.tuples(st.sampled_from(["fail", "age", "restore", "reload", "rename", "rules"]), st.just(0), st.just(0.0)),
    st.tuples(st.just("ignored poll"), st.integers(0, len(_RESPONSES) - 1), st.just(0.0)),
)


@given(st.lists(st.tuples(_steps, _waits), min_size=1, max_size=25), st.sampled_from([60.0, 25.0, 600.0, 0.0]))
def test_repeats_lead_to_the_same_as_complete_responses(
    steps: list[tuple[tuple[str, int, float], float]], heartbeat: float
) -> None:
    bridges = [_Bridge(_Cloud(recognizes), replace(_RULES, heartbeat=heartbeat)) for recognizes in (True, False)]
    second, response = 0.0, 0
    for (kind, number, lag), wait in steps:
        response = number if kind == "poll" else response
        for _ in range(number if kind == "repeat" else 1):
            second += wait
            moment = at(second)
            events: list[object] = []
            for bridge in bridges:
                if kind in ("poll", "repeat"):
                    event = bridge.poll(response, at(second - lag).utc, moment)
                    events.append([event.has_changes, event.new.reason])
                elif kind == "fail":
                    event = bridge.fail(failure(Reason.UNREACHABLE), moment)
                    events.append([event.has_changes, event.new.reason])
                elif kind == "age":
                    events.append(
                        [_reasons(each) for each in bridge.stations.age(moment, 10) if isinstance(each, StateAged)]
                    )
                elif kind == "ignored poll":  # a reload had assigned the station meanwhile
                    bridge.cloud.outcome(number, moment.utc)
                elif kind == "restore":
                    bridge.stations.restore_plugs("s1", {"p3": None})
                elif kind == "rules":
                    bridge.rules = replace(bridge.rules, heartbeat=bridge.rules.heartbeat / 2)
                    bridge.stations.replace([], {}, bridge.rules, moment.monotonic)
                else:
                    station = replace(_STATION, plugs={"p1": "p2"}) if kind == "rename" else _STATION
                    bridge.rules = replace(bridge.rules, heartbeat=bridge.rules.heartbeat + 5)
                    bridge.stations.replace(["s1"], {"s1": station}, bridge.rules, moment.monotonic)
            assert events[0:1] == events[1:2]
            _assert_same(bridges[0].plugs(), bridges[1].plugs())
            _assert_no_earlier_plugs_are_kept(bridges[0].stations.state("s1"))


def _reasons(event: StateAged) -> dict[str, Reason | None]:
    return {uuid: plug.reason for uuid, plug in event.new.plugs.items()}


def _assert_same(plugs: dict[str, PlugState], expected: dict[str, PlugState]) -> None:
    assert list(plugs) == list(expected)
    for uuid, plug in plugs.items():
        other = expected[uuid]
        assert replace(plug, meter=None, last_published_meter=None) == replace(
            other, meter=None, last_published_meter=None
        )
        assert _numbers(plug.meter) == pytest.approx(_numbers(other.meter))
        assert _numbers(plug.last_published_meter) == pytest.approx(_numbers(other.last_published_meter))
        assert _rest(plug.meter) == _rest(other.meter)


def _assert_no_earlier_plugs_are_kept(state: StationState) -> None:
    """Each station would need the memory of two otherwise."""
    assert state.deferral is None or state.deferral.plugs is state.plugs


def _numbers(meter: Meter | PublishedMeter | None) -> Sequence[float]:
    if meter is None:
        return ()
    sessions = [session for session in (meter.session, meter.last_session) if session is not None]
    return [*meter[:3], *(number for session in sessions for number in session[2:7])]


def _rest(meter: Meter | None) -> object:
    if meter is None:
        return None
    sessions = [session and (*session[:2], *session[7:]) for session in (meter.session, meter.last_session)]
    return meter.counted, meter.is_interrupted, sessions


def test_most_repeats_are_not_evaluated() -> None:
    bridge = _Bridge(_Cloud(recognizes=True))
    for second in range(0, 600, 2):
        bridge.poll(0, at(second).utc, at(second))
    assert bridge.evaluations <= 2 + 600 / 60  # its two plugs share a heartbeat of 60 s


@pytest.mark.parametrize("gap", [89.0, 91.0])
def test_time_without_measurements_is_a_gap(gap: float) -> None:
    bridge = _Bridge(_Cloud(recognizes=True), replace(_RULES, heartbeat=3600))
    for second in (0.0, 10.0, 20.0, 20.0 + gap):
        bridge.poll(0, at(second).utc, at(second))
    meter = bridge.plugs()["p1"].meter
    assert meter is not None
    assert meter.gap == (0.0 if gap < 90 else gap)
    assert meter.charged == pytest.approx(7107 / 3600 * (20 + gap if gap < 90 else 20))


def test_repeats_are_evaluated_after_the_clock_was_set() -> None:
    bridge = _Bridge(_Cloud(recognizes=True), replace(_RULES, heartbeat=3600))
    list(bridge.stations.age(at(0), 10))
    for second in (0, 10, 20):
        bridge.poll(0, at(second).utc, at(second))
    shifted = Moment(at(21).monotonic, NOW + timedelta(seconds=121))
    list(bridge.stations.age(shifted, 10))
    assert bridge.stations.state("s1").deferral is None


def test_meters_of_a_removed_station_contain_repeats() -> None:
    bridge = _Bridge(_Cloud(recognizes=True))
    for second in (0, 10, 20):
        bridge.poll(0, at(second).utc, at(second))
    bridge.stations.replace(["s1"], {}, _RULES, at(21).monotonic)
    bridge.stations.replace([], {"s1": _STATION}, _RULES, at(22).monotonic)
    bridge.stations.broker_read({}, ["s1"], is_complete=True)
    bridge.cloud.last = None
    bridge.poll(0, at(30).utc, at(30))
    meter = bridge.plugs()["p1"].meter
    assert meter is not None
    assert meter.charged == pytest.approx(7107 / 3600 * 30)


def test_plug_beyond_the_maximum_is_noted_with_each_poll() -> None:
    """A missing plug stays missing, although there are as many plugs as the response has."""
    bridge = _Bridge(_Cloud(recognizes=True))
    plugs = [plug_reading(f"p{number}") for number in range(MAX_PLUGS + 1)]
    for second in range(0, 200, 10):
        known = plugs[:-1] if second == 0 else plugs[1:]
        reading = Reading(tuple(replace(plug, time=at(second).utc) for plug in known), fingerprint=second > 0)
        repeat = Repeat(1, at(second).utc, b"", lambda _, reading=reading: reading)  # type: ignore[misc]
        event = bridge.stations.apply_outcome("s1", repeat if second > 10 else reading, at(second), 0.1)
        assert not isinstance(event.outcome, Failure)
        assert bool(event.outcome.notes) is (second > 0)
        assert bridge.plugs()["p0"].reason is (Reason.MISSING if second else Reason.ONLINE)


def test_plug_is_evaluated_at_least_once_per_minute() -> None:
    bridge = _Bridge(_Cloud(recognizes=True), replace(_RULES, heartbeat=3600, stale_after=0))
    for second in range(0, 600, 10):
        bridge.poll(len(_RESPONSES) - 1, at(second).utc, at(second))
        reading = bridge.stations.state("s1").plugs["p2"].reading
        assert reading is not None
        assert reading.time is not None
        assert at(second).utc - reading.time <= timedelta(seconds=60)


def test_record_of_the_broker_is_joined_with_repeats() -> None:
    """The topics have rounded counts; what is counted twice would add up with each connection."""
    bridge = _Bridge(_Cloud(recognizes=True))
    for second in (0, 10, 20, 30):
        bridge.poll(0, at(second).utc, at(second))
    meter = bridge.stations.state("s1").plugs["p1"].meter
    assert meter is not None
    bridge.stations.broker_read({"s1": {"p1": meter._replace(charged=meter.charged + 0.4)}}, ["s1"], is_complete=True)
    joined = bridge.plugs()["p1"].meter
    assert joined is not None
    assert joined.charged == pytest.approx(7107 / 3600 * 30)


def test_repeats_are_not_parsed_although_each_is_published() -> None:
    bridge = _Bridge(_Cloud(recognizes=True), replace(_RULES, heartbeat=0))
    for second in (0, 10):  # the meters start with the first one
        bridge.poll(0, at(second).utc, at(second))
    for second in (20, 30):
        repeat = Repeat(0, at(second).utc, b"", _fail)
        event = bridge.stations.apply_outcome("s1", repeat, at(second), 0.1)
        assert event.has_changes
        assert [plug.last_published_time for plug in event.new.plugs.values()] == [at(second).utc] * 2


def test_repeat_that_is_stale_is_evaluated() -> None:
    bridge = _Bridge(_Cloud(recognizes=True), replace(_RULES, stale_after=20, heartbeat=600))
    for second in (0, 1, 2):
        bridge.poll(0, at(second).utc, at(second))
    assert bridge.poll(0, at(3).utc, at(24)).new.plugs["p1"].reason is Reason.STALE


def _fail(_: bytes) -> Reading:
    raise AssertionError("it is parsed")
