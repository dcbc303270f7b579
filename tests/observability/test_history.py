"""The history of stations: times of changes, the last error, and the power of the last hour."""

import gc
import sys
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Moment, Rules, advance, age, has_changes
from evse_mqtt_bridge.domain.events import ClockChanged, PollCompleted, StateAged, StationRemoved
from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugReading, Reading, Reason, Station, StationState
from evse_mqtt_bridge.domain.plugs import restore_plugs
from evse_mqtt_bridge.observability.history import HISTORY_MINUTES, History, PlugHistory, StationHistory
from tests.harness.samples import NOW, failure, outcomes, plug_reading, reading
from tests.observability.samples import poll_completed

_RULES = Rules(stale_after=0)
_STATION = Station("s1", 60)
_FIRST_MINUTE = int(NOW.timestamp()) // 60


class _Recorded:
    """One station whose polls are recorded in a history."""

    def __init__(self, state: StationState | None = None) -> None:
        self.history = History()
        self.state = state or StationState()
        self.now = NOW

    def poll(self, outcome: Outcome, after: float = 60.0) -> StationHistory:
        """Record a poll that completes `after` seconds later, and return the history of the station."""
        self.now += timedelta(seconds=after)
        old, moment = self.state, Moment((self.now - NOW).total_seconds(), self.now)
        self.state = advance(old, outcome, _RULES, moment)
        self.history.poll_completed(
            PollCompleted(_STATION, old, self.state, outcome, moment, 0.1, has_changes(old, self.state))
        )
        return self.history.station("s1")

    def steps(self, plug: str = "p1") -> list[tuple[int, float | None]]:
        """Return the power of a plug, with minutes counted from the beginning."""
        return _from_beginning(_plug(self.history.station("s1"), plug))


def _plug(history: StationHistory, uuid: str) -> PlugHistory:
    plug = history.plug(uuid)
    assert plug is not None
    return plug


def _uuids(history: StationHistory) -> set[str]:
    return {plug.uuid for plug in history.plugs}


def _from_beginning(history: PlugHistory) -> list[tuple[int, float | None]]:
    return [(minute - _FIRST_MINUTE, value) for minute, value in history.steps()]


def test_history_before_first_poll_is_empty() -> None:
    assert History().station("s1") == StationHistory()


def test_since_is_the_time_of_the_last_reason_change() -> None:
    recorded = _Recorded()
    first = recorded.poll(reading())
    assert (first.since, _plug(first, "p1").since) == (recorded.now, recorded.now)
    online = recorded.now
    recorded.poll(reading(plug_reading(power=11.0)))
    history = recorded.poll(failure(Reason.SERVER_ERROR))
    assert (history.since, _plug(history, "p1").since, history.polled) == (online, online, recorded.now)
    recorded.poll(failure(Reason.SERVER_ERROR))
    history = recorded.poll(failure(Reason.UNREACHABLE))  # the third failure in a row
    assert (history.since, _plug(history, "p1").since) == (recorded.now, recorded.now)
    unavailable = recorded.now
    assert recorded.poll(failure(Reason.UNREACHABLE)).since == unavailable


def test_since_of_plug_is_its_own() -> None:
    recorded = _Recorded()
    online = recorded.poll(reading(plug_reading(), plug_reading("p2"))).since
    history = recorded.poll(reading(plug_reading(), plug_reading("p2", status="offline")))
    assert (history.since, _plug(history, "p1").since, _plug(history, "p2").since) == (online, online, recorded.now)


def test_error_is_kept_after_recovery_and_note_is_not() -> None:
    recorded = _Recorded()
    recorded.poll(Failure(Reason.SERVER_ERROR, "HTTP 500"))
    failed = recorded.now
    history = recorded.poll(Reading((plug_reading(),), notes=("field 'x' is not known",)))
    assert (history.error, history.error_at, history.note) == ("HTTP 500", failed, "field 'x' is not known")
    assert recorded.poll(reading()).note == ""


def test_many_notes_are_shortened() -> None:
    notes = tuple(f"note {number}" for number in range(500))
    assert _Recorded().poll(Reading((plug_reading(),), notes=notes)).note == "note 0; note 1; note 2; and 497 more"
    assert _Recorded().poll(Reading((plug_reading(),), notes=notes[:3])).note == "note 0; note 1; note 2"


