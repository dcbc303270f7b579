"""Faults selected by a seed."""

from collections import Counter

import pytest

from evse_mqtt_bridge.simulator.faults import NO_FAULTS, Fault, Faults
from evse_mqtt_bridge.simulator.seeded_random import SeededRandom


def _select(faults: Faults, uuid: str = "a", count: int = 7000) -> list[Fault | None]:
    return [faults.of(uuid, number) for number in range(count)]


def test_faults_with_default_rate_selects_none() -> None:
    assert set(_select(NO_FAULTS)) == {None}


@pytest.mark.parametrize("rate", [0.05, 0.5, 1])
def test_faults_selects_configured_share_of_all_kinds(rate: float) -> None:
    selected = Counter(_select(Faults(rate=rate)))
    assert 7000 - selected.pop(None, 0) == pytest.approx(7000 * rate, rel=0.1)
    assert selected.keys() == set(Fault)
    assert max(selected.values()) < 1.6 * min(selected.values())


def test_faults_depend_on_seed_and_station_only() -> None:
    faults = Faults(seed=3, rate=0.5)
    assert _select(faults) == _select(Faults(seed=3, rate=0.5))
    assert _select(faults) != _select(Faults(seed=4, rate=0.5))
    assert _select(faults) != _select(faults, "b")


def test_seeded_random_has_known_values() -> None:
    seeded_random = SeededRandom(1, "visit", 2)
    assert [round(seeded_random.random(), 6) for _ in range(3)] == [0.356372, 0.728153, 0.20074]
    assert 6 <= seeded_random.uniform(6, 32) < 32
