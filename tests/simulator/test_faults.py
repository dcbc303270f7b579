from collections import Counter

import pytest

from evse_mqtt_bridge.simulator.faults import NO_FAULTS, Fault, Faults
from evse_mqtt_bridge.simulator.seeded_random import SeededRandom


def _drawn(faults: Faults, uuid: str = "a", count: int = 7000) -> list[Fault | None]:
    return [faults.of(uuid, number) for number in range(count)]


def test_none_are_faults_unless_asked() -> None:
    assert set(_drawn(NO_FAULTS)) == {None}


@pytest.mark.parametrize("rate", [0.05, 0.5, 1])
def test_the_share_of_faults_is_as_asked_and_mixed_evenly(rate: float) -> None:
    drawn = Counter(_drawn(Faults(rate=rate)))
    assert 7000 - drawn.pop(None, 0) == pytest.approx(7000 * rate, rel=0.1)
    assert drawn.keys() == set(Fault)
    assert max(drawn.values()) < 1.6 * min(drawn.values())


def test_faults_can_be_repeated() -> None:
    faults = Faults(seed=3, rate=0.5)
    assert _drawn(faults) == _drawn(Faults(seed=3, rate=0.5))
    assert _drawn(faults) != _drawn(Faults(seed=4, rate=0.5))
    assert _drawn(faults) != _drawn(faults, "b")


def test_dice_are_the_same_on_every_machine() -> None:
    seeded_random = SeededRandom(1, "visit", 2)
    assert [round(seeded_random.roll(), 6) for _ in range(3)] == [0.356372, 0.728153, 0.20074]
    assert 6 <= seeded_random.between(6, 32) < 32
