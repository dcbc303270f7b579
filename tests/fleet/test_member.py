"""The member loop: what follows from a view, outages of the engine, conflicts, and the end."""

import asyncio

import pytest

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError, MemberRecord, View
from evse_mqtt_bridge.support.errors import ConfigError
from tests.fleet.fleets import BEAT
from tests.fleet.one_member import MemberTest


@pytest.fixture
def test() -> MemberTest:
    return MemberTest()


async def test_fleet_with_another_engine_is_reported(test: MemberTest) -> None:
    await test.begin()
    for number in range(6):
        test.runner.published[0] = Claim(0, "x1", 100 + number, "other")
        await test.beat()
    detail = "another fleet with another engine uses the same client id"
    assert test.log.lines[-1] == events.FleetConflictChanged(detail)
    for _ in range(8):
        test.runner.published[0] = Claim(0, "m1", 200, "engine")
        await test.beat()
    assert test.log.lines[-1] == events.FleetConflictChanged("")


async def test_replaced_engine_is_no_other_fleet(test: MemberTest) -> None:
    test.runner.published[0] = Claim(0, "lost", 100, "old")
    await test.begin_any()
    test.runner.published[0] = Claim(0, "lost", 100, "old")  # the session has not connected yet
    await test.beat()
    test.runner.published[0] = Claim(0, "m1", 101, "engine")
    await test.beat()
    assert not [line for line in test.log.lines if isinstance(line, events.FleetConflictChanged)]


async def test_member_that_drains_names_the_successor(test: MemberTest) -> None:
    await test.begin()
    test.other()
    await test.member.drain()
    assert test.runner.handed_over == [0, 1]
    assert test.log.lines[-1] == events.ShardHandedOver(1, 1, "m2")
    assert {holder.member for holder in test.memory.holders.values()} == {"m2"}
    await test.member.leave()
    assert test.memory.members.keys() == {"m2"}


async def test_member_alone_keeps_its_shards_until_it_leaves(test: MemberTest) -> None:
    await test.begin()
    await test.member.drain()
    assert test.runner.running.keys() == {0, 1}
    await test.member.leave()
    assert test.memory.holders == {}


@pytest.mark.parametrize("error", [EngineUnavailableError("no answer"), EngineRefusedError("wrong password")])
async def test_engine_outage_is_logged_once_and_changes_nothing(test: MemberTest, error: Exception) -> None:
    await test.begin()
    test.engine.error = error
    for _ in range(3):
        await test.beat()
    is_refused = isinstance(error, EngineRefusedError)
    assert test.log.lines[3:] == [events.EngineUnavailable(str(error), is_refused)]
    assert test.runner.running == {0: 1, 1: 2}
    assert not test.runner.may_clear
    assert await test.member.may_connect(0)
    test.engine.error = None
    await test.beat()
    assert test.log.lines[-1] == events.EngineAvailable(4 * BEAT)
    assert test.runner.may_clear


async def test_pause_is_shared_and_followed(test: MemberTest) -> None:
    await test.begin()
    test.runner.cloud_pause = 30.0
    await test.beat()
    assert test.engine.shared_pause == 30.0
    test.runner.cloud_pause, test.engine.shared_pause = 29.0, 0.0
    await test.beat()
    assert test.engine.shared_pause == 0.0, "it is shared already"
    test.runner.cloud_pause = 0.0
    await test.beat()
    assert test.runner.cloud_pause == pytest.approx(30 - 2 * BEAT)


async def test_other_number_of_shards_at_the_start_is_an_error(test: MemberTest) -> None:
    test.other(shards=4)
    with pytest.raises(ConfigError, match=r"fleet.shards: is 2, but member m2 has 4; stop all members to change it"):
        await test.beat()


async def test_other_configuration_is_logged_until_it_is_gone(test: MemberTest) -> None:
    await test.begin()
    test.other(digest="other")
    await test.beat()
    assert test.log.lines[-1] == events.FleetConflictChanged("members have different configurations")
    assert not test.runner.may_clear
    test.memory.remove("m2")
    await test.beat()
    assert "newer configuration is gone" in str(test.log.lines[-1])
    assert not test.runner.may_clear
    test.other("m3", digest="d")
    await test.beat()
    assert test.log.lines[-1] == events.FleetConflictChanged("")
    assert test.runner.may_clear


async def test_wake_up_during_a_beat_leads_to_another_soon(test: MemberTest, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[MemberRecord] = []

    async def beat(own: MemberRecord) -> View:
        if not beats:
            test.member.beat_soon()
        beats.append(own)
        return test.memory.beat(own, test.now)

    monkeypatch.setattr(test.engine, "beat", beat)
    task = asyncio.create_task(test.member.run())
    async with asyncio.timeout(BEAT - 0.5):
        while len(beats) < 2:  # noqa: ASYNC110  # nothing reports the change
            await asyncio.sleep(0.02)
    task.cancel()
