"""Stations and plugs, counted by state."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason, StationState
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.observability.aggregates import PLUG_STATES, STATION_STATES, WAITING, aggregate
from tests.harness.samples import at, outcomes
from tests.observability.samples import NOW, plug, station


def test_nothing_is_counted_as_zero_of_each() -> None:
    empty = aggregate([])
    assert empty.stations == dict.fromkeys(STATION_STATES, 0)
    assert empty.plugs == dict.fromkeys(PLUG_STATES, 0)
    assert (empty.charging, empty.power, empty.oldest) == (0, 0.0, None)


@pytest.mark.parametrize("reason", [None, *STATION_REASONS])
def test_a_station_is_counted_by_its_state(reason: Reason | None) -> None:
    counted = aggregate([station(reason=reason), station(reason=reason)]).stations
    assert counted == dict.fromkeys(STATION_STATES, 0) | {reason.value if reason else WAITING: 2}


@pytest.mark.parametrize("reason", [None, *Reason])
def test_a_plug_is_counted_by_its_state(reason: Reason | None) -> None:
    counted = aggregate([station(plug("a", reason, power=1.0), plug("b", reason, power=1.0))]).plugs
    assert counted == dict.fromkeys(PLUG_STATES, 0) | {reason.value if reason else WAITING: 2}


@pytest.mark.parametrize("status", [None, "rebooting", *STATUSES])
def test_plugs_charge_that_the_table_says_charge(status: str | None) -> None:
    told = STATUSES[status].charging if status in STATUSES else None
    assert aggregate([station(plug(status=status))]).charging == (1 if told else 0)


def test_what_is_not_available_has_neither_power_nor_age() -> None:
    away = plug("a", Reason.STALE, power=5000.0, status="charging", time=NOW - timedelta(days=1))
    counted = aggregate(
        [station(away, plug("b", power=-700.5, time=NOW)), station(plug("c", power=None, status="idle"))]
    )
    assert (counted.power, counted.charging, counted.oldest) == (-700.5, 0, NOW)


def test_the_oldest_measurement_is_that_of_any_station() -> None:
    times = [NOW - timedelta(seconds=seconds) for seconds in (5, 50, 20)]
    assert aggregate([station(plug(time=time)) for time in times]).oldest == times[1]


@given(st.lists(st.lists(outcomes, max_size=4), max_size=4))
def test_each_station_and_each_plug_is_counted_once(lives: list[list[object]]) -> None:
    states = []
    for life in lives:
        state = StationState()
        for number, outcome in enumerate(life):
            state = advance(state, outcome, replace(Rules(), offline_after=2), at(number))  # type: ignore[arg-type]
        states.append(state)
    counted = aggregate(states)
    assert sum(counted.stations.values()) == len(states)
    assert sum(counted.plugs.values()) == sum(len(state.plugs) for state in states)
    assert counted.stations.keys() == set(STATION_STATES)
    assert counted.plugs.keys() == set(PLUG_STATES)
