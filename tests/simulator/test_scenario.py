"""Measurements of simulated plugs."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.statuses import STATUSES, meaning
from evse_mqtt_bridge.simulator.scenario import SITE_SIZE, TICK, Measurement, PlugScenario

MINUTE = 60
DAY = 24 * 60 * MINUTE

scenarios = st.builds(PlugScenario, st.integers(), st.integers(0, 20_000), st.integers(0, 63))
moments = st.floats(-DAY, 1000 * DAY)

CURRENT_FLOWS = {"recently_started_charging", "charging"}
OUTAGES = {"offline", "cloud_offline"}

NEXT_STATUSES = {
    "idle": {"connected"},
    "connected": {"starting", "idle"},
    "starting": {"recently_started_charging"},
    "recently_started_charging": {"charging", "error"},
    "charging": {"stopped", "error"},
    "error": {"charging"},
    "stopped": {"connected"},
}


def _is_available(measurement: Measurement) -> bool:
    return meaning(measurement.status).unavailable is None


def _sessions(timeline: list[Measurement]) -> Iterator[list[Measurement]]:
    """Yield the measurements with current of each complete charging session."""
    session: list[Measurement] = []
    for measurement in timeline:
        if measurement.status == "starting":
            session = [measurement]
        elif measurement.status in CURRENT_FLOWS and session:
            session.append(measurement)
        elif measurement.status == "stopped" and session:
            yield session[1:]
            session = []
        elif measurement.status != "error":
            session = []


@pytest.fixture(scope="module")
def timelines() -> list[list[Measurement]]:
    """Measurements of two days for four plugs in two stations of one site."""
    plugs = [PlugScenario(1, station, plug) for station in (0, 1) for plug in (0, 1)]
    return [[plug.at(tick * TICK) for tick in range(int(2 * DAY / TICK))] for plug in plugs]


@given(scenarios, moments)
def test_measurement_is_physically_plausible(scenario: PlugScenario, moment: float) -> None:
    measurement = scenario.at(moment)
    loaded = [current for current in measurement.currents if current]
    assert measurement.status in STATUSES
    assert 6 <= measurement.limit <= 32
    assert isinstance(measurement.limit, int)
    assert all(0 <= current <= measurement.limit for current in measurement.currents)
    assert all(current == round(current, 1) for current in measurement.currents)
    assert measurement.power == pytest.approx(230 * sum(measurement.currents))
    assert measurement.power == round(measurement.power, 1)
    if measurement.status in CURRENT_FLOWS:
        assert 1 <= len(loaded) <= 3
        assert max(loaded) - min(loaded) < 1
    elif _is_available(measurement):
        assert not loaded
        assert measurement.power == 0


@given(scenarios, st.lists(moments))
def test_measurement_does_not_depend_on_order_of_calls(scenario: PlugScenario, times: list[float]) -> None:
    other = PlugScenario(scenario.seed, scenario.station, scenario.plug)
    assert [scenario.at(moment) for moment in times] == [other.at(moment) for moment in reversed(times)][::-1]


@given(scenarios, moments, st.floats(0, DAY))
def test_measurement_time_never_goes_backwards(scenario: PlugScenario, moment: float, later: float) -> None:
    before, after = scenario.at(moment), scenario.at(moment + later)
    assert before.at <= after.at
    assert before.at <= moment
    if _is_available(before):
        assert moment - before.at <= TICK


@given(st.integers(), st.integers(0, 1000), moments)
def test_plugs_and_sites_have_outages_together(seed: int, station: int, moment: float) -> None:
    left, right = (PlugScenario(seed, station, plug).at(moment) for plug in (0, 1))
    assert left.at == right.at
    assert _is_available(left) == _is_available(right)
    first = station // SITE_SIZE * SITE_SIZE
    site = [PlugScenario(seed, first + n, 0).at(moment).status == "cloud_offline" for n in range(SITE_SIZE)]
    assert len(set(site)) == 1


def test_scenarios_differ_by_seed_station_and_plug() -> None:
    def statuses_of_day(scenario: PlugScenario) -> list[str]:
        return [scenario.at(moment).status for moment in range(0, DAY, 10 * MINUTE)]

    scenarios = (PlugScenario(1, 0, 0), PlugScenario(2, 0, 0), PlugScenario(1, 1, 0), PlugScenario(1, 0, 1))
    days = [statuses_of_day(scenario) for scenario in scenarios]
    assert all(one != other for index, one in enumerate(days) for other in days[:index])


def test_scenario_reaches_every_status(timelines: list[list[Measurement]]) -> None:
    reached = {measurement.status for timeline in timelines for measurement in timeline}
    assert reached == NEXT_STATUSES.keys() | OUTAGES


def test_scenario_changes_status_in_order(timelines: list[list[Measurement]]) -> None:
    for timeline in timelines:
        available = [measurement for measurement in timeline if _is_available(measurement)]
        for before, after in pairwise(available):
            # Several changes may happen during an outage.
            if before.status != after.status and after.at - before.at == TICK:
                assert after.status in NEXT_STATUSES[before.status], before.at


def test_outage_changes_status_only(timelines: list[list[Measurement]]) -> None:
    outages_while_charging = 0
    for timeline in timelines:
        for before, after in pairwise(timeline):
            if not _is_available(after):
                assert after.at == before.at
                assert (after.currents, after.limit) == (before.currents, before.limit)
                outages_while_charging += any(after.currents)
    assert outages_while_charging, "the timelines have no outage during a session"


def test_vehicles_differ_and_reduce_current_at_end(timelines: list[list[Measurement]]) -> None:
    sessions = [session for timeline in timelines for session in _sessions(timeline)]
    phases = set()
    for session in sessions:
        used = {tuple(bool(current) for current in measurement.currents) for measurement in session}
        assert len(used) == 1
        phases.add(sum(used.pop()))
        maximum = max(measurement.power for measurement in session)
        assert session[-1].power < maximum / 3
        assert len({measurement.limit for measurement in session}) > 1
    assert phases == {1, 2, 3}
    at_the_limit = [
        measurement
        for session in sessions
        for measurement in session
        if measurement.limit - max(measurement.currents) < 1.5
    ]
    assert at_the_limit, "no session reaches the limit"
