"""The state of a station after each poll: its reason, its plugs, and when they are published."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import (
    FORGET_AFTER,
    FUTURE_TOLERANCE,
    Rules,
    advance,
)
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason, StationState
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS, restore_plugs
from tests.harness.samples import NOW, at, failure, outcomes, plug_reading, reading

_RULES = Rules()
_OK = reading()
_ONLINE, _UNREACHABLE, _SERVER_ERROR = Reason.ONLINE, Reason.UNREACHABLE, Reason.SERVER_ERROR


def _after(*polls: Outcome, rules: Rules = _RULES, every: float = 30) -> StationState:
    state = StationState()
    for index, outcome in enumerate(polls):
        state = advance(state, outcome, rules, at(index * every))
    return state


def _reasons(*polls: Outcome, rules: Rules = _RULES) -> list[Reason | None]:
    """Return the reason of the station after each poll."""
    return [_after(*polls[: count + 1], rules=rules).reason for count in range(len(polls))]


# The station


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.RATE_LIMITED])
def test_temporary_failure_counts_after_offline_after_polls(reason: Reason) -> None:
    lost = failure(reason)
    assert _reasons(_OK, lost, lost, lost, lost, _OK) == [_ONLINE, _ONLINE, _ONLINE, reason, reason, _ONLINE]
    assert _reasons(lost, lost, lost) == [None, None, reason], "unknown before enough polls"


@pytest.mark.parametrize("reason", [Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.INVALID_RESPONSE])
def test_permanent_failure_counts_at_once(reason: Reason) -> None:
    assert _reasons(_OK, failure(reason), _OK) == [_ONLINE, reason, _ONLINE]
    assert _reasons(failure(reason)) == [reason]


def test_consecutive_failures_count_and_last_sets_reason() -> None:
    lost, busy = failure(_UNREACHABLE), failure(_SERVER_ERROR)
    assert _reasons(_OK, lost, lost, _OK, lost, lost)[-1] is _ONLINE
    assert _reasons(_OK, lost, lost, busy)[-1] is _SERVER_ERROR
    assert [_after(_OK, *[lost] * count).consecutive_failures for count in range(5)] == [0, 1, 2, 3, 4]
    assert _after(lost, lost, _OK).consecutive_failures == 0


def test_unavailable_station_has_reason_of_last_failure() -> None:
    polls = [failure(Reason.UNAUTHORIZED), failure(_UNREACHABLE), failure(Reason.NOT_FOUND), failure(_SERVER_ERROR)]
    assert _reasons(_OK, *polls)[1:] == [Reason.UNAUTHORIZED, _UNREACHABLE, Reason.NOT_FOUND, _SERVER_ERROR]


def test_offline_after_sets_number_of_failures() -> None:
    lost = failure(_UNREACHABLE)
    assert _reasons(_OK, lost, rules=Rules(offline_after=1)) == [_ONLINE, _UNREACHABLE]
    assert _reasons(_OK, *[lost] * 5, rules=Rules(offline_after=5))[-2:] == [_ONLINE, _UNREACHABLE]


@given(st.lists(outcomes, max_size=8))
def test_failure_changes_no_measurement(polls: list[Outcome]) -> None:
    state = StationState()
    for index, outcome in enumerate(polls):
        before, state = state, advance(state, outcome, _RULES, at(index * 30))
        if isinstance(outcome, Failure):
            assert {uuid: plug.reading for uuid, plug in state.plugs.items()} == {
                uuid: plug.reading for uuid, plug in before.plugs.items()
            }


# Its plugs


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("offline", Reason.OFFLINE),
        ("cloud_offline", Reason.CLOUD_OFFLINE),
        ("error", _ONLINE),
        ("unknown", _ONLINE),
        ("rebooting", _ONLINE),
        (None, _ONLINE),
    ],
)
def test_plug_status_determines_availability(status: str | None, reason: Reason) -> None:
    state = _after(_OK, reading(plug_reading(status=status)), reading(plug_reading(status=status)), _OK)
    assert state.plugs["p1"].reason is _ONLINE
    state = _after(_OK, reading(plug_reading(status=status)))
    assert (state.reason, state.plugs["p1"].reason) == (_ONLINE, reason)


def test_plugs_of_unavailable_station_have_its_reason() -> None:
    two = reading(plug_reading("p1"), plug_reading("p2", status="offline"))
    lost = failure(_UNREACHABLE)
    down = _after(two, lost, lost, lost)
    assert [plug.reason for plug in down.plugs.values()] == [_UNREACHABLE, _UNREACHABLE]
    recovered = _after(two, lost, lost, lost, two)
    assert [plug.reason for plug in recovered.plugs.values()] == [_ONLINE, Reason.OFFLINE]


def test_plug_absent_from_response_is_missing_until_it_returns() -> None:
    both, one = reading(plug_reading("p1"), plug_reading("p2")), reading(plug_reading("p1"))
    missing = _after(both, one)
    assert [plug.reason for plug in missing.plugs.values()] == [_ONLINE, Reason.MISSING]
    assert missing.plugs["p2"].reading == plug_reading("p2"), "it keeps its last values"
    assert [plug.reason for plug in _after(both, one, one, both).plugs.values()] == [_ONLINE, _ONLINE]


def test_plug_missing_for_a_day_is_removed() -> None:
    state = _after(reading(plug_reading("p1"), plug_reading("p2")), _OK, every=10)
    just_before = advance(state, _OK, _RULES, at(10 + FORGET_AFTER - 0.1))
    assert list(just_before.plugs) == ["p1", "p2"]
    assert list(advance(just_before, _OK, _RULES, at(10 + FORGET_AFTER)).plugs) == ["p1"]
    returned = advance(just_before, reading(plug_reading("p1"), plug_reading("p2")), _RULES, at(10 + FORGET_AFTER))
    assert list(advance(returned, _OK, _RULES, at(20 + FORGET_AFTER)).plugs) == ["p1", "p2"], "the day starts again"


def test_outage_of_a_day_removes_no_plug() -> None:
    """Only responses count: the time of an outage is not part of the day."""
    state = _after(reading(plug_reading("p1"), plug_reading("p2")), _OK, *[failure(_UNREACHABLE)] * 3)
    state = advance(state, _OK, _RULES, at(2 * FORGET_AFTER))
    assert state.plugs["p2"].reason is Reason.MISSING
    assert list(advance(state, _OK, _RULES, at(3 * FORGET_AFTER)).plugs) == ["p1"]


def test_new_plugs_beyond_maximum_are_ignored() -> None:
    state = _after(_OK, reading(plug_reading("p1"), plug_reading("p2")))
    assert state.plugs["p2"].reason is _ONLINE
    many = [plug_reading(f"q{index}") for index in range(MAX_PLUGS + 5)]
    assert list(_after(reading(*many)).plugs) == [f"q{index}" for index in range(MAX_PLUGS)]
    full = _after(reading(*many), reading(*many[:1], plug_reading("late")))
    assert len(full.plugs) == MAX_PLUGS
    assert "late" not in full.plugs


def test_real_plugs_replace_unconfirmed_ones_beyond_maximum() -> None:
    """Retained messages may name plugs that do not exist; a plug that a response has listed stays."""
    ghosts = {f"ghost{index}": None for index in range(MAX_PLUGS - 1)}
    state = restore_plugs(_after(reading(plug_reading("known"))), ghosts)
    many = [plug_reading(f"q{index}") for index in range(MAX_PLUGS)]
    merged = advance(state, reading(*many), _RULES, at(30))
    assert list(merged.plugs) == ["known", *(f"q{index}" for index in range(MAX_PLUGS - 1))]
    two = advance(state, reading(*many[:2]), _RULES, at(30))
    assert len(two.plugs) == MAX_PLUGS
    assert {"known", "q0", "q1", "ghost5"} <= two.plugs.keys()


def test_invalid_object_affects_only_its_known_plug() -> None:
    both = reading(plug_reading("p1"), plug_reading("p2"))
    wrong = reading(plug_reading("p1"), invalid=["p2", "never-seen"])
    state = _after(both, wrong)
    assert [plug.reason for plug in state.plugs.values()] == [_ONLINE, Reason.INVALID_RESPONSE]
    assert state.plugs["p2"].reading == plug_reading("p2")
    assert [plug.reason for plug in _after(both, wrong, both).plugs.values()] == [_ONLINE, _ONLINE]


def test_plug_changes_between_missing_and_invalid() -> None:
    both = reading(plug_reading("p1"), plug_reading("p2"))
    wrong = reading(plug_reading("p1"), invalid=["p2"])
    assert _after(both, wrong, _OK).plugs["p2"].reason is Reason.MISSING
    assert _after(both, _OK, wrong).plugs["p2"].reason is Reason.INVALID_RESPONSE


# Staleness


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (0, _ONLINE),
        (1199.999, _ONLINE),
        (1200, _ONLINE),
        (1200.001, Reason.STALE),
        (1e9, Reason.STALE),
        (-FUTURE_TOLERANCE.total_seconds(), _ONLINE),
        (-FUTURE_TOLERANCE.total_seconds() - 0.001, Reason.STALE),
        (-1e9, Reason.STALE),
    ],
)
def test_measurement_beyond_age_limits_is_stale(age: float, reason: Reason) -> None:
    old = reading(plug_reading(time=NOW - timedelta(seconds=age)))
    assert advance(StationState(), old, _RULES, at(0)).plugs["p1"].reason is reason
    assert advance(StationState(), old, Rules(stale_after=0), at(0)).plugs["p1"].reason is _ONLINE


def test_plug_with_unchanged_time_is_stale_until_time_changes() -> None:
    state = advance(StationState(), _OK, _RULES, at(0))
    state = advance(state, _OK, _RULES, at(1201))
    assert state.plugs["p1"].reason is Reason.STALE
    lost = advance(state, failure(_UNREACHABLE), _RULES, at(1231))
    assert lost.plugs["p1"].reason is Reason.STALE, "a single failure changes nothing"
    moved = reading(plug_reading(time=NOW + timedelta(seconds=1250)))
    assert advance(lost, moved, _RULES, at(1261)).plugs["p1"].reason is _ONLINE


def test_plug_becomes_stale_while_polls_fail() -> None:
    state = advance(StationState(), _OK, _RULES, at(0))
    state = advance(state, failure(_UNREACHABLE), _RULES, at(1300))
    assert (state.reason, state.plugs["p1"].reason) == (_ONLINE, Reason.STALE)


def test_reading_without_time_is_not_stale() -> None:
    assert _after(reading(plug_reading(time=None))).plugs["p1"].reason is _ONLINE


def test_plug_with_several_reasons_has_the_first() -> None:
    stale_and_offline = plug_reading("p2", status="offline", time=NOW - timedelta(days=1))
    state = _after(reading(plug_reading("p1"), stale_and_offline))
    assert state.plugs["p2"].reason is Reason.OFFLINE
    assert _after(reading(plug_reading("p1"), stale_and_offline), _OK).plugs["p2"].reason is Reason.MISSING
    wrong = _after(reading(plug_reading("p1"), stale_and_offline), reading(plug_reading("p1"), invalid=["p2"]))
    assert wrong.plugs["p2"].reason is Reason.INVALID_RESPONSE
    down = _after(reading(plug_reading("p1"), stale_and_offline), failure(Reason.UNAUTHORIZED))
    assert down.plugs["p2"].reason is Reason.UNAUTHORIZED


# Plugs of a previous run


def test_first_failure_makes_restored_plugs_unavailable() -> None:
    """Otherwise their old values would count as current until enough polls have failed."""
    fresh = advance(StationState(), failure(_UNREACHABLE), _RULES, at(0))
    assert fresh.reason is None
    state = restore_plugs(StationState(), {"p1": "Plug 1"})
    for reason in (_UNREACHABLE, Reason.RATE_LIMITED, Reason.SERVER_ERROR):
        lost = advance(state, failure(reason), _RULES, at(0))
        assert (lost.reason, lost.plugs["p1"].reason) == (reason, reason)


def test_restored_plug_has_no_reason_before_first_response() -> None:
    state = restore_plugs(StationState(), {"p1": "Plug 1", "p2": None})
    assert [(plug.reason, plug.label) for plug in state.plugs.values()] == [(None, "Plug 1"), (None, None)]
    good = advance(state, _OK, _RULES, at(30))
    assert [plug.reason for plug in good.plugs.values()] == [_ONLINE, Reason.MISSING]
    assert list(advance(good, _OK, _RULES, at(30 + FORGET_AFTER)).plugs) == ["p1"]


def test_restore_plugs_keeps_known_plugs_and_maximum() -> None:
    known = _after(_OK)
    assert restore_plugs(known, {"p1": "another label"}) is known
    many = restore_plugs(known, {f"q{index}": None for index in range(2 * MAX_PLUGS)})
    assert len(many.plugs) == MAX_PLUGS
    assert many.plugs["p1"] is known.plugs["p1"]


def test_response_without_label_keeps_last_label() -> None:
    for without in (None, ""):
        assert _after(_OK, reading(plug_reading(label=without))).plugs["p1"].label == "Plug 1"
    assert _after(_OK, reading(plug_reading(label="Left"))).plugs["p1"].label == "Left"


# When `time` and `state` are published


def _moving(wait: float, polls: int, heartbeat: float, plug: str = "p1") -> list[float]:
    """Return when `time` and `state` are published for a plug whose readings differ in their time alone."""
    state, published = StationState(), []
    for poll in range(polls):
        moment = at(poll * wait)
        moved = reading(plug_reading(plug, time=NOW + timedelta(seconds=poll * wait)))
        state = advance(state, moved, Rules(heartbeat=heartbeat), moment)
        if state.plugs[plug].last_published_at == moment.monotonic:
            assert state.plugs[plug].last_published_time == moved.plugs[0].time
            published.append(poll * wait)
    return published


@given(st.floats(1, 100), st.integers(1, 100), st.sampled_from([0.0, 5.0, 60.0]), st.text(min_size=1))
def test_changes_of_time_alone_are_published_once_per_heartbeat(
    wait: float, polls: int, heartbeat: float, plug: str
) -> None:
    published = _moving(wait, polls, heartbeat, plug)
    assert published[0] == 0
    longest = wait if wait >= heartbeat else heartbeat + wait
    assert all(later - earlier <= longest + 1e-6 for earlier, later in pairwise(published))
    assert len(published) <= 2 + polls * (wait / max(wait, heartbeat))


def test_poll_interval_equal_to_heartbeat_publishes_every_poll() -> None:
    assert len(_moving(60.0, 50, 60.0)) == 50


def test_heartbeats_of_stations_are_spread() -> None:
    seconds = Counter(int(_moving(1.0, 61, 60.0, f"{number:032x}")[1]) for number in range(600))
    assert all(sum(seconds[second] for second in range(start, start + 6)) >= 20 for start in range(1, 61, 6))


def test_plugs_of_station_share_their_heartbeats() -> None:
    """Also after one of them has been published in between, because its power has changed."""
    state, published = StationState(), []
    for second in range(180):
        power = 7107.0 if second < 100 else 3600.0
        plugs = (plug_reading("p1", time=at(second).utc), plug_reading("p2", time=at(second).utc, power=power))
        state = advance(state, reading(*plugs), Rules(heartbeat=60.0), at(second))
        now = at(second).monotonic
        published.append([uuid for uuid, plug in state.plugs.items() if plug.last_published_at == now])
    assert published[0] == ["p1", "p2"]
    assert published[100] == ["p2"]
    assert [plugs for plugs in published[1:100] + published[101:] if plugs] == [["p1", "p2"]] * 3


def test_unchanged_reading_is_not_published() -> None:
    first = _after(_OK)
    assert advance(first, _OK, _RULES, at(1000)).plugs["p1"].last_published_at == first.plugs["p1"].last_published_at


@pytest.mark.parametrize(
    "changed",
    [{"status": "idle"}, {"power": 7107.5}, {"power": None}, {"current_l3": 1.0}, {"label": "Left"}, {"status": None}],
)
def test_change_of_value_is_published_at_once(changed: dict[str, Any]) -> None:
    state = _after(_OK)
    other = plug_reading(time=NOW + timedelta(seconds=1), **changed)
    plug = advance(state, reading(other), _RULES, at(1)).plugs["p1"]
    assert (plug.last_published_at, plug.last_published_time) == (at(1).monotonic, other.time)


def test_change_of_reason_is_published_with_last_known_time() -> None:
    state = _after(_OK)
    moved = plug_reading(time=NOW + timedelta(seconds=10))
    unpublished = advance(state, reading(moved), Rules(heartbeat=3600), at(10))
    assert unpublished.plugs["p1"].last_published_time == NOW
    down = advance(unpublished, failure(Reason.UNAUTHORIZED), _RULES, at(20)).plugs["p1"]
    assert (down.last_published_at, down.last_published_time) == (at(20).monotonic, moved.time)
    assert replace(down, last_published_at=0.0).reading == moved
