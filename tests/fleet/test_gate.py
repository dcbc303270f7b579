"""When a shard may connect to the broker, with and without an answer of the engine."""

import pytest

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.port import EngineUnavailableError, Holder
from tests.fleet.one_member import MemberTest


@pytest.fixture
def test() -> MemberTest:
    return MemberTest()


async def test_lost_claim_stops_a_shard_without_a_message(test: MemberTest) -> None:
    await test.begin()
    test.other()
    test.memory.holders[0] = Holder("m2", 9)
    assert not await test.member.may_connect(0)
    assert await test.member.may_connect(1)
    await test.beat()
    assert test.runner.dropped == [0]
    assert test.log.lines[-1] == events.ShardLost(0, 0, "m2")
    assert not await test.member.may_connect(0)


async def test_later_holder_on_the_broker_fences_without_engine(test: MemberTest) -> None:
    """Neither member reaches the engine; the broker shows who was the last to get the shard."""
    await test.begin()
    test.engine.error = EngineUnavailableError("no answer")
    await test.beat()
    test.runner.published[0] = Claim(0, "m2", 7)
    assert not await test.member.may_connect(0)
    assert await test.member.may_connect(1)
    await test.beat()
    assert test.runner.dropped == [0]
    assert events.ShardLost(0, 0, "m2") in test.log.lines, "not m1, the holder in the last view"
    assert 0 not in test.runner.running
    test.engine.error = None
    await test.beat()
    assert test.runner.running[0] == 8, "the engine has decided, and the number exceeds that of the other"


async def test_fence_during_a_beat_ends_with_its_view(test: MemberTest) -> None:
    await test.begin()
    test.runner.published[0] = Claim(0, "m2", 7)
    test.engine.connecting = [0]
    for _ in range(2):
        await test.beat()
    assert test.runner.dropped == [], "the engine has confirmed the shard"
    assert test.runner.running[0] == 8


async def test_earlier_holder_on_the_broker_does_not_fence(test: MemberTest) -> None:
    await test.begin()
    test.engine.error = EngineUnavailableError("no answer")
    test.runner.published[1] = Claim(1, "m2", 1)
    assert await test.member.may_connect(1)


async def test_connection_of_the_member_comes_before_shards(test: MemberTest) -> None:
    await test.begin()
    test.runner.is_link_current = False
    assert not await test.member.may_connect(0)
    test.runner.is_link_expected = False  # the broker refuses it
    assert await test.member.may_connect(0)
    test.engine.error = EngineUnavailableError("no answer")
    assert not await test.member.may_connect(0), "nobody knows who holds the shard"
