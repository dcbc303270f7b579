"""What is known of a station after each poll: its reason, its plugs, and what of it is said."""

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
    MAX_PLUGS,
    Rules,
    advance,
    remember,
)
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason, StationState
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
    """The station's reason after each poll."""
    return [_after(*polls[: count + 1], rules=rules).reason for count in range(len(polls))]


# The station


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.RATE_LIMITED])
def test_a_failure_that_may_pass_counts_only_when_it_stays(reason: Reason) -> None:
    lost = failure(reason)
    assert _reasons(_OK, lost, lost, lost, lost, _OK) == [_ONLINE, _ONLINE, _ONLINE, reason, reason, _ONLINE]
    assert _reasons(lost, lost, lost) == [None, None, reason], "nothing is known before enough polls told"


@pytest.mark.parametrize("reason", [Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.INVALID_RESPONSE])
def test_a_failure_that_asking_again_would_not_change_counts_at_once(reason: Reason) -> None:
    assert _reasons(_OK, failure(reason), _OK) == [_ONLINE, reason, _ONLINE]
    assert _reasons(failure(reason)) == [reason]


def test_misses_count_in_a_row_and_the_last_one_names_the_reason() -> None:
    lost, busy = failure(_UNREACHABLE), failure(_SERVER_ERROR)
    assert _reasons(_OK, lost, lost, _OK, lost, lost)[-1] is _ONLINE
    assert _reasons(_OK, lost, lost, busy)[-1] is _SERVER_ERROR
    assert [_after(_OK, *[lost] * count).consecutive_failures for count in range(5)] == [0, 1, 2, 3, 4]
    assert _after(lost, lost, _OK).consecutive_failures == 0


def test_the_reason_of_a_station_that_is_down_follows_the_failures() -> None:
    polls = [failure(Reason.UNAUTHORIZED), failure(_UNREACHABLE), failure(Reason.NOT_FOUND), failure(_SERVER_ERROR)]
    assert _reasons(_OK, *polls)[1:] == [Reason.UNAUTHORIZED, _UNREACHABLE, Reason.NOT_FOUND, _SERVER_ERROR]


def test_how_many_misses_make_a_station_unavailable_is_a_setting() -> None:
    lost = failure(_UNREACHABLE)
    assert _reasons(_OK, lost, rules=Rules(offline_after=1)) == [_ONLINE, _UNREACHABLE]
    assert _reasons(_OK, *[lost] * 5, rules=Rules(offline_after=5))[-2:] == [_ONLINE, _UNREACHABLE]


@given(st.lists(outcomes, max_size=8))
def test_a_failure_changes_no_measurement(polls: list[Outcome]) -> None:
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
def test_a_plugs_status_may_make_it_unavailable(status: str | None, reason: Reason) -> None:
    state = _after(_OK, reading(plug_reading(status=status)), reading(plug_reading(status=status)), _OK)
    assert state.plugs["p1"].reason is _ONLINE
    told = _after(_OK, reading(plug_reading(status=status)))
    assert (told.reason, told.plugs["p1"].reason) == (_ONLINE, reason)


def test_plugs_follow_their_station_down_and_come_back_by_themselves() -> None:
    two = reading(plug_reading("p1"), plug_reading("p2", status="offline"))
    lost = failure(_UNREACHABLE)
    down = _after(two, lost, lost, lost)
    assert [plug.reason for plug in down.plugs.values()] == [_UNREACHABLE, _UNREACHABLE]
    back = _after(two, lost, lost, lost, two)
    assert [plug.reason for plug in back.plugs.values()] == [_ONLINE, Reason.OFFLINE]


def test_a_plug_that_an_answer_lacks_is_missing_until_it_is_there_again() -> None:
    both, one = reading(plug_reading("p1"), plug_reading("p2")), reading(plug_reading("p1"))
    gone = _after(both, one)
    assert [plug.reason for plug in gone.plugs.values()] == [_ONLINE, Reason.MISSING]
    assert gone.plugs["p2"].reading == plug_reading("p2"), "its last values stay"
    assert [plug.reason for plug in _after(both, one, one, both).plugs.values()] == [_ONLINE, _ONLINE]


def test_a_plug_that_stays_away_for_a_day_is_taken_for_removed() -> None:
    state = _after(reading(plug_reading("p1"), plug_reading("p2")), _OK, every=10)
    just_before = advance(state, _OK, _RULES, at(10 + FORGET_AFTER - 0.1))
    assert list(just_before.plugs) == ["p1", "p2"]
    assert list(advance(just_before, _OK, _RULES, at(10 + FORGET_AFTER)).plugs) == ["p1"]
    seen = advance(just_before, reading(plug_reading("p1"), plug_reading("p2")), _RULES, at(10 + FORGET_AFTER))
    assert list(advance(seen, _OK, _RULES, at(20 + FORGET_AFTER)).plugs) == ["p1", "p2"], "the day begins anew"