def test_revision_grows_with_every_poll_and_removal() -> None:
    history, revisions = History(), []
    for uuid in ("s1", "s2", "s1"):
        history.poll_completed(poll_completed(reading(), station=uuid))
        revisions.append(history.station(uuid).revision)
    assert revisions == [1, 2, 3]
    history.station_removed(StationRemoved("s2"))
    assert history.revision > 3
    assert history.station("s2") == StationHistory()


def test_power_has_one_step_per_minute_with_changes() -> None:
    recorded = _Recorded()
    for power, after in ((10.0, 60), (20.0, 10), (30.0, 10), (30.0, 60), (40.0, 60)):
        recorded.poll(reading(plug_reading(power=power)), after)
    assert recorded.steps() == [(1, 30.0), (3, 40.0)]


def test_constant_power_is_one_step() -> None:
    recorded = _Recorded()
    for _ in range(500):
        recorded.poll(reading(plug_reading(time=recorded.now)))
    assert recorded.steps() == [(1, 7107.0)]


def test_power_of_unavailable_plug_is_a_gap() -> None:
    recorded = _Recorded()
    recorded.poll(reading())
    recorded.poll(failure(Reason.UNAUTHORIZED))
    recorded.poll(failure(Reason.UNAUTHORIZED))
    recorded.poll(reading())
    assert recorded.steps() == [(1, 7107.0), (2, None), (4, 7107.0)]


def test_power_is_kept_for_an_hour_and_one_step_before() -> None:
    recorded = _Recorded()
    for power in range(200):
        recorded.poll(reading(plug_reading(power=float(power))))
    assert [minute for minute, _ in recorded.steps()] == list(range(200 - HISTORY_MINUTES, 201))


@given(st.lists(st.tuples(st.integers(-300, 300), st.one_of(st.none(), st.floats(-1e6, 1e6))), max_size=200))
def test_power_is_bounded_and_ordered_for_any_clock(adds: list[tuple[int, float | None]]) -> None:
    history, now = PlugHistory("p1", NOW), NOW
    for seconds, power in adds:
        now += timedelta(seconds=seconds)
        history.add_power(now, power)
    steps = list(history.steps())
    assert len(steps) <= HISTORY_MINUTES + 1
    assert [minute for minute, _ in steps] == sorted({minute for minute, _ in steps})
    if adds:
        assert steps[-1][1] == adds[-1][1]


def test_power_after_clock_was_years_ahead_continues() -> None:
    history = PlugHistory("p1", NOW)
    history.add_power(NOW, 1.0)
    history.add_power(NOW + timedelta(days=2000), 2.0)
    history.add_power(NOW + timedelta(minutes=1), 3.0)
    history.add_power(NOW + timedelta(minutes=2), 4.0)
    assert _from_beginning(history) == [(0, 1.0), (1, 3.0), (2, 4.0)]


def test_times_are_corrected_when_the_clock_is_set() -> None:
    station = _Recorded()
    for power in (100, 200):
        station.poll(reading(plug_reading(power=power)))
    station.poll(failure(Reason.SERVER_ERROR))
    before, steps = replace(station.history.station("s1")), station.steps()
    since, revision = _plug(before, "p1").since, station.history.revision
    station.history.clock_changed(ClockChanged(timedelta(hours=-1)))
    station.history.clock_changed(ClockChanged(timedelta(hours=1)))
    shift = timedelta(days=365, seconds=7)
    station.history.clock_changed(ClockChanged(shift))
    after = station.history.station("s1")
    assert before.polled is not None
    assert (after.polled, after.error_at) == (before.polled + shift, before.polled + shift)
    assert _plug(after, "p1").since == since + shift
    assert station.history.revision > revision
    assert station.steps() == [(minute + 365 * 24 * 60, power) for minute, power in steps]
    station.now += shift
    assert station.poll(reading()).polled == station.now


