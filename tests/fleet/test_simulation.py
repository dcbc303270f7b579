"""Single failures of a large fleet, one after the other, in virtual time."""

import random
from collections import Counter

import pytest

from evse_mqtt_bridge.domain.shards import shard_of
from tests.fleet.simulation import Simulation

_STATIONS = Counter(shard_of(f"station-{number}", 16) for number in range(100_000))
_PER_SHARD = [_STATIONS[shard] for shard in range(16)]
_NAMES = ("m1", "m2", "m3", "m4", "m5")
_CALM = 150.0
"""Seconds after which all moves of balance are over."""

_GAP_LIMIT = 30.0
_SILENCE_LIMIT = 35.0
"""Seconds without a value, also if one member is cut off from the broker alone, which polls in vain meanwhile."""


async def _fleet() -> Simulation:
    simulation = Simulation(_NAMES, _PER_SHARD)
    await simulation.run(_CALM)
    assert simulation.is_calm
    simulation.reset()
    return simulation


def _assert_undisturbed(simulation: Simulation, kind: str) -> None:
    """No station waited for long, none was `offline`, and no two members disconnected each other again and again."""
    assert simulation.is_calm
    assert max(simulation.longest_gap.values()) <= _GAP_LIMIT
    assert not kind or max(simulation.longest_silence.values()) <= _SILENCE_LIMIT, kind
    assert simulation.broker.offline == []
    for changes in simulation.broker.changes.values():
        returns = [member for _, member in changes]
        assert len(returns) <= 4, changes
    running = [len(member.running) for member in simulation.members.values()]
    assert max(running) - min(running) <= 1
    stations = sum(_PER_SHARD[shard] for member in simulation.members.values() for shard in member.running)
    assert stations == 100_000


@pytest.mark.parametrize("seed", range(2))
async def test_single_failures_heal_within_30_s(seed: int) -> None:
    simulation, chance = await _fleet(), random.Random(seed)  # noqa: S311  # repeatable
    for number in range(10):
        kind = await _fail(simulation, chance, number + 2)
        await simulation.run(_CALM)
        _assert_undisturbed(simulation, "" if kind == "no broker" else kind)
        simulation.reset()
    await simulation.run(300)
    assert simulation.broker.changes == {}, "a shard moved in vain"


async def _fail(simulation: Simulation, chance: random.Random, instance: int) -> str:
    """Inject a failure of a member, the engine or the broker, and repair it; return its kind."""
    name, seconds = chance.choice(_NAMES), chance.uniform(1, 60)
    member = simulation.members[name]
    kind = chance.choice(("kill", "freeze", "engine", "broker", "both", "frozen engine", "empty engine", "no broker"))
    match kind:
        case "kill":
            simulation.kill(name)
            await simulation.run(seconds)
            simulation.start(name, instance=instance)
        case "freeze":
            member.is_frozen = True
            await simulation.run(seconds)
            member.is_frozen = False
        case "engine":
            member.has_engine = False
            await simulation.run(seconds)
            member.has_engine = True
        case "broker":
            member.has_broker = False
            await simulation.run(seconds)
            member.has_broker = True
        case "both":
            member.has_engine = member.has_broker = False
            await simulation.run(seconds)
            member.has_engine = member.has_broker = True
        case "frozen engine":
            simulation.engine.is_frozen = True
            await simulation.run(seconds)
            simulation.engine.is_frozen = False
        case "empty engine":
            simulation.engine.empty()
        case "no broker":
            simulation.broker.is_up = False
            await simulation.run(seconds)
            simulation.broker.restart()
            simulation.broker.is_up = True
    return kind


async def test_all_members_lost_but_one_leave_it_everything() -> None:
    simulation = await _fleet()
    for name in _NAMES[1:]:
        simulation.kill(name)
    await simulation.run(_GAP_LIMIT)
    assert len(simulation.members["m1"].running) == 16
    await simulation.run(_CALM)
    assert max(simulation.longest_gap.values()) <= _GAP_LIMIT
    assert simulation.broker.offline == []


async def test_members_without_engine_do_not_fight_about_shards() -> None:
    """One is cut off from everything; another gets its shards; then nobody reaches the engine."""
    simulation = await _fleet()
    lost = simulation.members["m1"]
    shards = set(lost.running)
    lost.has_engine = lost.has_broker = False
    await simulation.run(_GAP_LIMIT)
    for member in simulation.members.values():
        member.has_engine = False
    lost.has_broker = True
    simulation.reset()
    await simulation.run(_CALM)
    assert not shards & simulation.broker.changes.keys(), "the broker shows that others are the later holders"
    assert not shards & lost.running.keys()
