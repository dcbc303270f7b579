from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.statuses import STATUSES, meaning
from evse_mqtt_bridge.simulator.scenario import SITE_SIZE, TICK, Life, Measurement

MINUTE = 60
DAY = 24 * 60 * MINUTE

lives = st.builds(Life, st.integers(), st.integers(0, 20_000), st.integers(0, 63))
moments = st.floats(-DAY, 1000 * DAY)

FLOWS = {"recently_started_charging", "charging"}
OUTAGES = {"offline", "cloud_offline"}

NEXT = {
    "idle": {"connected"},
    "connected": {"starting", "idle"},
    "starting": {"recently_started_charging"},
    "recently_started_charging": {"charging", "error"},
    "charging": {"stopped", "error"},
    "error": {"charging"},
    "stopped": {"connected"},
}


def _told(measured: Measurement) -> bool:
    return meaning(measured.status).unavailable is None


def _sessions(timeline: list[Measurement]) -> Iterator[list[Measurement]]:
    """What was measured while a vehicle charged, for each session that was seen from its begin to its end."""
    session: list[Measurement] = []
    for measured in timeline:
        if measured.status == "starting":
            session = [measured]
        elif measured.status in FLOWS and session:
            session.append(measured)
        elif measured.status == "stopped" and session:
            yield session[1:]
            session = []
        elif measured.status != "error":
            session = []


@pytest.fixture(scope="module")
def timelines() -> list[list[Measurement]]:
    """Four plugs, two stations of one site, measured at each tick for two days."""
    plugs = [Life(1, station, plug) for station in (0, 1) for plug in (0, 1)]
    return [[life.at(tick * TICK) for tick in range(int(2 * DAY / TICK))] for life in plugs]


@given(lives, moments)
def test_what_is_measured_could_be_real(life: Life, moment: float) -> None:
    measured = life.at(moment)
    loaded = [current for current in measured.currents if current]
    assert measured.status in STATUSES
    assert 6 <= measured.limit <= 32
    assert isinstance(measured.limit, int)
    assert all(0 <= current <= measured.limit for current in measured.currents)
    assert all(current == round(current, 1) for current in measured.currents)
    assert measured.power == pytest.approx(230 * sum(measured.currents))
    assert measured.power == round(measured.power, 1)
    if measured.status in FLOWS:
        assert 1 <= len(loaded) <= 3
        assert max(loaded) - min(loaded) < 1
    elif _told(measured):
        assert not loaded
        assert measured.power == 0


@given(lives, st.lists(moments))
def test_any_moment_can_be_asked_for_in_any_order(life: Life, asked: list[float]) -> None:
    anew = Life(life.seed, life.station, life.plug)
    assert [life.at(moment) for moment in asked] == [anew.at(moment) for moment in reversed(asked)][::-1]


@given(lives, moments, st.floats(0, DAY))
def test_its_time_goes_on_and_stands_still_in_an_outage(life: Life, moment: float, later: float) -> None:
    before, after = life.at(moment), life.at(moment + later)
    assert before.at <= after.at
    assert before.at <= moment
    if _told(before):
        assert moment - before.at <= TICK


@given(st.integers(), st.integers(0, 1000), moments)
def test_a_station_measures_and_a_site_is_cut_off_as_one(seed: int, station: int, moment: float) -> None:
    left, right = (Life(seed, station, plug).at(moment) for plug in (0, 1))
    assert left.at == right.at
    assert _told(left) == _told(right)
    first = station // SITE_SIZE * SITE_SIZE
    site = [Life(seed, first + n, 0).at(moment).status == "cloud_offline" for n in range(SITE_SIZE)]
    assert len(set(site)) == 1


def test_another_seed_station_or_plug_is_another_life() -> None:
    def day(life: Life) -> list[str]:
        return [life.at(moment).status for moment in range(0, DAY, 10 * MINUTE)]

    days = [day(life) for life in (Life(1, 0, 0), Life(2, 0, 0), Life(1, 1, 0), Life(1, 0, 1))]
    assert all(one != other for index, one in enumerate(days) for other in days[:index])


def test_every_status_of_the_life_is_reached(timelines: list[list[Measurement]]) -> None:
    seen = {measured.status for timeline in timelines for measured in timeline}
    assert seen == NEXT.keys() | OUTAGES


def test_a_life_has_an_order(timelines: list[list[Measurement]]) -> None:
    for timeline in timelines:
        told = [measured for measured in timeline if _told(measured)]
        for before, after in pairwise(told):
            # Across an outage anything may have happened.
            if before.status != after.status and after.at - before.at == TICK:
                assert after.status in NEXT[before.status], before.at


def test_in_an_outage_nothing_but_the_status_changes(timelines: list[list[Measurement]]) -> None:
    held = 0
    for timeline in timelines:
        for before, after in pairwise(timeline):
            if not _told(after):
                assert after.at == before.at
                assert (after.currents, after.limit) == (before.currents, before.limit)
                held += any(after.currents)
    assert held, "no outage while a vehicle charged: nothing was tested"


def test_vehicles_differ_and_end_gently(timelines: list[list[Measurement]]) -> None:
    sessions = [session for timeline in timelines for session in _sessions(timeline)]
    phases = set()
    for session in sessions:
        used = {tuple(bool(current) for current in measured.currents) for measured in session}
        assert len(used) == 1
        phases.add(sum(used.pop()))
        most = max(measured.power for measured in session)
        assert session[-1].power < most / 3
        assert len({measured.limit for measured in session}) > 1
    assert phases == {1, 2, 3}
    at_the_limit = [
        measured for session in sessions for measured in session if measured.limit - max(measured.currents) < 1.5
    ]
    assert at_the_limit, "the limit never limits"
