"""A fleet in virtual time: real members, an engine that expires claims, and a broker that has one connection per shard.

Every tick, members beat when they are due, sessions connect when the member lets them, and the broker ends silent
connections. Members can be frozen, killed, and cut off from the engine, the broker, or both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from evse_mqtt_bridge.domain.events import Listener
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.member import Member
from evse_mqtt_bridge.fleet.port import EngineUnavailableError, Holder, MemberRecord, View
from evse_mqtt_bridge.fleet.timing import Timing
from tests.fleet.fleets import TTL, MemoryEngine, record

__all__ = ["TICK", "SimulatedBroker", "SimulatedMember", "Simulation"]

TICK = 0.5
"""Seconds between two ticks."""

_KEEPALIVE_TIMEOUT = 1.5 * TTL
_WILL_DELAY = 2 * TTL
_RECONNECT_PAUSE = 1.0


@dataclass
class SimulatedBroker:
    """Retained claims, one connection per shard, and delayed wills.

    Attributes:
        is_up: Whether it answers.
        holders: The member that is connected for a shard.
        claims: The retained claims.
        offline: The shards whose will was published, with the times.
        changes: The connections that a shard got, in order: time and member.
    """

    is_up: bool = True
    holders: dict[int, str] = field(default_factory=dict)
    claims: dict[int, Claim] = field(default_factory=dict)
    offline: list[tuple[float, int]] = field(default_factory=list)
    changes: dict[int, list[tuple[float, str]]] = field(default_factory=dict)
    _last_contact: dict[int, float] = field(default_factory=dict)
    _wills: dict[int, float] = field(default_factory=dict)

    def connect(self, shard: int, member: str, claim: Claim, now: float) -> None:
        """Accept a connection, which ends that of another member."""
        self.holders[shard], self.claims[shard], self._last_contact[shard] = member, claim, now
        self._wills.pop(shard, None)
        self.changes.setdefault(shard, []).append((now, member))

    def contact(self, shard: int, now: float) -> None:
        """Receive something on the connection of a shard."""
        self._last_contact[shard] = now

    def disconnect(self, shard: int, now: float) -> None:
        """End a connection, and delay its will."""
        del self.holders[shard]
        self._wills[shard] = now + _WILL_DELAY

    def tick(self, now: float) -> None:
        """End silent connections, and publish wills that are due."""
        for shard in [each for each in self.holders if now - self._last_contact[each] > _KEEPALIVE_TIMEOUT]:
            self.disconnect(shard, now)
        for shard in [each for each, at in self._wills.items() if at <= now]:
            del self._wills[shard]
            self.offline.append((now, shard))

    def restart(self) -> None:
        """Lose everything."""
        self.holders, self.claims, self._wills = {}, {}, {}


class SimulatedMember:
    """A process: the real member loop, as engine and runner of its own.

    Attributes:
        running: The claim numbers of the shards that run.
        is_frozen: Whether the process is suspended.
        has_engine: Whether it reaches the engine.
        has_broker: Whether it reaches the broker.
    """

    def __init__(self, simulation: "Simulation", own: MemberRecord, phase: float) -> None:
        self._simulation = simulation
        self.own = own
        self.is_frozen, self.has_engine, self.has_broker = False, True, True
        self.running: dict[int, Claim] = {}
        self.is_link_expected = True
        self.cloud_pause = 0.0
        self._due = simulation.now + phase
        self._link_since: float | None = None
        self._next_attempt: dict[int, float] = {}
        self._timing = Timing.of(TTL)
        self.member = Member(self, self, own, self._timing, Listener(), lambda: simulation.now)  # type: ignore[arg-type]

    async def tick(self) -> None:
        """Do what is due."""
        now, broker = self._simulation.now, self._simulation.broker
        if self.is_frozen:
            return
        has_broker = self.has_broker and broker.is_up
        if not has_broker:
            self._link_since = None
        elif self._link_since is None:
            self._link_since = now
        for shard in list(self.running):
            if has_broker and broker.holders.get(shard) == self.own.name:
                broker.contact(shard, now)
            elif has_broker and self._next_attempt.get(shard, 0.0) <= now:
                self._next_attempt[shard] = now + _RECONNECT_PAUSE
                if await self.member.may_connect(shard) and shard in self.running:
                    broker.connect(shard, self.own.name, self.running[shard], now)
        if now >= self._due:
            self._due = now + self._timing.beat
            await self.member.beat()

    # The engine

    def _engine(self) -> MemoryEngine:
        if not self.has_engine:
            raise EngineUnavailableError("no network")
        return self._simulation.engine

    async def beat(self, own: MemberRecord) -> View:
        return self._engine().beat(own, self._simulation.now)

    async def claim(self, shard: int) -> Holder | None:
        return self._engine().claim(shard, self.own.name, self._simulation.now)

    async def pass_on(self, shard: int, claim: int, successors: Sequence[str]) -> str | None:
        return self._engine().pass_on(shard, claim, tuple(successors), self._simulation.now)

    async def holder(self, shard: int) -> Holder | None:
        return self._engine().holder(shard, self._simulation.now)

    # The runner

    @property
    def is_fit(self) -> bool:
        return self.is_link_current

    @property
    def is_link_current(self) -> bool:
        return self._link_since is not None and self._simulation.now > self._link_since

    def published_claim(self, shard: int) -> Claim | None:
        return self._simulation.broker.claims.get(shard) if self.is_link_current else None

    def stations(self, shard: int) -> int:
        return self._simulation.stations[shard]

    def begin(self, claims: Sequence[Claim], continued: Collection[int]) -> None:  # noqa: ARG002  # it polls nothing
        self.running |= {claim.shard: claim for claim in claims}

    def renumber(self, claim: Claim) -> None:
        self.running[claim.shard] = claim
        if self.is_connected(claim.shard):
            self._simulation.broker.claims[claim.shard] = claim

    async def hand_over(self, shards: Collection[int]) -> None:
        await self.drop(shards)

    async def drop(self, shards: Collection[int]) -> None:
        for shard in shards:
            del self.running[shard]
            if self.is_connected(shard):
                self._simulation.broker.disconnect(shard, self._simulation.now)

    def allow_clearing(self, *, is_allowed: bool) -> None:
        pass

    def hold(self, seconds: float) -> None:
        self.cloud_pause = seconds

    def is_connected(self, shard: int) -> bool:
        """Return whether the shard has its connection to the broker."""
        broker = self._simulation.broker
        return self.has_broker and broker.is_up and broker.holders.get(shard) == self.own.name


class Simulation:
    """The world.

    Args:
        names: The members.
        stations: Number of stations per shard.

    Attributes:
        longest_gap: For each shard, the longest time without a member that runs it and is not frozen, in seconds.
        longest_silence: The same without one that is connected to the broker, too.
    """

    def __init__(self, names: Sequence[str], stations: Sequence[int]) -> None:
        self.now = 0.0
        self.stations = stations
        self.engine = MemoryEngine()
        self.broker = SimulatedBroker()
        self.members: dict[str, SimulatedMember] = {}
        self._polled_at = dict.fromkeys(range(len(stations)), 0.0)
        self._published_at = dict.fromkeys(range(len(stations)), 0.0)
        self.longest_gap = dict.fromkeys(range(len(stations)), 0.0)
        self.longest_silence = dict.fromkeys(range(len(stations)), 0.0)
        for number, name in enumerate(names):
            self.start(name, phase=number * 0.61)

    def start(self, name: str, *, phase: float = 0.0, instance: int = 1) -> None:
        """Start a member."""
        own = replace(record(name, shards=len(self.stations)), instance=f"{name}-{instance}")
        self.members[name] = SimulatedMember(self, own, phase)

    def kill(self, name: str) -> None:
        """Kill a member: the broker notices the end of its connections at once."""
        member = self.members.pop(name)
        for shard in member.running:
            if self.broker.holders.get(shard) == name and member.has_broker and self.broker.is_up:
                self.broker.disconnect(shard, self.now)

    async def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += TICK
            self.engine.expire(self.now)
            for member in list(self.members.values()):
                await member.tick()
            if self.broker.is_up:
                self.broker.tick(self.now)
            alive = [member for member in self.members.values() if not member.is_frozen]
            running = {shard for member in alive for shard in member.running}
            published = {shard for member in alive for shard in member.running if member.is_connected(shard)}
            _note(self._polled_at, self.longest_gap, running, self.now)
            _note(self._published_at, self.longest_silence, published, self.now)

    def reset(self) -> None:
        """Forget gaps and changes so far."""
        self.longest_gap = dict.fromkeys(self.longest_gap, 0.0)
        self.longest_silence = dict.fromkeys(self.longest_silence, 0.0)
        self.broker.changes.clear()
        self.broker.offline.clear()

    @property
    def is_calm(self) -> bool:
        """Whether each shard runs once, and is connected by the member that the engine names."""
        running = [shard for member in self.members.values() for shard in member.running]
        holders = {shard: holder.member for shard, holder in self.engine.holders.items()}
        return sorted(running) == list(self.longest_gap) and holders == self.broker.holders


def _note(last: dict[int, float], longest: dict[int, float], present: Collection[int], now: float) -> None:
    for shard, at in last.items():
        longest[shard] = max(longest[shard], now - at)
        if shard in present:
            last[shard] = now
