"""The schedule returns due keys, earliest first, within its rate and never before a hold ends."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from evse_mqtt_bridge.polling.schedule import DuePoll, Schedule
from evse_mqtt_bridge.polling.slots import Group, Slots

_keys = st.sampled_from(["a", "b", "c", "d"])
_times = st.integers(0, 40).map(float)


def _drain(schedule: Schedule, until: float, step: float = 0.001) -> list[tuple[float, str]]:
    """Return the keys with their times up to `until`, for a caller that waits as long as the schedule requires."""
    now, result = 0.0, []
    while now <= until:
        popped = schedule.pop(now)
        if popped is not None:
            result.append((round(now, 6), popped.key))
            continue
        wait = schedule.wait(now)
        if wait is None:
            break
        now += max(wait, step)
    return result


def test_pop_returns_earliest_then_first_added() -> None:
    schedule = Schedule()
    for key, due in (("late", 5.0), ("b", 1.0), ("a", 1.0), ("now", 0.0)):
        schedule.put(key, due)
    assert _drain(schedule, 10) == [(0, "now"), (1, "b"), (1, "a"), (5, "late")]


def test_pop_returns_due_time() -> None:
    schedule = Schedule()
    schedule.put("a", 3)
    assert schedule.pop(2.9) is None
    assert schedule.pop(10) == DuePoll("a", 3, Group.ANSWERING)
    assert schedule.pop(10) is None


def test_put_existing_key_changes_its_due_time() -> None:
    schedule = Schedule()
    schedule.put("a", 5)
    schedule.put("a", 2)
    schedule.put("b", 1)
    schedule.put("b", 7)
    assert _drain(schedule, 20) == [(2, "a"), (7, "b")]


def test_removed_key_is_not_returned_until_added_again() -> None:
    schedule = Schedule()
    schedule.put("a", 1)
    schedule.remove("a")
    schedule.remove("never")
    assert schedule.wait(0) is None
    assert schedule.pop(5) is None
    schedule.put("a", 8)
    assert _drain(schedule, 20) == [(8, "a")]


def test_hold_delays_all_keys_and_is_not_shortened() -> None:
    schedule = Schedule()
    schedule.put("a", 0)
    schedule.put("b", 12)
    schedule.hold(10)
    schedule.hold(5)
    assert schedule.wait(0) == 10
    assert _drain(schedule, 20) == [(10, "a"), (12, "b")]


@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0])
def test_rate_limits_number_of_keys_per_second(rate: float) -> None:
    schedule = Schedule(rate)
    for index in range(100):
        schedule.put(f"k{index}", 0)
    times = [at for at, _ in _drain(schedule, 1000, step=1e-6)]
    assert len(times) == 100
    head_start = 0.1 * rate + 1
    for index, at in enumerate(times):
        assert index + 1 <= rate * at + head_start + 1e-3
    assert times[-1] == pytest.approx(100 / rate, rel=0.1, abs=2 / rate), "and uses the full rate"


def test_late_timer_does_not_lower_the_rate() -> None:
    schedule = Schedule(100)
    for index in range(1000):
        schedule.put(f"k{index}", 0)
    popped, now = 0, 0.0
    while now < 5:
        while schedule.pop(now) is not None:
            popped += 1
        now += (schedule.wait(now) or 0) + 0.015  # a timer that is always 15 ms late
    assert popped == pytest.approx(500, rel=0.05)


def test_entries_do_not_grow_with_changed_due_times() -> None:
    schedule = Schedule()
    for number in range(10_000):
        schedule.put("a", number)
        schedule.pop(number)
        schedule.put("a", number + 1)
    assert schedule.entries < 10


def test_group_without_a_free_slot_is_passed_over() -> None:
    schedule = Schedule(slots=Slots(4))
    for number in range(4):
        schedule.put(f"dead{number}", number, Group.UNAVAILABLE)
    schedule.put("alive", 10, Group.ANSWERING)
    assert schedule.pop(20) == DuePoll("dead0", 0, Group.UNAVAILABLE)
    assert schedule.pop(20) == DuePoll("alive", 10, Group.ANSWERING)
    assert schedule.pop(20) is None
    assert schedule.wait(20) is None
    assert schedule.late(20) == 0
    assert schedule.end(Group.UNAVAILABLE, 20)
    assert schedule.late(22) == 2, "it waited for a slot before"
    assert schedule.pop(20) == DuePoll("dead1", 1, Group.UNAVAILABLE)


def test_group_below_its_guaranteed_share_has_precedence() -> None:
    schedule = Schedule(slots=Slots(8))
    for number in range(5):
        schedule.put(f"alive{number}", number, Group.ANSWERING)
    schedule.put("doubtful", 10, Group.DOUBTFUL)
    schedule.put("doubtful too", 11, Group.DOUBTFUL)
    schedule.put("suspect", 12, Group.SUSPECT)
    assert [due.key for _ in range(5) if (due := schedule.pop(10))] == ["doubtful", *(f"alive{n}" for n in range(4))]
    assert [due.key for _ in range(3) if (due := schedule.pop(12))] == ["suspect", "alive4", "doubtful too"]


def test_key_in_another_group_is_returned_once() -> None:
    schedule = Schedule()
    schedule.put("a", 5, Group.NEW)
    schedule.put("a", 6, Group.SUSPECT)
    assert schedule.pop(10) == DuePoll("a", 6, Group.SUSPECT)
    assert schedule.pop(10) is None


@dataclass
class _Naive:
    """A simple implementation for comparison."""

    due: dict[str, tuple[float, int]] = field(default_factory=dict)
    entered: int = 0
    held_until: float = 0.0

    def put(self, key: str, due: float) -> None:
        self.entered += 1
        self.due[key] = (due, self.entered)

    def first(self) -> tuple[str, float] | None:
        if not self.due:
            return None
        key = min(self.due, key=lambda name: self.due[name])
        return key, self.due[key][0]


_WITHOUT_PRECEDENCE = (Group.ANSWERING, Group.NEW, Group.UNAVAILABLE)
"""The groups whose polls are ordered by their due times."""


class ScheduleComparison(RuleBasedStateMachine):
    """Compares the schedule with the simple implementation, without a rate limit."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.naive, self.now = Schedule(), _Naive(), 0.0

    @rule(key=_keys, due=_times, group=st.sampled_from(_WITHOUT_PRECEDENCE))
    def put(self, key: str, due: float, group: Group) -> None:
        self.schedule.put(key, due, group)
        self.naive.put(key, due)

    @rule(key=_keys)
    def remove(self, key: str) -> None:
        self.schedule.remove(key)
        self.naive.due.pop(key, None)

    @rule(until=_times)
    def hold(self, until: float) -> None:
        self.schedule.hold(until)
        self.naive.held_until = max(self.naive.held_until, until)

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        first = self.naive.first()
        if first is not None and max(first[1], self.naive.held_until) > self.now:
            first = None
        popped = self.schedule.pop(self.now)
        assert (popped and (popped.key, popped.due)) == first
        if first is not None:
            del self.naive.due[first[0]]

    @invariant()
    def waits_are_equal(self) -> None:
        first = self.naive.first()
        expected = None if first is None else max(0.0, max(first[1], self.naive.held_until) - self.now)
        assert self.schedule.wait(self.now) == expected


TestScheduleComparison = ScheduleComparison.TestCase
TestScheduleComparison.settings = settings(max_examples=60, stateful_step_count=30)
