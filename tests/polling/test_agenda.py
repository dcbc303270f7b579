"""The agenda hands out who is due, earliest first, as often as its rate allows, and never before a hold ends."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from evse_mqtt_bridge.polling.schedule import Schedule

_keys = st.sampled_from(["a", "b", "c", "d"])
_times = st.integers(0, 40).map(float)


def _drain(agenda: Schedule, until: float, step: float = 0.001) -> list[tuple[float, str]]:
    """Who comes when, up to `until`, for someone who waits as long as the agenda says."""
    now, out = 0.0, []
    while now <= until:
        got = agenda.pop(now)
        if got is not None:
            out.append((round(now, 6), got[0]))
            continue
        wait = agenda.wait(now)
        if wait is None:
            break
        now += max(wait, step)
    return out


def test_the_earliest_comes_first_and_those_of_one_time_in_the_order_of_entering() -> None:
    agenda = Schedule()
    for key, due in (("late", 5.0), ("b", 1.0), ("a", 1.0), ("now", 0.0)):
        agenda.put(key, due)
    assert _drain(agenda, 10) == [(0, "now"), (1, "b"), (1, "a"), (5, "late")]


def test_who_is_handed_out_is_told_since_when_it_was_due() -> None:
    agenda = Schedule()
    agenda.put("a", 3)
    assert agenda.pop(2.9) is None
    assert agenda.pop(10) == ("a", 3)
    assert agenda.pop(10) is None


def test_a_key_is_there_once_and_may_be_moved_either_way() -> None:
    agenda = Schedule()
    agenda.put("a", 5)
    agenda.put("a", 2)
    agenda.put("b", 1)
    agenda.put("b", 7)
    assert _drain(agenda, 20) == [(2, "a"), (7, "b")]


def test_a_removed_key_does_not_come_and_may_come_back() -> None:
    agenda = Schedule()
    agenda.put("a", 1)
    agenda.remove("a")
    agenda.remove("never")
    assert agenda.wait(0) is None
    assert agenda.pop(5) is None
    agenda.put("a", 8)
    assert _drain(agenda, 20) == [(8, "a")]


def test_a_hold_keeps_everything_back_and_a_shorter_one_does_not_lift_it() -> None:
    agenda = Schedule()
    agenda.put("a", 0)
    agenda.put("b", 12)
    agenda.hold(10)
    agenda.hold(5)
    assert agenda.wait(0) == 10
    assert _drain(agenda, 20) == [(10, "a"), (12, "b")]


@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0])
def test_the_rate_bounds_what_is_handed_out(rate: float) -> None:
    agenda = Schedule(rate)
    for index in range(100):
        agenda.put(f"k{index}", 0)
    times = [at for at, _ in _drain(agenda, 1000, step=1e-6)]
    assert len(times) == 100
    head_start = 0.1 * rate + 1
    for index, at in enumerate(times):
        assert index + 1 <= rate * at + head_start + 1e-3
    assert times[-1] == pytest.approx(100 / rate, rel=0.1, abs=2 / rate), "and no slower than it says"


def test_a_timer_that_fires_late_does_not_lower_the_rate() -> None:
    agenda = Schedule(100)
    for index in range(1000):
        agenda.put(f"k{index}", 0)
    got, now = 0, 0.0
    while now < 5:
        while agenda.pop(now) is not None:
            got += 1
        now += (agenda.wait(now) or 0) + 0.015  # a timer that is always 15 ms late
    assert got == pytest.approx(500, rel=0.05)


def test_the_heap_does_not_grow_with_what_was_moved() -> None:
    agenda = Schedule()
    for turn in range(10_000):
        agenda.put("a", turn)
        agenda.pop(turn)
        agenda.put("a", turn + 1)
    assert len(agenda._heap) < 10


@dataclass
class _Naive:
    """What an agenda is, said as plainly as can be."""

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


class AgendaAgainstANaiveOne(RuleBasedStateMachine):
    """Without a rate, which the tests above hold to its own bound."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda, self.naive, self.now = Schedule(), _Naive(), 0.0

    @rule(key=_keys, due=_times)
    def put(self, key: str, due: float) -> None:
        self.agenda.put(key, due)
        self.naive.put(key, due)

    @rule(key=_keys)
    def remove(self, key: str) -> None:
        self.agenda.remove(key)
        self.naive.due.pop(key, None)

    @rule(until=_times)
    def hold(self, until: float) -> None:
        self.agenda.hold(until)
        self.naive.held_until = max(self.naive.held_until, until)

    @rule(seconds=st.integers(0, 5))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        first = self.naive.first()
        if first is not None and max(first[1], self.naive.held_until) > self.now:
            first = None
        assert self.agenda.pop(self.now) == first
        if first is not None:
            del self.naive.due[first[0]]

    @invariant()
    def both_know_how_long_to_wait(self) -> None:
        first = self.naive.first()
        expected = None if first is None else max(0.0, max(first[1], self.naive.held_until) - self.now)
        assert self.agenda.wait(self.now) == expected


TestAgendaAgainstANaiveOne = AgendaAgainstANaiveOne.TestCase
TestAgendaAgainstANaiveOne.settings = settings(max_examples=60, stateful_step_count=30)
