"""A fleet in virtual time: an engine with claims that expire, and members that follow the real decisions."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from evse_mqtt_bridge.fleet.actions import Begin, Claim, Decision, Drop, HandOver, Renumber
from evse_mqtt_bridge.fleet.decisions import Allocation
from evse_mqtt_bridge.fleet.port import EngineUnavailableError, Holder, MemberRecord, View
from evse_mqtt_bridge.fleet.timing import Timing

__all__ = [
    "BEAT",
    "GRACE",
    "STABILITY",
    "TIMING",
    "TTL",
    "MemoryEngine",
    "VirtualFleet",
    "VirtualMember",
    "record",
    "steady_fleet",
]

TTL = 10.0
TIMING = Timing.of(TTL)
BEAT, GRACE, STABILITY = TIMING.beat, TIMING.grace, TIMING.stability


def record(name: str, *, shards: int = 16, digest: str = "d") -> MemberRecord:
    """Return the record of a member that runs for the first time."""
    return MemberRecord(name, f"{name}-1", shards, digest, "0.1")


@dataclass
class MemoryEngine:
    """The engine: members expire `ttl` seconds after their last beat, and their claims with them.

    Attributes:
        ttl: Time after which a member is dropped, in seconds.
        is_frozen: Whether it answers nothing; its time stands still in so far as nothing is dropped meanwhile.
    """

    ttl: float = TTL
    is_frozen: bool = False
    members: dict[str, MemberRecord] = field(default_factory=dict)
    expiry: dict[str, float] = field(default_factory=dict)
    holders: dict[int, Holder] = field(default_factory=dict)
    pause_until: float = 0.0
    _revision: int = 0

    def expire(self, now: float) -> None:
        """Drop the members whose time is over."""
        for name in [name for name, end in self.expiry.items() if end <= now]:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Drop a member and its claims."""
        self.members.pop(name, None)
        self.expiry.pop(name, None)
        self.holders = {shard: holder for shard, holder in self.holders.items() if holder.member != name}

    def empty(self) -> None:
        """Lose all data."""
        self.members, self.expiry, self.holders = {}, {}, {}

    def beat(self, own: MemberRecord, now: float) -> View:
        """See `Engine.beat`."""
        self._answer(now)
        current = self.members.get(own.name)
        if current is None or current.instance == own.instance:
            self.members[own.name] = own
            self.expiry[own.name] = now + self.ttl
        return View("engine", dict(self.members), dict(self.holders), max(0.0, self.pause_until - now))

    def claim(self, shard: int, name: str, now: float) -> Holder | None:
        """See `Engine.claim`."""
        self._answer(now)
        if name not in self.members:
            return None
        holder = self.holders.get(shard)
        if holder is None:
            holder = self._put(shard, name)
        return holder if holder.member == name else None

    def pass_on(self, shard: int, claim: int, successors: tuple[str, ...], now: float) -> str | None:
        """See `Engine.pass_on`."""
        self._answer(now)
        holder = self.holders.get(shard)
        if holder is None or holder.claim != claim:
            return None
        for name in successors:
            if name in self.members:
                self._put(shard, name)
                return name
        del self.holders[shard]
        return None

    def holder(self, shard: int, now: float) -> Holder | None:
        """See `Engine.holder`."""
        self._answer(now)
        return self.holders.get(shard)

    def _put(self, shard: int, name: str) -> Holder:
        self._revision += 1
        self.holders[shard] = holder = Holder(name, self._revision)
        return holder

    def _answer(self, now: float) -> None:
        if self.is_frozen:
            raise EngineUnavailableError("frozen")
        self.expire(now)


def _always_reachable() -> bool:
    return True


