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

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from evse_mqtt_bridge.fleet.actions import Action, Begin, Claim, Decision, Drop, HandOver, Renumber
from evse_mqtt_bridge.fleet.balance import Balance
from evse_mqtt_bridge.fleet.conflicts import Configurations, Conflict
from evse_mqtt_bridge.fleet.port import Holder, MemberRecord, View
from evse_mqtt_bridge.fleet.timing import Timing

__all__ = ["Allocation"]


class _ShardState(Enum):
    """The state of a shard, as this member knows it."""

    UNKNOWN = "before the first view"
    FREE = "no member holds it"
    ELSEWHERE = "another member holds it"
    HELD = "this member holds it and runs it"
    HANDING_OVER = "this member ends it, and then makes another one the holder"
    FENCED = "this member stopped it, because the broker knows of a later holder; the engine has to decide"


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
        self._states = dict.fromkeys(range(shards), _ShardState.UNKNOWN)
        self._claims: dict[int, int] = {}
        """The claim numbers of the shards that this member runs or ends."""
        self._free_since: dict[int, float] = {}
        self._given_up_at: dict[int, float] = {}
        self._unfit_since: float | None = None
        self._members: frozenset[tuple[str, str, bool, bool]] = frozenset()
        self._same_members_since = 0.0
        self._configurations = Configurations()

    @property
    def claims(self) -> Mapping[int, int]:
        """The claim numbers of the shards that run here, by shard."""
        return {shard: self._claims[shard] for shard in self._in(_ShardState.HELD)}

    # Results

    def claimed(self, shard: int, holder: Holder | None) -> Begin | Renumber | Drop | None:
        """Note the answer of the engine to a claim, and return what follows; `None`: nothing."""
        was_running = self._states[shard] is _ShardState.HELD
        if holder is None or holder.member != self._name:
            self._leave(shard, _ShardState.ELSEWHERE)
            return Drop(shard) if was_running else None
        self._hold(shard, holder.claim)
        return Renumber(shard, holder.claim) if was_running else Begin(shard, holder.claim)

    def handed_over(self, shard: int, now: float) -> None:
        """Note that a shard has another holder, or is free, after it ended here.

        Call it as well if the engine was not available: if the next view has this member as the holder, the shard
        begins.
        """
        self._leave(shard, _ShardState.ELSEWHERE)
        self._given_up_at[shard] = now

    def fenced(self, shard: int) -> None:
        """Note that a shard stopped, because the broker knows of a later holder. The next view decides."""
        if self._states[shard] is _ShardState.HELD:
            self._leave(shard, _ShardState.FENCED)

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
        conflict = self._configurations.on_view(view, own)
        actions: list[Action] = [*self._follow(view)]
        balance = Balance(self._name, own, view, self._in(_ShardState.HELD))
        if conflict is not Conflict.DIFFERENT_SHARDS:
            actions += self._claim_free(balance, now)
        if (own.is_draining or self._is_unfit(now)) and balance.are_others_eligible:
            shards = self._in(_ShardState.HELD)
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

    def _follow(self, view: View) -> Iterable[Action]:
        """Yield what the holders in the view lead to."""
        for shard, state in self._states.items():
            holder = view.holders.get(shard)
            if state is _ShardState.HANDING_OVER:
                continue
            if holder is None:
                if state is _ShardState.HELD:
                    yield Claim(shard)
                else:
                    self._leave(shard, _ShardState.FREE)
            elif holder.member != self._name:
                if state is _ShardState.HELD:
                    yield Drop(shard)
                self._leave(shard, _ShardState.ELSEWHERE)
            elif state is not _ShardState.HELD:
                self._hold(shard, holder.claim)
                yield Begin(shard, holder.claim)
            elif holder.claim != self._claims[shard]:
                self._hold(shard, holder.claim)
                yield Renumber(shard, holder.claim)

    def _claim_free(self, balance: Balance, now: float) -> Iterable[Claim]:
        """Yield the claims of this member on shards that were free for long enough."""
        for shard, since in self._free_since.items():
            if self._states[shard] is not _ShardState.FREE or now - since < self._timing.grace:
                continue
            is_own = balance.assign(shard) == self._name or (
                now - since >= self._timing.rescue and self._name in balance.counts
            )
            given_up_at = self._given_up_at.get(shard)
            if is_own and (given_up_at is None or now - given_up_at >= self._timing.abstention):
                yield Claim(shard)

    def _hand_over(self, shard: int, successors: Sequence[str]) -> HandOver:
        self._states[shard] = _ShardState.HANDING_OVER
        return HandOver(shard, self._claims[shard], tuple(successors))

    def _is_unfit(self, now: float) -> bool:
        return self._unfit_since is not None and now - self._unfit_since >= self._timing.grace

    def _is_stable(self, view: View, now: float) -> bool:
        return (
            now - self._same_members_since >= self._timing.stability
            and self._states.keys() <= view.holders.keys()
            and not self._in(_ShardState.HANDING_OVER)
        )

    def _drop_all(self) -> Iterable[Drop]:
        for shard, state in self._states.items():
            self._leave(shard, _ShardState.UNKNOWN)
            if state is _ShardState.HELD:
                yield Drop(shard)

    def _in(self, state: _ShardState) -> list[int]:
        return [shard for shard, each in self._states.items() if each is state]

    def _hold(self, shard: int, claim: int) -> None:
        self._states[shard], self._claims[shard] = _ShardState.HELD, claim

    def _leave(self, shard: int, state: _ShardState) -> None:
        self._states[shard] = state
        self._claims.pop(shard, None)
