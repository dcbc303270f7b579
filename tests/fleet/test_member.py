"""The member loop with an engine in memory: what it carries out, and when a shard may connect to the broker."""

import asyncio
from collections.abc import Collection, Sequence

import pytest

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.decisions import ShardState, Timing
from evse_mqtt_bridge.fleet.member import Member
from evse_mqtt_bridge.fleet.port import EngineRefusedError, EngineUnavailableError, Holder, MemberRecord, View
from evse_mqtt_bridge.support.errors import ConfigError
from tests.fleet.fleets import TTL, MemoryEngine, record

_BEAT = Timing.of(TTL).beat
_GRACE = Timing.of(TTL).grace


class _Engine:
    """The engine in memory as the port of one member."""

    def __init__(self, memory: MemoryEngine, name: str, test: "_Test") -> None:
        self._memory = memory
        self._name = name
        self._test = test
        self.error: Exception | None = None
        self.connecting: list[int] = []
        """The shards that ask to connect while the next beat is under way, and get no answer from the engine."""
        self.paused = 0.0

    def _answer(self) -> float:
        if self.error is not None:
            raise self.error
        return self._test.now

    async def beat(self, own: MemberRecord) -> View:
        while self.connecting:
            self.error = EngineUnavailableError("no answer")
            assert not await self._test.member.may_connect(self.connecting.pop())
            self.error = None
        return self._memory.beat(own, self._answer())

    async def claim(self, shard: int) -> Holder | None:
        return self._memory.claim(shard, self._name, self._answer())

    async def pass_on(self, shard: int, claim: int, successors: Sequence[str]) -> str | None:
        return self._memory.pass_on(shard, claim, tuple(successors), self._answer())

    async def release(self, shard: int, claim: int) -> None:
        raise NotImplementedError

    async def holder(self, shard: int) -> Holder | None:
        return self._memory.holder(shard, self._answer())

    async def pause(self, seconds: float) -> None:
        self.paused = seconds
        self._memory.pause_until = self._answer() + seconds

    async def leave(self) -> None:
        self._answer()
        self._memory.remove(self._name)

    async def aclose(self) -> None:
        pass


class _Runner:
    """Records what the member runs, and plays the broker."""

    def __init__(self) -> None:
        self.is_fit = True
        self.is_link_current = True
        self.is_link_expected = True
        self.pause = 0.0
        self.published: dict[int, Claim] = {}
        self.running: dict[int, int] = {}
        self.handed_over: list[int] = []
        self.dropped: list[int] = []
        self.continued: set[int] = set()
        self.may_clear = False

    def published_claim(self, shard: int) -> Claim | None:
        return self.published.get(shard)

    def stations(self, shard: int) -> int:
        return shard

    def begin(self, claims: Sequence[Claim], continued: Collection[int]) -> None:
        self.continued = set(continued)
        for claim in claims:
            self.renumber(claim)

    def renumber(self, claim: Claim) -> None:
        self.running[claim.shard] = claim.number
        self.published[claim.shard] = claim

    async def hand_over(self, shards: Collection[int]) -> None:
        self.handed_over += shards
        for shard in shards:
            del self.running[shard]

    async def drop(self, shards: Collection[int]) -> None:
        self.dropped += shards
        for shard in shards:
            del self.running[shard]

    def allow_clearing(self, *, is_allowed: bool) -> None:
        self.may_clear = is_allowed

    def hold(self, seconds: float) -> None:
        self.pause = seconds


class _Log(events.Listener):
    def __init__(self) -> None:
        self.lines: list[object] = []

    def shard_begun(self, event: events.ShardBegun) -> None:
        self.lines.append(event)

    def shard_lost(self, event: events.ShardLost) -> None:
        self.lines.append(event)

    def shard_handed_over(self, event: events.ShardHandedOver) -> None:
        self.lines.append(event)

    def engine_unavailable(self, event: events.EngineUnavailable) -> None:
        self.lines.append(event)

    def engine_available(self, event: events.EngineAvailable) -> None:
        self.lines.append(event)

    def fleet_conflict_changed(self, event: events.FleetConflictChanged) -> None:
        self.lines.append(event)


class _Test:
    """One member, and others as records in the engine."""

    def __init__(self, shards: int = 2) -> None:
        self.now = 100.0
        self.memory = MemoryEngine()
        self.engine = _Engine(self.memory, "m1", self)
        self.runner = _Runner()
        self.log = _Log()
        own = record("m1", shards=shards)
        self.member = Member(self.engine, self.runner, own, Timing.of(TTL), self.log, lambda: self.now)

    def other(self, name: str = "m2", **changes: int | str) -> None:
        self.memory.beat(record(name, **{"shards": 2, **changes}), self.now)  # type: ignore[arg-type]

    async def beat(self, after: float = _BEAT) -> None:
        self.now += after
        await self.member.beat()

    async def begin_any(self) -> None:
        """Run both shards, under any claim numbers."""
        await self.beat()
        await self.beat(_GRACE)

    async def begin(self) -> None:
        """Run both shards."""
        await self.begin_any()
        assert self.runner.running == {0: 1, 1: 2}


@pytest.fixture
def test() -> _Test:
    return _Test()


async def test_member_begins_free_shards_and_logs_each(test: _Test) -> None:
    await test.begin()
    assert test.log.lines == [
        events.EngineAvailable(0.0),
        events.ShardBegun(0, 0, ""),
        events.ShardBegun(1, 1, ""),
    ]
    assert test.runner.may_clear
    assert test.runner.published[1] == Claim(1, "m1", 2, "engine")


