"""Numbers of stations and plugs by state, and sums of their measurements."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import STATION_REASONS, Outcome, Reading, Reason, Repeat, Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.observability.aggregates import PLUG_STATES, STATION_STATES, WAITING, aggregate
from tests.harness.samples import at, outcomes, plug_reading
from tests.observability.samples import NOW, plug, station


def test_aggregates_of_no_station_are_zero() -> None:
    empty = aggregate([])
    assert empty.stations == dict.fromkeys(STATION_STATES, 0)
    assert empty.plugs == dict.fromkeys(PLUG_STATES, 0)
    assert (empty.charging, empty.power, empty.oldest) == (0, 0.0, None)


@pytest.mark.parametrize("reason", [None, *STATION_REASONS])
def test_station_is_counted_by_its_reason(reason: Reason | None) -> None:
    counted = aggregate([station(reason=reason), station(reason=reason)]).stations
    assert counted == dict.fromkeys(STATION_STATES, 0) | {reason.value if reason else WAITING: 2}


@pytest.mark.parametrize("reason", [None, *Reason])
def test_plug_is_counted_by_its_reason(reason: Reason | None) -> None:
    counted = aggregate([station(plug("a", reason, power=1.0), plug("b", reason, power=1.0))]).plugs
    assert counted == dict.fromkeys(PLUG_STATES, 0) | {reason.value if reason else WAITING: 2}


@pytest.mark.parametrize("status", [None, "rebooting", *STATUSES])
def test_plug_with_charging_status_is_counted_as_charging(status: str | None) -> None:
    is_charging = STATUSES[status].charging if status in STATUSES else None
    assert aggregate([station(plug(status=status))]).charging == (1 if is_charging else 0)


def test_unavailable_plug_has_no_power_and_no_age() -> None:
    stale = plug("a", Reason.STALE, power=5000.0, status="charging", time=NOW - timedelta(days=1))
    counted = aggregate(
        [station(stale, plug("b", power=-700.5, time=NOW)), station(plug("c", power=None, status="idle"))]
    )
    assert (counted.power, counted.charging, counted.oldest) == (-700.5, 0, NOW)


def test_oldest_measurement_is_the_oldest_of_all_stations() -> None:
    times = [NOW - timedelta(seconds=seconds) for seconds in (5, 50, 20)]
    assert aggregate([station(plug(time=time)) for time in times]).oldest == times[1]


@given(st.lists(st.lists(outcomes, max_size=4), max_size=4))
def test_every_station_and_plug_is_counted_once(polls: list[list[Outcome]]) -> None:
    states = []
    for outcomes_of_station in polls:
        state = StationState()
        for second, outcome in enumerate(outcomes_of_station):
            state = advance(state, outcome, Rules(offline_after=2), at(second))
        states.append(state)
    counted = aggregate(states)
    assert sum(counted.stations.values()) == len(states)
    assert sum(counted.plugs.values()) == sum(len(state.plugs) for state in states)
    assert counted.stations.keys() == set(STATION_STATES)
    assert counted.plugs.keys() == set(PLUG_STATES)


@pytest.mark.parametrize("power", [7200.0, -7200.0, None, 0.0])
def test_aggregates_contain_repeats(power: float | None) -> None:
    stations = Stations({"s1": Station("s1", 10)}, Rules(), started=at(0).monotonic)
    stations.broker_read({}, ["s1"], is_complete=True)
    for second in (0, 10, 20, 30):
        time = at(second).utc
        first = Reading((plug_reading(power=power, time=time),), fingerprint=1)
        outcome = Repeat(1, time, b"", lambda _, first=first: first) if second else first  # type: ignore[misc]
        stations.apply_outcome("s1", outcome, at(second), 0.1)
    found, energy = aggregate([stations.state("s1")]), 60.0 if power else 0.0
    assert (found.charged, found.discharged) == ((energy, 0.0) if power and power > 0 else (0.0, energy))
    assert found.gap == (30.0 if power is None else 0.0)
    assert found.oldest == at(30).utc
