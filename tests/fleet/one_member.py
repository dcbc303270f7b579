"""One member with an engine in memory, a runner that records what it runs, and other members as records."""

from collections.abc import Collection, Sequence

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.member import Member
from evse_mqtt_bridge.fleet.port import EngineUnavailableError, Holder, MemberRecord, View
from tests.fleet.fleets import BEAT, GRACE, TIMING, MemoryEngine, record

__all__ = ["MemberTest"]


class MemberEngine:
    """The engine in memory as the port of one member."""

    def __init__(self, memory: MemoryEngine, name: str, test: "MemberTest") -> None:
        self._memory = memory
        self._name = name
        self._test = test
        self.error: Exception | None = None
        self.connecting: list[int] = []
        """The shards that ask to connect while the next beat is under way, and get no answer from the engine."""
        self.shared_pause = 0.0

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

    async def share_cloud_pause(self, seconds: float) -> None:
        self.shared_pause = seconds
        self._memory.pause_until = self._answer() + seconds

    async def leave(self) -> None:
        self._answer()
        self._memory.remove(self._name)

    async def aclose(self) -> None:
        pass


class RecordingRunner:
    """Records what the member runs, and plays the broker."""

    def __init__(self) -> None:
        self.is_fit = True
        self.is_link_current = True
        self.is_link_expected = True
        self.cloud_pause = 0.0
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
        self.cloud_pause = seconds


class RecordingListener(events.Listener):
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


class MemberTest:
    """One member, and others as records in the engine."""

    def __init__(self, shards: int = 2) -> None:
        self.now = 100.0
        self.memory = MemoryEngine()
        self.engine = MemberEngine(self.memory, "m1", self)
        self.runner = RecordingRunner()
        self.log = RecordingListener()
        own = record("m1", shards=shards)
        self.member = Member(self.engine, self.runner, own, TIMING, self.log, lambda: self.now)

    def other(self, name: str = "m2", **changes: int | str) -> None:
        self.memory.beat(record(name, **{"shards": 2, **changes}), self.now)  # type: ignore[arg-type]

    async def beat(self, after: float = BEAT) -> None:
        self.now += after
        await self.member.beat()

    async def begin_any(self) -> None:
        """Run both shards, under any claim numbers."""
        await self.beat()
        await self.beat(GRACE)

    async def begin(self) -> None:
        """Run both shards."""
        await self.begin_any()
        assert self.runner.running == {0: 1, 1: 2}