def test_an_outage_of_a_day_removes_no_plug() -> None:
    """Only answers tell that a plug is missing: the first after an outage must not finish a day of silence."""
    state = _after(reading(plug_reading("p1"), plug_reading("p2")), _OK, *[failure(_UNREACHABLE)] * 3)
    state = advance(state, _OK, _RULES, at(2 * FORGET_AFTER))
    assert state.plugs["p2"].reason is Reason.MISSING
    assert list(advance(state, _OK, _RULES, at(3 * FORGET_AFTER)).plugs) == ["p1"]


def test_a_new_plug_is_taken_in_up_to_a_bound() -> None:
    state = _after(_OK, reading(plug_reading("p1"), plug_reading("p2")))
    assert state.plugs["p2"].reason is _ONLINE
    many = [plug_reading(f"q{index}") for index in range(MAX_PLUGS + 5)]
    assert list(_after(reading(*many)).plugs) == [f"q{index}" for index in range(MAX_PLUGS)]
    full = _after(reading(*many), reading(*many[:1], plug_reading("late")))
    assert len(full.plugs) == MAX_PLUGS
    assert "late" not in full.plugs


def test_an_object_that_is_wrong_harms_a_known_plug_alone() -> None:
    both = reading(plug_reading("p1"), plug_reading("p2"))
    wrong = reading(plug_reading("p1"), invalid=["p2", "never-seen"])
    state = _after(both, wrong)
    assert [plug.reason for plug in state.plugs.values()] == [_ONLINE, Reason.INVALID_RESPONSE]
    assert state.plugs["p2"].reading == plug_reading("p2")
    assert [plug.reason for plug in _after(both, wrong, both).plugs.values()] == [_ONLINE, _ONLINE]


def test_missing_and_wrong_follow_each_other() -> None:
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
def test_a_measurement_is_believed_up_to_the_limit_and_not_from_the_future(age: float, reason: Reason) -> None:
    old = reading(plug_reading(time=NOW - timedelta(seconds=age)))
    assert advance(StationState(), old, _RULES, at(0)).plugs["p1"].reason is reason
    assert advance(StationState(), old, Rules(stale_after=0), at(0)).plugs["p1"].reason is _ONLINE


def test_a_plug_grows_stale_while_its_time_stands_still_and_recovers_when_it_moves() -> None:
    state = advance(StationState(), _OK, _RULES, at(0))
    state = advance(state, _OK, _RULES, at(1201))
    assert state.plugs["p1"].reason is Reason.STALE
    lost = advance(state, failure(_UNREACHABLE), _RULES, at(1231))
    assert lost.plugs["p1"].reason is Reason.STALE, "a single miss changes nothing"
    moved = reading(plug_reading(time=NOW + timedelta(seconds=1250)))
    assert advance(lost, moved, _RULES, at(1261)).plugs["p1"].reason is _ONLINE


def test_a_plug_grows_stale_while_polls_are_missed() -> None:
    state = advance(StationState(), _OK, _RULES, at(0))
    state = advance(state, failure(_UNREACHABLE), _RULES, at(1300))
    assert (state.reason, state.plugs["p1"].reason) == (_ONLINE, Reason.STALE)


def test_a_reading_without_a_time_is_not_stale() -> None:
    assert _after(reading(plug_reading(time=None))).plugs["p1"].reason is _ONLINE


def test_of_several_reasons_the_first_in_order_is_told() -> None:
    stale_and_offline = plug_reading("p2", status="offline", time=NOW - timedelta(days=1))
    state = _after(reading(plug_reading("p1"), stale_and_offline))
    assert state.plugs["p2"].reason is Reason.OFFLINE
    assert _after(reading(plug_reading("p1"), stale_and_offline), _OK).plugs["p2"].reason is Reason.MISSING
    wrong = _after(reading(plug_reading("p1"), stale_and_offline), reading(plug_reading("p1"), invalid=["p2"]))
    assert wrong.plugs["p2"].reason is Reason.INVALID_RESPONSE
    down = _after(reading(plug_reading("p1"), stale_and_offline), failure(Reason.UNAUTHORIZED))
    assert down.plugs["p2"].reason is Reason.UNAUTHORIZED


# What an earlier life knew


