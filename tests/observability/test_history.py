"""What is remembered of stations: since when, the last error, the power of the last hour."""

import sys
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Moment, Rules, advance, age, remember
from evse_mqtt_bridge.domain.model import Failure, Outcome, PlugReading, Reading, Reason, StationState
from evse_mqtt_bridge.observability.history import HISTORY_MINUTES, History, PlugHistory, PowerSeries, StationHistory
from tests.harness.samples import NOW, failure, outcomes, plug_reading, reading

_RULES = Rules(stale_after=0)


class _Life:
    """One station's polls, a minute apart where nothing else is said, in a history."""

    def __init__(self, state: StationState | None = None) -> None:
        self.history = History()
        self.state = state or StationState()
        self.now = NOW

    def poll(self, outcome: Outcome, after: float = 60.0) -> StationHistory:
        self.now += timedelta(seconds=after)
        old, moment = self.state, Moment((self.now - NOW).total_seconds(), self.now)
        self.state = advance(old, outcome, _RULES, moment)
        self.history.polled("s1", old, self.state, outcome, self.now)
        return self.history.station("s1")

    def powers(self, plug: str = "p1") -> list[tuple[float, float | None]]:
        """The steps: minutes since the beginning, W."""
        steps = self.history.station("s1").plugs[plug].power_series.steps()
        return [((at - NOW.replace(second=0)).total_seconds() / 60, power) for at, power in steps]


def test_a_station_that_was_not_polled_has_an_empty_record() -> None:
    assert History().station("s1") == StationHistory()


def test_since_is_when_the_reason_changed() -> None:
    life = _Life()
    first = life.poll(reading())
    assert (first.since, first.plugs["p1"].since) == (life.now, life.now)
    came = life.now
    life.poll(reading(plug_reading(power=11.0)))
    record = life.poll(failure(Reason.SERVER_ERROR))
    assert (record.since, record.plugs["p1"].since, record.polled) == (came, came, life.now)
    life.poll(failure(Reason.SERVER_ERROR))
    record = life.poll(failure(Reason.UNREACHABLE))  # the third miss
    assert (record.since, record.plugs["p1"].since) == (life.now, life.now)
    went = life.now
    assert life.poll(failure(Reason.UNREACHABLE)).since == went


def test_a_plug_has_a_since_of_its_own() -> None:
    life = _Life()
    came = life.poll(reading(plug_reading(), plug_reading("p2"))).since
    record = life.poll(reading(plug_reading(), plug_reading("p2", status="offline")))
    assert (record.since, record.plugs["p1"].since, record.plugs["p2"].since) == (came, came, life.now)


def test_the_last_error_stays_and_the_note_does_not() -> None:
    life = _Life()
    life.poll(Failure(Reason.SERVER_ERROR, "HTTP 500"))
    told = life.now
    record = life.poll(Reading((plug_reading(),), notes=("field 'x' is not known",)))
    assert (record.error, record.error_at, record.note) == ("HTTP 500", told, "field 'x' is not known")
    assert life.poll(reading()).note == ""


def test_many_notes_are_cut_short() -> None:
    notes = tuple(f"note {number}" for number in range(500))
    assert _Life().poll(Reading((plug_reading(),), notes=notes)).note == "note 0; note 1; note 2; and 497 more"
    assert _Life().poll(Reading((plug_reading(),), notes=notes[:3])).note == "note 0; note 1; note 2"


def test_each_poll_of_any_station_has_a_later_revision() -> None:
    history, seen = History(), []
    for uuid in ("s1", "s2", "s1"):
        history.polled(uuid, StationState(), StationState(), reading(), NOW)
        seen.append(history.station(uuid).revision)
    assert seen == [1, 2, 3]
    history.forget("s2")
    assert history.revision > 3
    assert history.station("s2") == StationHistory()


def test_power_is_kept_as_steps_of_a_minute() -> None:
    life = _Life()
    for power, after in ((10.0, 60), (20.0, 10), (30.0, 10), (30.0, 60), (40.0, 60)):
        life.poll(reading(plug_reading(power=power)), after)
    assert life.powers() == [(1.0, 30.0), (3.0, 40.0)]


def test_a_power_that_stays_is_one_step_for_ever() -> None:
    life = _Life()
    for _ in range(500):
        life.poll(reading(plug_reading(time=life.now)))
    assert life.powers() == [(1.0, 7107.0)]


def test_while_a_plug_is_unavailable_there_is_a_gap() -> None:
    life = _Life()
    life.poll(reading())
    life.poll(failure(Reason.UNAUTHORIZED))
    life.poll(failure(Reason.UNAUTHORIZED))
    life.poll(reading())
    assert life.powers() == [(1.0, 7107.0), (2.0, None), (4.0, 7107.0)]