@dataclass
class VirtualMember:
    """A member that beats when the test calls `beat`, and carries out its decisions at once.

    Attributes:
        engine: The engine.
        own: Its record; the test changes it.
        started: When it started, in virtual seconds.
        can_reach: Whether it reaches the engine.
        begun: The shards that it began so far, in order, with the times.
        given: The shards that it handed over so far.
    """

    engine: MemoryEngine
    own: MemberRecord
    started: float = 0.0
    can_reach: Callable[[], bool] = _always_reachable
    timing: Timing = TIMING
    begun: list[tuple[float, int]] = field(default_factory=list)
    given: list[tuple[float, int]] = field(default_factory=list)
    lost: list[tuple[float, int]] = field(default_factory=list)
    last: Decision = field(default_factory=Decision)
    allocation: Allocation = field(init=False)

    def __post_init__(self) -> None:
        self.allocation = Allocation(self.own.name, self.own.instance, self.own.shards, self.timing)

    @property
    def name(self) -> str:
        """Its name."""
        return self.own.name

    @property
    def running(self) -> set[int]:
        """The shards that run here."""
        return set(self.allocation.claims)

    def beat(self, now: float) -> Decision | None:
        """Beat once; `None`: the engine did not answer."""
        own = replace(self.own, is_steady=now - self.started >= self.timing.stability)
        try:
            view = self.engine.beat(own, now) if self.can_reach() else None
        except EngineUnavailableError:
            view = None
        if view is None:
            self.allocation.engine_unavailable()
            return None
        self.last = self.allocation.on_view(view, now)
        for action in self.last.actions:
            match action:
                case Claim(shard):
                    followed = self.allocation.claimed(shard, self.engine.claim(shard, self.name, now))
                    self._note(followed, now)
                case HandOver(shard, claim, successors):
                    self.engine.pass_on(shard, claim, successors, now)
                    self.allocation.handed_over(shard, now)
                    self.given.append((now, shard))
                case _:
                    self._note(action, now)
        return self.last

    def _note(self, action: Begin | Renumber | Drop | None, now: float) -> None:
        match action:
            case Begin(shard):
                self.begun.append((now, shard))
            case Drop(shard):
                self.lost.append((now, shard))
            case Renumber(shard):
                assert shard in self.allocation.claims


class VirtualFleet:
    """Members of one engine that beat in turn, `beat` seconds apart, each with a phase of its own."""

    def __init__(self, *names: str, shards: int = 16) -> None:
        self.engine = MemoryEngine()
        self.now = 0.0
        self.shards = shards
        self.members: dict[str, VirtualMember] = {}
        self._due: dict[str, float] = {}
        for name in names:
            self.join(name)

    def join(self, name: str, *, phase: float = 0.0, instance: int = 1) -> VirtualMember:
        own = replace(record(name, shards=self.shards), instance=f"{name}-{instance}")
        self.members[name] = VirtualMember(self.engine, own, started=self.now)
        self._due[name] = self.now + (phase or 0.3 * len(self._due))
        return self.members[name]

    def kill(self, name: str) -> None:
        del self.members[name], self._due[name]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and min(self._due.values()) <= end:
            name = min(self._due, key=lambda each: self._due[each])
            self.now = max(self.now, self._due[name])
            self.members[name].beat(self.now)
            self._due[name] = self.now + BEAT
        self.now = end

    def change(self, name: str, **fields: bool | str) -> None:
        member = self.members[name]
        member.own = replace(member.own, **fields)  # type: ignore[arg-type]

    @property
    def moves(self) -> int:
        return sum(len(member.given) + len(member.lost) for member in self.members.values())

    @property
    def running(self) -> dict[str, int]:
        return {name: len(member.running) for name, member in self.members.items()}

    def assert_divided(self) -> None:
        """Every shard runs exactly once, and the shares of the eligible members differ by one at most."""
        runs = Counter(shard for member in self.members.values() for shard in member.running)
        assert runs == Counter(range(self.shards))
        assert max(self.running.values()) - min(self.running.values()) <= 1


def steady_fleet(*names: str) -> VirtualFleet:
    """Return a fleet that has run for long enough that shards may move."""
    fleet = VirtualFleet(*names)
    fleet.run(STABILITY + 2 * BEAT)
    fleet.assert_divided()
    return fleet