def test_a_first_failure_tells_of_plugs_that_an_earlier_life_left_as_they_were() -> None:
    """Their old values would count as live otherwise: until polls failed often enough, or for hours without any."""
    fresh = advance(StationState(), failure(_UNREACHABLE), _RULES, at(0))
    assert fresh.reason is None
    state = remember(StationState(), {"p1": "Plug 1"})
    for reason in (_UNREACHABLE, Reason.RATE_LIMITED, Reason.SERVER_ERROR):
        lost = advance(state, failure(reason), _RULES, at(0))
        assert (lost.reason, lost.plugs["p1"].reason) == (reason, reason)


def test_a_remembered_plug_tells_nothing_until_the_station_does() -> None:
    state = remember(StationState(), {"p1": "Plug 1", "p2": None})
    assert [(plug.reason, plug.label) for plug in state.plugs.values()] == [(None, "Plug 1"), (None, None)]
    good = advance(state, _OK, _RULES, at(30))
    assert [plug.reason for plug in good.plugs.values()] == [_ONLINE, Reason.MISSING]
    assert list(advance(good, _OK, _RULES, at(30 + FORGET_AFTER)).plugs) == ["p1"]


def test_remembering_changes_nothing_that_is_known_and_keeps_to_the_bound() -> None:
    known = _after(_OK)
    assert remember(known, {"p1": "another label"}) is known
    many = remember(known, {f"q{index}": None for index in range(2 * MAX_PLUGS)})
    assert len(many.plugs) == MAX_PLUGS
    assert many.plugs["p1"] is known.plugs["p1"]


def test_the_last_label_stays_when_an_answer_has_none() -> None:
    for without in (None, ""):
        assert _after(_OK, reading(plug_reading(label=without))).plugs["p1"].label == "Plug 1"
    assert _after(_OK, reading(plug_reading(label="Left"))).plugs["p1"].label == "Left"


# When `time` and `state` are said


def _moving(wait: float, polls: int, heartbeat: float, plug: str = "p1") -> list[float]:
    """When `time` and `state` of a plug were said whose answers differ in the measurement time alone."""
    state, said = StationState(), []
    for poll in range(polls):
        moment = at(poll * wait)
        moved = reading(plug_reading(plug, time=NOW + timedelta(seconds=poll * wait)))
        state = advance(state, moved, Rules(heartbeat=heartbeat), moment)
        if state.plugs[plug].last_published_at == moment.monotonic:
            assert state.plugs[plug].last_published_time == moved.plugs[0].time
            said.append(poll * wait)
    return said


@given(st.floats(1, 100), st.integers(1, 100), st.sampled_from([0.0, 5.0, 60.0]), st.text(min_size=1))
def test_while_only_time_moves_it_is_said_once_per_heartbeat(
    wait: float, polls: int, heartbeat: float, plug: str
) -> None:
    said = _moving(wait, polls, heartbeat, plug)
    assert said[0] == 0
    longest = wait if wait >= heartbeat else heartbeat + wait
    assert all(later - earlier <= longest + 1e-6 for earlier, later in pairwise(said))
    assert len(said) <= 2 + polls * (wait / max(wait, heartbeat))


def test_a_poll_that_comes_once_per_heartbeat_is_always_said() -> None:
    assert len(_moving(60.0, 50, 60.0)) == 50


def test_plugs_that_began_together_have_their_heartbeats_apart() -> None:
    seconds = Counter(int(_moving(1.0, 61, 60.0, f"{number:032x}")[1]) for number in range(600))
    assert all(sum(seconds[second] for second in range(start, start + 6)) >= 20 for start in range(1, 61, 6))


def test_nothing_is_said_while_nothing_moves() -> None:
    first = _after(_OK)
    assert advance(first, _OK, _RULES, at(1000)).plugs["p1"].last_published_at == first.plugs["p1"].last_published_at


@pytest.mark.parametrize(
    "changed",
    [{"status": "idle"}, {"power": 7107.5}, {"power": None}, {"current_l3": 1.0}, {"label": "Left"}, {"status": None}],
)
def test_any_other_change_is_said_at_once(changed: dict[str, Any]) -> None:
    state = _after(_OK)
    other = plug_reading(time=NOW + timedelta(seconds=1), **changed)
    plug = advance(state, reading(other), _RULES, at(1)).plugs["p1"]
    assert (plug.last_published_at, plug.last_published_time) == (at(1).monotonic, other.time)


def test_a_change_of_the_reason_is_said_with_the_time_that_is_known() -> None:
    state = _after(_OK)
    moved = plug_reading(time=NOW + timedelta(seconds=10))
    quiet = advance(state, reading(moved), Rules(heartbeat=3600), at(10))
    assert quiet.plugs["p1"].last_published_time == NOW
    down = advance(quiet, failure(Reason.UNAUTHORIZED), _RULES, at(20)).plugs["p1"]
    assert (down.last_published_at, down.last_published_time) == (at(20).monotonic, moved.time)
    assert replace(down, last_published_at=0.0).reading == moved