async def test_shards_of_a_lost_member_are_continued(test: _Test) -> None:
    test.other()
    test.memory.claim(1, "m2", test.now)
    await test.beat()
    test.memory.remove("m2")
    await test.beat()
    await test.beat(_GRACE)
    assert test.runner.running.keys() == {0, 1}
    assert test.runner.continued == {1}
    assert test.log.lines[-1] == events.ShardBegun(1, 1, "m2")


async def test_fleet_with_another_engine_is_reported(test: _Test) -> None:
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


async def test_replaced_engine_is_no_other_fleet(test: _Test) -> None:
    test.runner.published[0] = Claim(0, "lost", 100, "old")
    await test.begin_any()
    test.runner.published[0] = Claim(0, "lost", 100, "old")  # the session has not connected yet
    await test.beat()
    test.runner.published[0] = Claim(0, "m1", 101, "engine")
    await test.beat()
    assert not [line for line in test.log.lines if isinstance(line, events.FleetConflictChanged)]


async def test_member_that_drains_names_the_successor(test: _Test) -> None:
    await test.begin()
    test.other()
    await test.member.drain()
    assert test.runner.handed_over == [0, 1]
    assert test.log.lines[-1] == events.ShardHandedOver(1, 1, "m2")
    assert {holder.member for holder in test.memory.holders.values()} == {"m2"}
    await test.member.leave()
    assert test.memory.members.keys() == {"m2"}


async def test_member_alone_keeps_its_shards_until_it_leaves(test: _Test) -> None:
    await test.begin()
    await test.member.drain()
    assert test.runner.running.keys() == {0, 1}
    await test.member.leave()
    assert test.memory.holders == {}


async def test_lost_claim_stops_a_shard_without_a_message(test: _Test) -> None:
    await test.begin()
    test.other()
    test.memory.holders[0] = Holder("m2", 9)
    assert not await test.member.may_connect(0)
    assert await test.member.may_connect(1)
    await test.beat()
    assert test.runner.dropped == [0]
    assert test.log.lines[-1] == events.ShardLost(0, 0, "m2")
    assert not await test.member.may_connect(0)


@pytest.mark.parametrize("error", [EngineUnavailableError("no answer"), EngineRefusedError("wrong password")])
async def test_engine_outage_is_logged_once_and_changes_nothing(test: _Test, error: Exception) -> None:
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
    assert test.log.lines[-1] == events.EngineAvailable(4 * _BEAT)
    assert test.runner.may_clear


async def test_later_holder_on_the_broker_fences_without_engine(test: _Test) -> None:
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
    assert test.member.states[0] is ShardState.FENCED
    test.engine.error = None
    await test.beat()
    assert test.runner.running[0] == 8, "the engine has decided, and the number exceeds that of the other"


async def test_fence_during_a_beat_ends_with_its_view(test: _Test) -> None:
    await test.begin()
    test.runner.published[0] = Claim(0, "m2", 7)
    test.engine.connecting = [0]
    for _ in range(2):
        await test.beat()
    assert test.runner.dropped == [], "the engine has confirmed the shard"
    assert test.runner.running[0] == 8


async def test_earlier_holder_on_the_broker_does_not_fence(test: _Test) -> None:
    await test.begin()
    test.engine.error = EngineUnavailableError("no answer")
    test.runner.published[1] = Claim(1, "m2", 1)
    assert await test.member.may_connect(1)


async def test_connection_of_the_member_comes_before_shards(test: _Test) -> None:
    await test.begin()
    test.runner.is_link_current = False
    assert not await test.member.may_connect(0)
    test.runner.is_link_expected = False  # the broker refuses it
    assert await test.member.may_connect(0)
    test.engine.error = EngineUnavailableError("no answer")
    assert not await test.member.may_connect(0), "nobody knows who holds the shard"


async def test_engine_that_lost_its_data_does_not_lower_numbers(test: _Test) -> None:
    await test.begin()
    test.runner.published[0] = Claim(0, "m1", 50)
    test.runner.published[1] = Claim(1, "m2", 60)
    test.memory.empty()
    await test.beat()
    assert test.runner.running == {0: 50, 1: 61}
    assert test.runner.dropped == []


async def test_pause_is_shared_and_followed(test: _Test) -> None:
    await test.begin()
    test.runner.pause = 30.0
    await test.beat()
    assert test.engine.paused == 30.0
    test.runner.pause, test.engine.paused = 29.0, 0.0
    await test.beat()
    assert test.engine.paused == 0.0, "it is shared already"
    test.runner.pause = 0.0
    await test.beat()
    assert test.runner.pause == pytest.approx(30 - 2 * _BEAT)


async def test_other_number_of_shards_at_the_start_is_an_error(test: _Test) -> None:
    test.other(shards=4)
    with pytest.raises(ConfigError, match=r"fleet.shards: is 2, but member m2 has 4; stop all members to change it"):
        await test.beat()


async def test_other_configuration_is_logged_until_it_is_gone(test: _Test) -> None:
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


async def test_wake_up_during_a_beat_leads_to_another_soon(test: _Test, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[MemberRecord] = []

    async def beat(own: MemberRecord) -> View:
        if not beats:
            test.member.beat_soon()
        beats.append(own)
        return test.memory.beat(own, test.now)

    monkeypatch.setattr(test.engine, "beat", beat)
    task = asyncio.create_task(test.member.run())
    async with asyncio.timeout(_BEAT - 0.5):
        while len(beats) < 2:  # noqa: ASYNC110  # nothing reports the change
            await asyncio.sleep(0.02)
    task.cancel()
