"""Values become too old without a poll, and the order of a failure and of restored plugs does not matter."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import (
    FUTURE_TOLERANCE,
    Moment,
    Rules,
    advance,
    age,
    next_change,
)
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason, StationState
from evse_mqtt_bridge.domain.plugs import restore_plugs
from tests.harness.samples import NOW, at, failure, outcomes, plug_reading, reading

_RULES = Rules(stale_after=60)
_NEVER = float("inf")
_OLD = plug_reading("old", time=NOW - timedelta(seconds=50))
_UNREACHABLE = failure(Reason.UNREACHABLE)


def _new() -> StationState:
    return StationState(confirmed_at=at(0).monotonic)


def _reasons(state: StationState) -> dict[str, Reason | None]:
    return {uuid: plug.reason for uuid, plug in state.plugs.items()}


def test_age_after_limit_makes_plug_stale() -> None:
    state = advance(_new(), reading(_OLD, plug_reading("new")), _RULES, at(0))
    assert age(state, _RULES, at(5)) is state
    later = age(state, _RULES, at(20))
    assert _reasons(later) == {"old": Reason.STALE, "new": Reason.ONLINE}
    assert later.reason is Reason.ONLINE


def test_age_without_measurement_time_counts_from_response() -> None:
    state = advance(_new(), reading(plug_reading(time=None)), _RULES, at(100))
    assert age(state, _RULES, at(160)) is state
    assert _reasons(age(state, _RULES, at(161))) == {"p1": Reason.STALE}
    confirmed = advance(state, reading(plug_reading(time=None)), _RULES, at(150))
    assert age(confirmed, _RULES, at(210)) is confirmed


def test_age_of_restored_plugs_counts_from_the_start() -> None:
    state = restore_plugs(_new(), {"p1": "Plug 1"})
    assert age(state, _RULES, at(60)) is state
    later = age(state, _RULES, at(61))
    assert (later.reason, _reasons(later)) == (None, {"p1": Reason.STALE})
    assert age(state, Rules(stale_after=0), at(1e6)) is state
    assert _reasons(advance(later, reading(plug_reading(time=at(62).utc)), _RULES, at(62))) == {"p1": Reason.ONLINE}
    assert _reasons(advance(later, _UNREACHABLE, _RULES, at(62))) == {"p1": Reason.UNREACHABLE}


def test_age_of_plug_from_the_future_makes_it_available() -> None:
    ahead = FUTURE_TOLERANCE + timedelta(seconds=10)
    state = advance(_new(), reading(plug_reading(time=NOW + ahead)), _RULES, at(0))
    assert _reasons(state) == {"p1": Reason.STALE}
    assert next_change(state, _RULES, at(0)) == at(10).monotonic
    assert _reasons(age(state, _RULES, at(10))) == {"p1": Reason.ONLINE}


_STEPS: dict[str, Callable[[StationState], StationState]] = {
    "fail": lambda state: advance(state, _UNREACHABLE, _RULES, at(1)),
    "restore": lambda state: restore_plugs(state, {"p1": "Plug 1"}),
    "age": lambda state: age(state, _RULES, at(1)),
}


@pytest.mark.parametrize("order", list(permutations(_STEPS)), ids=" ".join)
def test_failure_and_restored_plugs_count_in_any_order(order: tuple[str, ...]) -> None:
    state = _new()
    for step in (*order, "age"):
        state = _STEPS[step](state)
    assert (state.reason, _reasons(state)) == (Reason.UNREACHABLE, {"p1": Reason.UNREACHABLE})
    assert state.failure == _UNREACHABLE


def test_restored_plugs_of_an_answering_station_wait_for_a_poll() -> None:
    state = restore_plugs(advance(_new(), reading(), _RULES, at(0)), {"gone": "Plug 2"})
    assert age(state, _RULES, at(1)) is state
    assert _reasons(age(state, _RULES, at(61))) == {"p1": Reason.STALE, "gone": Reason.STALE}


def test_next_change_of_a_state_that_only_a_poll_changes() -> None:
    down = advance(_new(), failure(Reason.UNAUTHORIZED), _RULES, at(0))
    stale = advance(_new(), reading(_OLD), _RULES, at(20))
    online = advance(_new(), reading(), _RULES, at(0))
    assert [next_change(state, _RULES, at(20)) for state in (_new(), down, stale)] == [_NEVER] * 3
    assert next_change(online, Rules(stale_after=0), at(20)) == _NEVER


@given(
    st.lists(st.tuples(outcomes, st.floats(0, 100)), max_size=6),
    st.booleans(),
    st.sampled_from([0.0, 1.0, 60.0, 1200.0]),
    st.floats(0, 3000),
)
def test_age_changes_nothing_before_next_change(
    polls: list[tuple[Outcome, float]], restored: bool, stale_after: float, wait: float
) -> None:
    rules = Rules(stale_after=stale_after)
    state, now = _new(), 0.0
    if restored:
        state = restore_plugs(state, {"p1": "Plug 1", "p9": None})
    for outcome, pause in polls:
        now += pause
        state = advance(state, outcome, rules, at(now))
    change = next_change(state, rules, at(now))
    if at(now + wait).monotonic < change - 1e-3:
        assert age(state, rules, at(now + wait)) is state


@given(st.lists(outcomes, max_size=6), st.floats(0, 3000))
def test_age_equals_a_poll_without_a_new_value(polls: list[Outcome], wait: float) -> None:
    """Time alone gives a plug the reason that it would have after another failure that does not count yet."""
    rules = Rules(stale_after=60, offline_after=100)
    state = _new()
    for number, outcome in enumerate(polls):
        state = advance(state, outcome, rules, at(number * 10))
    moment: Moment = at(len(polls) * 10 + wait)
    failed = advance(state, Failure(Reason.UNREACHABLE), rules, moment)
    if failed.reason is state.reason:
        assert _reasons(age(state, rules, moment)) == _reasons(failed)
    assert replace(age(state, rules, moment), plugs={}) == replace(state, plugs={}), "the station itself does not age"