@given(st.integers(-60 * 366, 60 * 366), st.integers(0, 60))
def test_power_after_any_shift_continues(days: int, minutes: int) -> None:
    """The clock of a machine may even have shown 1970 after it had been right."""
    history = PlugHistory("p1", NOW)
    history.add_power(NOW, 1.0)
    history.shift(timedelta(days=days))
    history.add_power(NOW + timedelta(days=days, minutes=minutes), 2.0)
    steps = [(minute - _FIRST_MINUTE - days * 24 * 60, value) for minute, value in history.steps()]
    assert steps == ([(0, 1.0), (minutes, 2.0)] if minutes else [(0, 2.0)])


def test_removed_plug_is_dropped() -> None:
    recorded = _Recorded()
    recorded.poll(reading(plug_reading(), plug_reading("p2")))
    recorded.poll(reading())
    assert _uuids(recorded.history.station("s1")) == {"p1", "p2"}
    recorded.poll(reading(), after=FORGET_AFTER + 1)
    assert _uuids(recorded.history.station("s1")) == {"p1"}


def test_restored_plug_is_recorded_from_first_outcome() -> None:
    recorded = _Recorded(restore_plugs(StationState(), {"p1": "Plug 1"}))
    assert not recorded.history.station("s1").plugs
    assert _plug(recorded.poll(failure(Reason.UNREACHABLE)), "p1").since == recorded.now
    assert _plug(recorded.poll(reading()), "p1").since == recorded.now
    assert recorded.steps() == [(2, 7107.0)]


def test_history_is_empty_while_nobody_reads_it() -> None:
    recorded = _Recorded()
    recorded.poll(reading())
    recorded.history.keep(is_kept=False)
    assert recorded.history.station("s1") == StationHistory()
    assert recorded.poll(reading(plug_reading(power=11.0))) == StationHistory()


def test_history_that_begins_late_has_times_and_power() -> None:
    recorded = _Recorded()
    recorded.history.keep(is_kept=False)
    recorded.poll(reading(plug_reading(power=7.0)))
    recorded.history.keep(is_kept=True)
    history = recorded.poll(reading(plug_reading(power=7.0)))
    assert (history.since, _plug(history, "p1").since, history.polled) == (recorded.now,) * 3
    assert recorded.steps() == [(2, 7.0)]


def test_aged_state_is_recorded() -> None:
    recorded = _Recorded()
    recorded.poll(reading(plug_reading(time=NOW)))
    moment = Moment(2000.0, recorded.now + timedelta(seconds=1200))
    aged = age(recorded.state, replace(_RULES, stale_after=600), moment)
    recorded.history.state_aged(StateAged(_STATION, recorded.state, aged, moment))
    history = recorded.history.station("s1")
    assert (_plug(history, "p1").since, history.polled) == (moment.utc, recorded.now)
    assert recorded.steps()[-1][1] is None
    assert history.revision == 2


@given(st.lists(outcomes, max_size=12))
def test_last_step_agrees_with_state_for_any_polls(polls: list[Outcome]) -> None:
    """The last step of each plug is its power, or a gap while it is unavailable."""
    recorded = _Recorded()
    for outcome in polls:
        history = recorded.poll(outcome)
        for uuid, plug in recorded.state.plugs.items():
            if plug.reason is None:
                continue
            power = plug.reading.power if plug.reading and plug.reason is Reason.ONLINE else None
            steps = list(_plug(history, uuid).steps())
            assert (steps[-1][1] if steps else None) == power
        assert _uuids(history) <= recorded.state.plugs.keys()


def test_memory_per_station_is_bounded() -> None:
    constant, changing = _Recorded(), _Recorded()
    for minute in range(2 * HISTORY_MINUTES):
        for recorded in (constant, changing):
            power = 7000.0 + (minute if recorded is changing else 0)
            plugs = (PlugReading(uuid, "Plug", "charging", power, time=recorded.now) for uuid in ("p1", "p2"))
            recorded.poll(reading(*plugs))
    assert _size(constant.history.station("s1")) < 550
    assert 550 < _size(changing.history.station("s1")) < 3000


def _size(history: StationHistory) -> int:
    """Return the bytes of a history and everything that it refers to, except strings, which others hold too."""
    objects: dict[int, object] = {}
    pending: list[object] = [history]
    while pending:
        item = pending.pop()
        if id(item) not in objects and not isinstance(item, type | str | int | None):
            objects[id(item)] = item
            pending += gc.get_referents(item)
    return sum(map(sys.getsizeof, objects.values()))
