"""Decides which shards a member claims, runs, hands over and drops, from what the engine contained at each beat.

A sans-I/O state machine per member: `on_view` returns actions, the caller carries them out, reports the results, and
only then asks for the next view. All members follow the same rules from nearly the same views; where two of them
decide differently, the engine lets only one succeed.

- Shares: a free shard goes to the eligible member with the fewest shards. A member is eligible if it is fit and does
  not drain, and if it has run for a while, unless none has: a member that crashes again and again gets nothing. If no
  member is fit, all count as fit, because a move would help nobody.
- Grace: a member claims a shard only after it was free in each view for a while. When an engine that stood still is
  back, or has lost its data, every claim is gone, and the first member to ask would get all shards. Each member
  claims at once what it runs itself.
- Shards stay where they are. Only if nothing else has changed for a while, the member with the most shards hands over
  one to the member with the fewest, until they differ by one.
- A member that drains, or has been unfit for a while as others are fit, hands over all shards. The successor becomes
  the holder in one step, so the shard is never free. Who gave a shard up does not claim it soon.
- If members differ in their configuration, the shards of a lost member are claimed, but nothing moves for balance, and
  no topic may be cleared. If the member is lost that has the newer one, the others still clear nothing, because they do
  not know its stations. If members differ in the number of shards, no further shard is claimed at all.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from evse_mqtt_bridge.fleet.port import Holder, MemberRecord, View

__all__ = [
    "Action",
    "Allocation",
    "Begin",
    "Claim",
    "Conflict",
    "Decision",
    "Drop",
    "HandOver",
    "Renumber",
    "ShardState",
    "Timing",
]


@dataclass(frozen=True, slots=True)
class Timing:
    """The waiting times of a member, in seconds.

    Attributes:
        beat: Between two beats.
        grace: For which a shard was free, or a member unfit, before it counts. More than a beat with its time limits.
        stability: For which a member runs, or the members are the same, before shards move to or between them.
        pause: For which a member does not claim a shard that it gave up.
        rescue: For which a shard was free before any eligible member claims it, because the others do not.
    """

    beat: float
    grace: float
    stability: float
    pause: float
    rescue: float

    @classmethod
    def of(cls, ttl: float) -> "Timing":
        """Return the times that belong to a `fleet.ttl`."""
        beat = ttl / 4
        return cls(beat, grace=2 * beat, stability=3 * ttl, pause=3 * beat, rescue=6 * beat)


class ShardState(Enum):
    """The state of a shard, as this member knows it."""

    UNKNOWN = "before the first view"
    FREE = "no member holds it"
    ELSEWHERE = "another member holds it"
    HELD = "this member holds it and runs it"
    HANDING_OVER = "this member ends it, and then makes another one the holder"
    FENCED = "this member stopped it, because the broker knows of a later holder; the engine has to decide"


class Conflict(Enum):
    """Why the members cannot work together as usual."""

    NONE = "none"
    NAME_IN_USE = "another process has this member name, or had it within the last fleet.ttl; waiting for its end"
    DIFFERENT_SHARDS = "members have different numbers of shards"
    DIFFERENT_CONFIGURATIONS = "members have different configurations"
    OUTDATED_CONFIGURATION = "a member with a newer configuration is gone; reload the others, or start it again"
    OTHER_FLEET = "another fleet with another engine uses the same client id"


@dataclass(frozen=True, slots=True)
class Begin:
    """Run a shard that this member holds, with this claim number."""

    shard: int
    claim: int


@dataclass(frozen=True, slots=True)
class Renumber:
    """Publish another claim number of a shard that runs."""

    shard: int
    claim: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim a shard; report the result to `Allocation.claimed`."""

    shard: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """End a shard, make the first successor that is alive the holder, and report it to `Allocation.handed_over`."""

    shard: int
    claim: int
    successors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Stop a shard without a message to the broker, because another member holds it."""

    shard: int


Action = Begin | Renumber | Claim | HandOver | Drop


@dataclass(frozen=True, slots=True)
class Decision:
    """What a member does after a view.

    Attributes:
        actions: In this order.
        conflict: Why the members cannot work together as usual.
        may_clear: Whether topics of removed stations may be cleared.
    """

    actions: tuple[Action, ...] = ()
    conflict: Conflict = Conflict.NONE
    may_clear: bool = False


_CONFLICTS_WITH_BALANCE = frozenset({Conflict.NONE, Conflict.OUTDATED_CONFIGURATION})


class Allocation:
    """The state machine that the module describes.

    Args:
        name: The name of this member.
        instance: Identifies this process.
        shards: The number of shards.
        timing: The waiting times.
    """

    def __init__(self, name: str, instance: str, shards: int, timing: Timing) -> None:
        self._name = name
        self._instance = instance
        self._timing = timing
        self._states = dict.fromkeys(range(shards), ShardState.UNKNOWN)
        self._claims: dict[int, int] = {}
        """The claim numbers of the shards that this member runs or ends."""
        self._free_since: dict[int, float] = {}
        self._given_up_at: dict[int, float] = {}
        self._unfit_since: float | None = None
        self._members: frozenset[tuple[str, str, bool, bool]] = frozenset()
        self._same_members_since = 0.0
        self._digests: dict[str, tuple[str, str]] = {}
        """The last instance and digest of all members so far, by name."""
        self._is_outdated = False
        """Whether another member began to use its configuration later than this one, which has a different one."""

    @property
    def states(self) -> Mapping[int, ShardState]:
        """The states of all shards."""
        return self._states

    @property
    def claims(self) -> Mapping[int, int]:
        """The claim numbers of the shards that run here, by shard."""
        return {shard: self._claims[shard] for shard in self._in(ShardState.HELD)}

    # Results

    def claimed(self, shard: int, holder: Holder | None) -> Begin | Renumber | Drop | None:
        """Note the answer of the engine to a claim, and return what follows; `None`: nothing."""
        was_running = self._states[shard] is ShardState.HELD
        if holder is None or holder.member != self._name:
            self._leave(shard, ShardState.ELSEWHERE)
            return Drop(shard) if was_running else None
        self._hold(shard, holder.claim)
        return Renumber(shard, holder.claim) if was_running else Begin(shard, holder.claim)

    def handed_over(self, shard: int, now: float) -> None:
        """Note that a shard has another holder, or is free, after it ended here.

        Call it as well if the engine was not available: if the next view has this member as the holder, the shard
        begins.
        """
        self._leave(shard, ShardState.ELSEWHERE)
        self._given_up_at[shard] = now

    def fenced(self, shard: int) -> None:
        """Note that a shard stopped, because the broker knows of a later holder. The next view decides."""
        if self._states[shard] is ShardState.HELD:
            self._leave(shard, ShardState.FENCED)

    def engine_unavailable(self) -> None:
        """Note that a beat was not answered. What was seen free before does not count, and everything runs on."""
        self._free_since.clear()

    # Decisions

    def on_view(self, view: View, now: float) -> Decision:
        """Return what follows from a view that the engine answered at `now`, in monotonic seconds."""
        own = view.members.get(self._name)
        if own is None or own.instance != self._instance:
            return Decision(tuple(self._drop_all()), Conflict.NAME_IN_USE)
        self._note(view, own, now)
        conflict = _conflict(own, view.members.values())
        if conflict is Conflict.NONE and self._is_outdated:
            conflict = Conflict.OUTDATED_CONFIGURATION
        actions: list[Action] = [*self._follow(view)]
        balance = _Balance(self._name, own, view, self._in(ShardState.HELD))
        if conflict is not Conflict.DIFFERENT_SHARDS:
            actions += self._claim_free(balance, now)
        if (own.is_draining or self._is_unfit(now)) and balance.are_others_eligible:
            shards = self._in(ShardState.HELD)
            actions += [self._hand_over(shard, balance.successors(shard)) for shard in shards]
        elif conflict in _CONFLICTS_WITH_BALANCE and self._is_stable(view, now) and (move := balance.move()):
            actions.append(self._hand_over(*move))
        return Decision(tuple(actions), conflict, may_clear=conflict is Conflict.NONE)

    def _note(self, view: View, own: MemberRecord, now: float) -> None:
        """Update since when shards are free, this member is unfit, and the members are the same."""
        free = self._states.keys() - view.holders.keys()
        self._free_since = {shard: self._free_since.get(shard, now) for shard in sorted(free)}
        self._unfit_since = None if own.is_fit else now if self._unfit_since is None else self._unfit_since
        members = frozenset((each.name, each.instance, each.is_fit, each.is_draining) for each in view.members.values())
        if members != self._members:
            self._members, self._same_members_since = members, now
        self._note_digests([each for each in view.members.values() if each.shards == own.shards], own)

    def _note_digests(self, members: Iterable[MemberRecord], own: MemberRecord) -> None:
        """Update whether another member has a newer configuration; those of the first view are not newer."""
        current = {each.name: (each.instance, each.digest) for each in members}
        before, self._digests = self._digests, self._digests | current
        changed = {digest for name, (instance, digest) in current.items() if before.get(name) != (instance, digest)}
        if not before or before.get(own.name) != current[own.name]:
            self._is_outdated = False
        elif changed:
            self._is_outdated = own.digest not in changed

    def _follow(self, view: View) -> Iterable[Action]:
        """Yield what the holders in the view lead to."""
        for shard, state in self._states.items():
            holder = view.holders.get(shard)
            if state is ShardState.HANDING_OVER:
                continue
            if holder is None:
                if state is ShardState.HELD:
                    yield Claim(shard)
                else:
                    self._leave(shard, ShardState.FREE)
            elif holder.member != self._name:
                if state is ShardState.HELD:
                    yield Drop(shard)
                self._leave(shard, ShardState.ELSEWHERE)
            elif state is not ShardState.HELD:
                self._hold(shard, holder.claim)
                yield Begin(shard, holder.claim)
            elif holder.claim != self._claims[shard]:
                self._hold(shard, holder.claim)
                yield Renumber(shard, holder.claim)

    def _claim_free(self, balance: "_Balance", now: float) -> Iterable[Claim]:
        """Yield the claims of this member on shards that were free for long enough."""
        for shard, since in self._free_since.items():
            if self._states[shard] is not ShardState.FREE or now - since < self._timing.grace:
                continue
            is_own = balance.assign(shard) == self._name or (
                now - since >= self._timing.rescue and self._name in balance.counts
            )
            given_up_at = self._given_up_at.get(shard)
            if is_own and (given_up_at is None or now - given_up_at >= self._timing.pause):
                yield Claim(shard)

    def _hand_over(self, shard: int, successors: Sequence[str]) -> HandOver:
        self._states[shard] = ShardState.HANDING_OVER
        return HandOver(shard, self._claims[shard], tuple(successors))

    def _is_unfit(self, now: float) -> bool:
        return self._unfit_since is not None and now - self._unfit_since >= self._timing.grace

    def _is_stable(self, view: View, now: float) -> bool:
        return (
            now - self._same_members_since >= self._timing.stability
            and self._states.keys() <= view.holders.keys()
            and not self._in(ShardState.HANDING_OVER)
        )

    def _drop_all(self) -> Iterable[Drop]:
        for shard, state in self._states.items():
            self._leave(shard, ShardState.UNKNOWN)
            if state is ShardState.HELD:
                yield Drop(shard)

    def _in(self, state: ShardState) -> list[int]:
        return [shard for shard, each in self._states.items() if each is state]

    def _hold(self, shard: int, claim: int) -> None:
        self._states[shard], self._claims[shard] = ShardState.HELD, claim

    def _leave(self, shard: int, state: ShardState) -> None:
        self._states[shard] = state
        self._claims.pop(shard, None)


class _Balance:
    """Divides shards between the eligible members.

    Args:
        name: The name of this member.
        own: Its record.
        view: The view.
        running: The shards that run here; the engine may have lost their claims.

    Attributes:
        counts: The number of shards of each eligible member.
    """

    def __init__(self, name: str, own: MemberRecord, view: View, running: Sequence[int]) -> None:
        present = [each for each in view.members.values() if not each.is_draining and each.shards == own.shards]
        fit = [each for each in present if each.is_fit] or present
        steady = [each for each in fit if each.is_steady] or fit
        self._name = name
        self._running = running
        self.counts = dict.fromkeys((each.name for each in steady), 0)
        self._others = [each.name for each in fit if each.name not in self.counts]
        holders = {shard: holder.member for shard, holder in view.holders.items() if shard < own.shards}
        for member in (holders | dict.fromkeys(running, name)).values():
            if member in self.counts:
                self.counts[member] += 1

    @property
    def are_others_eligible(self) -> bool:
        """Whether there are eligible members, and this member is none of them."""
        return bool(self.counts) and self._name not in self.counts

    def assign(self, shard: int) -> str | None:
        """Return the eligible member with the fewest shards, and count the shard as its; `None`: there is none."""
        if not self.counts:
            return None
        member = self._by_need(shard)[0]
        self.counts[member] += 1
        return member

    def successors(self, shard: int) -> list[str]:
        """Return the others in the order in which they should get a shard, and count it as that of the first."""
        eligible = self._by_need(shard)
        self.counts[eligible[0]] += 1
        return [*eligible, *(name for name in self._others if name != self._name)]

    def move(self) -> tuple[int, list[str]] | None:
        """Return the shard that this member hands over for balance, with its successors; `None`: none."""
        fullest = max(self.counts, key=lambda member: (self.counts[member], member), default=None)
        if fullest != self._name:
            return None
        fewest = min(self.counts, key=lambda member: (self.counts[member], member))
        if self.counts[fullest] - self.counts[fewest] <= 1:
            return None
        return min(self._running, key=lambda shard: _rank(fewest, shard)), [fewest]

    def _by_need(self, shard: int) -> list[str]:
        return sorted(self.counts, key=lambda member: (self.counts[member], _rank(member, shard)))


def _conflict(own: MemberRecord, members: Iterable[MemberRecord]) -> Conflict:
    others = [each for each in members if each.name != own.name]
    if any(each.shards != own.shards for each in others):
        return Conflict.DIFFERENT_SHARDS
    if any(each.digest != own.digest for each in others):
        return Conflict.DIFFERENT_CONFIGURATIONS
    return Conflict.NONE


def _rank(member: str, shard: int) -> tuple[int, str]:
    """Return a rank of a member for a shard, which spreads the shards between members with equally many."""
    return zlib.crc32(f"{member}/{shard}".encode()), member
