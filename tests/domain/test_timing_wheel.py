"""Deadlines of keys: due once, within a second, and never before their time."""

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from evse_mqtt_bridge.domain.timing_wheel import TimingWheel

_keys = st.sampled_from("abcdef")


def test_key_is_due_within_a_second_of_its_deadline() -> None:
    wheel = TimingWheel()
    wheel.put("a", 10.25)
    assert not wheel.is_due(10.99)
    assert wheel.pop_due(11.0, 10) == ["a"]
    assert not wheel.is_due(1e9), "only once"


def test_key_with_deadline_on_a_second_is_due_after_it() -> None:
    """At its deadline itself a value is not yet too old."""
    wheel = TimingWheel()
    wheel.put("a", 10.0)
    assert wheel.pop_due(10.0, 10) == []
    assert wheel.pop_due(11.0, 10) == ["a"]


def test_put_keeps_the_earlier_deadline() -> None:
    wheel = TimingWheel()
    for deadline in (30.0, 20.5, 40.0, math.inf):
        wheel.put("a", deadline)
    assert wheel.pop_due(20.9, 10) == []
    assert wheel.pop_due(21.0, 10) == ["a"]
    assert wheel.pop_due(100.0, 10) == []


def test_pop_due_returns_at_most_limit_earliest_first() -> None:
    wheel = TimingWheel()
    for number in range(10):
        wheel.put(str(number), float(number // 4))
    assert wheel.pop_due(1.0, 3) == ["0", "1", "2"]
    assert wheel.is_due(1.0)
    assert wheel.pop_due(100.0, 5) == ["3", "4", "5", "6", "7"]
    assert wheel.pop_due(100.0, 5) == ["8", "9"]
    assert not wheel.is_due(100.0)


class WheelComparison(RuleBasedStateMachine):
    """Compares the wheel with a dictionary of deadlines."""

    def __init__(self) -> None:
        super().__init__()
        self.wheel = TimingWheel()
        self.deadlines: dict[str, float] = {}
        self.now = 0.0

    @rule(key=_keys, deadline=st.floats(-5, 60))
    def put(self, key: str, deadline: float) -> None:
        self.wheel.put(key, deadline)
        self.deadlines[key] = min(deadline, self.deadlines.get(key, math.inf))

    @rule(key=_keys)
    def remove(self, key: str) -> None:
        self.wheel.remove(key)
        self.deadlines.pop(key, None)

    @rule(seconds=st.floats(0, 10), limit=st.integers(1, 4))
    def wait_and_pop(self, seconds: float, limit: int) -> None:
        self.now += seconds
        due = self.wheel.pop_due(self.now, limit)
        assert len(due) == len(set(due)) <= limit
        assert all(self.deadlines.pop(key) < self.now for key in due)
        if len(due) < limit:
            assert all(deadline > self.now - 1 for deadline in self.deadlines.values()), "nothing is left behind"

    @invariant()
    def agrees(self) -> None:
        late = any(deadline < self.now - 1 for deadline in self.deadlines.values())
        assert self.wheel.is_due(self.now) or not late


TestWheelComparison = WheelComparison.TestCase