def test_an_hour_is_kept_and_the_step_before_it() -> None:
    life = _Life()
    for power in range(200):
        life.poll(reading(plug_reading(power=float(power))))
    minutes = [minute for minute, _ in life.powers()]
    assert minutes == [float(minute) for minute in range(200 - HISTORY_MINUTES, 201)]


@given(st.lists(st.tuples(st.integers(-300, 300), st.one_of(st.none(), st.floats(-1e6, 1e6))), max_size=200))
def test_a_history_is_bounded_and_runs_forward_whatever_the_clock_does(adds: list[tuple[int, float | None]]) -> None:
    power_series, now = PowerSeries(), NOW
    for seconds, power in adds:
        now += timedelta(seconds=seconds)
        power_series.add(now, power)
    steps = list(power_series.steps())
    assert len(steps) <= HISTORY_MINUTES + 1
    assert [at for at, _ in steps] == sorted({at for at, _ in steps})
    if adds:
        assert steps[-1][1] == adds[-1][1]


def test_a_clock_that_was_years_ahead_stops_no_line() -> None:
    power_series = PowerSeries()
    power_series.add(NOW, 1.0)
    power_series.add(NOW + timedelta(days=2000), 2.0)
    power_series.add(NOW + timedelta(minutes=1), 3.0)
    power_series.add(NOW + timedelta(minutes=2), 4.0)
    began = NOW.replace(second=0)
    steps = [((at - began).total_seconds() / 60, power) for at, power in power_series.steps()]
    assert steps == [(0, 1.0), (1, 3.0), (2, 4.0)]


def test_a_plug_that_is_forgotten_goes_from_the_record() -> None:
    life = _Life()
    life.poll(reading(plug_reading(), plug_reading("p2")))
    life.poll(reading())
    assert life.history.station("s1").plugs.keys() == {"p1", "p2"}
    life.poll(reading(), after=FORGET_AFTER + 1)
    assert life.history.station("s1").plugs.keys() == {"p1"}


def test_a_remembered_plug_is_recorded_once_it_tells() -> None:
    life = _Life(remember(StationState(), {"p1": "Plug 1"}))
    assert life.history.station("s1").plugs == {}
    assert life.poll(failure(Reason.UNREACHABLE)).plugs["p1"].since == life.now
    assert life.poll(reading()).plugs["p1"].since == life.now
    assert life.powers() == [(2.0, 7107.0)]


def test_what_ages_without_a_poll_is_recorded_too() -> None:
    life = _Life()
    life.poll(reading(plug_reading(time=NOW)))
    rules, later = replace(_RULES, stale_after=600), life.now + timedelta(seconds=1200)
    aged = age(life.state, rules, Moment(2000.0, later))
    life.history.aged("s1", life.state, aged, later)
    record = life.history.station("s1")
    assert (record.plugs["p1"].since, record.polled) == (later, life.now)
    assert life.powers()[-1][1] is None
    assert record.revision == 2


@given(st.lists(outcomes, max_size=12))
def test_the_record_agrees_with_the_state(life: list[Outcome]) -> None:
    """Whatever shortcuts are taken: the last step of each plug is its power, or a gap where it is unavailable."""
    watched = _Life()
    for outcome in life:
        record = watched.poll(outcome)
        for uuid, plug in watched.state.plugs.items():
            if plug.reason is None:
                continue
            known = plug.reading.power if plug.reading and plug.reason is Reason.ONLINE else None
            steps = list(record.plugs[uuid].power_series.steps())
            assert (steps[-1][1] if steps else None) == known
        assert record.plugs.keys() <= watched.state.plugs.keys()


def test_a_station_takes_little_memory() -> None:
    still, busy = History(), History()
    states = dict.fromkeys(("still", "busy"), StationState())
    for minute in range(2 * HISTORY_MINUTES):
        at = NOW + timedelta(minutes=minute)
        for name, history in (("still", still), ("busy", busy)):
            power = 7000.0 + (minute if name == "busy" else 0)
            outcome = reading(*(PlugReading(uuid, "Plug", "charging", power, time=at) for uuid in ("p1", "p2")))
            old = states[name]
            states[name] = advance(old, outcome, _RULES, Moment(60.0 * minute, at))
            history.polled("s1", old, states[name], outcome, at)
    assert _bytes(still.station("s1")) < 1500
    assert 1500 < _bytes(busy.station("s1")) < 3000


def _bytes(record: StationHistory) -> int:
    """What a record holds; the keys of its plugs are the states', and its words are empty."""
    held: list[object] = [record, record.plugs]
    for plug in record.plugs.values():
        assert isinstance(plug, PlugHistory)
        held += [plug, plug.power_series, *(getattr(plug.power_series, name) for name in PowerSeries.__slots__)]
    times = {id(at): at for at in (record.polled, record.since, *(plug.since for plug in record.plugs.values()))}
    assert all(isinstance(at, datetime) for at in times.values())
    return sum(map(sys.getsizeof, [*held, *times.values()]))
