"""Full republishes after birth messages: each is completed, they keep their spacing, and every birth leads to one."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.mqtt.births import Births


def test_first_birth_waits_for_its_share_of_the_spread() -> None:
    births = Births(spread=5, spacing=10)
    assert births.wait(100, is_republishing=False) is None
    births.received(100, 0.5)
    births.received(101, 0.9)
    assert births.wait(101, is_republishing=False) == 1.5
    assert births.wait(102.5, is_republishing=False) == 0
    births.republished()
    assert not births.is_pending
    assert births.wait(103, is_republishing=True) is None


def test_birth_during_a_republish_waits_until_it_is_done() -> None:
    births = Births(spread=5, spacing=10)
    births.received(100, 0)
    for second in range(100, 160):
        assert births.wait(second, is_republishing=True) == 1
    assert births.wait(160, is_republishing=False) == 9
    assert births.wait(169, is_republishing=False) == 0


@given(
    births_at=st.lists(st.floats(0, 300), min_size=1, max_size=300),
    chance=st.floats(0, 0.99),
    duration=st.floats(0.5, 60),
)
def test_births_at_any_time_let_each_republish_end(births_at: list[float], chance: float, duration: float) -> None:
    """Simulates a session whose full republish takes `duration`, in steps of a tenth of a second."""
    births, pending = Births(spread=5, spacing=10), sorted(births_at)
    begun = [0.0]
    for now in (step / 10 for step in itertools.count()):
        while pending and pending[0] <= now:
            births.received(now, chance)
            pending.pop(0)
        is_republishing = now < begun[-1] + duration
        if births.wait(now, is_republishing=is_republishing) == 0:
            assert not is_republishing
            births.republished()
            begun.append(now)
        if not pending and not births.is_pending:
            break
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun[1:])]
    assert len(begun) > 1, "each birth leads to a full republish"
    assert all(gap >= duration for gap in gaps)
    assert now <= max(births_at) + duration + 10 + 5 + 1


def test_births_without_end_leave_the_spacing_free() -> None:
    births, begun = Births(spread=5, spacing=10), [0.0]
    for now in range(1000):
        births.received(now, 0.5)
        if births.wait(now, is_republishing=now < begun[-1] + 20) == 0:
            births.republished()
            begun.append(now)
    assert {later - earlier for earlier, later in itertools.pairwise(begun)} == {29}
