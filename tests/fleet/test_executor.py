"""What a member does with its shards after a view, and the events about them."""

import pytest

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.shards import Claim
from tests.fleet.fleets import GRACE
from tests.fleet.one_member import MemberTest


@pytest.fixture
def test() -> MemberTest:
    return MemberTest()


async def test_member_begins_free_shards_and_logs_each(test: MemberTest) -> None:
    await test.begin()
    assert test.log.lines == [
        events.EngineAvailable(0.0),
        events.ShardBegun(0, 0, ""),
        events.ShardBegun(1, 1, ""),
    ]
    assert test.runner.may_clear
    assert test.runner.published[1] == Claim(1, "m1", 2, "engine")


async def test_shards_of_a_lost_member_are_continued(test: MemberTest) -> None:
    test.other()
    test.memory.claim(1, "m2", test.now)
    await test.beat()
    test.memory.remove("m2")
    await test.beat()
    await test.beat(GRACE)
    assert test.runner.running.keys() == {0, 1}
    assert test.runner.continued == {1}
    assert test.log.lines[-1] == events.ShardBegun(1, 1, "m2")


async def test_engine_that_lost_its_data_does_not_lower_numbers(test: MemberTest) -> None:
    await test.begin()
    test.runner.published[0] = Claim(0, "m1", 50)
    test.runner.published[1] = Claim(1, "m2", 60)
    test.memory.empty()
    await test.beat()
    assert test.runner.running == {0: 50, 1: 61}
    assert test.runner.dropped == []
