"""What every engine of a fleet has to do, whatever it stores the fleet in."""

from typing import Any

from evse_mqtt_bridge.fleet.port import Engine, EngineAdministration, MemberRecord

__all__ = ["check_drain", "check_observer", "record"]


def record(name: str = "m1", **changes: Any) -> MemberRecord:  # noqa: ANN401  # any field
    fields = {"instance": f"{name}-1", "shards": 4, "digest": "abc", "version": "0.1.0", **changes}
    return MemberRecord(name, **fields)


async def check_observer(engine: Engine, observer: EngineAdministration) -> None:
    """Check that an observer sees member `m1`, which uses the engine, and does not become one."""
    assert (await observer.observe()).members == {}
    view = await engine.beat(record())
    claimed = await engine.claim(2)
    seen = await observer.observe()
    assert seen.members == view.members
    assert seen.holders == {2: claimed}
    assert seen.engine_id == view.engine_id


async def check_drain(engine: Engine, observer: EngineAdministration) -> None:
    """Check that a request to drain `m1` lasts until it is withdrawn, or until `m1` starts again."""
    assert not await observer.drain("m1", is_on=True)  # there is no such member
    await engine.beat(record())
    assert await observer.drain("m1", is_on=True)
    for _ in range(2):
        assert (await engine.beat(record())).drains == {"m1"}
    assert await observer.drain("m1", is_on=False)
    assert (await engine.beat(record())).drains == frozenset()
    await observer.drain("m1", is_on=True)
    await engine.leave()
    assert (await engine.beat(record(instance="m1-2"))).drains == frozenset()
