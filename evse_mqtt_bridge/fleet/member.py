"""The member loop: beats, carries out the decisions, and decides whether a shard may connect to the broker.

Everything that changes the shards happens in `beat`, one step after the other, so that no decision is based on a view
from before the last change. All members connect a shard with the same client id, so a new connection ends the one that
another member has for it. A shard therefore asks `may_connect` before each:

- The engine answers: the member may connect unless another one holds the shard.
- The engine does not answer: the member may connect unless the broker has a higher claim of another member. Then the
  shard is fenced: it stops, and the next view decides. Without the broker's claims, the shard waits.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from evse_mqtt_bridge.cloud.retry_after import RETRY_AFTER_RANGE
from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.shards import Claim as ShardClaim
from evse_mqtt_bridge.fleet.decisions import (
    Action,
    Allocation,
    Begin,
    Claim,
    Conflict,
    Drop,
    HandOver,
    Renumber,
    ShardState,
    Timing,
)
from evse_mqtt_bridge.fleet.foreign import ForeignFleet
from evse_mqtt_bridge.fleet.port import (
    Engine,
    EngineRefusedError,
    EngineUnavailableError,
    Holder,
    MemberRecord,
    View,
)
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.text import clean

__all__ = ["Member", "Runner"]

_SHORTEST_PAUSE = 0.5
"""Minimum pause between two beats, in seconds."""

_LONG_OUTAGE = 4
"""Number of beats after which an outage of the engine is long."""

_PAUSE_TOLERANCE = 2.0
"""A pause is shared only if it is longer than the shared one by more seconds than this; the engine may round up."""


class Runner(Protocol):
    """Runs the shards of the member."""

    @property
    def is_fit(self) -> bool:
        """Whether the member can do its work, above all reach the broker."""

    @property
    def is_link_current(self) -> bool:
        """Whether the link, the member's own connection, has read the claims on the broker."""

    @property
    def is_link_expected(self) -> bool:
        """Whether the link is about to read the claims; otherwise, nothing waits for it."""

    @property
    def pause(self) -> float:
        """Seconds for which the cloud requested that nobody sends a request; 0: it did not."""

    def published_claim(self, shard: int) -> ShardClaim | None:
        """Return the claim on the broker; `None`: there is none, or it is not known."""

    def stations(self, shard: int) -> int:
        """Return the number of stations of a shard."""

    def begin(self, claims: Sequence[ShardClaim], continued: Collection[int]) -> None:
        """Run these shards.

        Args:
            claims: The claims of the shards.
            continued: The shards whose stations another member polled until now.
        """

    def renumber(self, claim: ShardClaim) -> None:
        """Publish another claim of a shard that runs."""

    async def hand_over(self, shards: Collection[int]) -> None:
        """Stop these shards; publish what is pending, but not `offline`."""

    async def drop(self, shards: Collection[int]) -> None:
        """Stop these shards, and publish nothing."""

    def allow_clearing(self, *, is_allowed: bool) -> None:
        """Allow or forbid all shards to clear topics."""

    def hold(self, seconds: float) -> None:
        """Send no request to the cloud for this time."""


class Member:
    """See the module.

    Args:
        engine: The engine.
        runner: Runs the shards.
        record: The record of this member; each beat sets `is_fit`, `is_steady` and `is_draining`.
        timing: The waiting times.
        listener: Receives the events.
        now: Returns monotonic seconds.

    Attributes:
        record: See above; a reload changes the digest.
        is_draining: Whether the member gives all its shards away.
        view: The last view; `None`: the engine has not answered yet.
        answered_at: When the engine answered last, or the start before that, in monotonic seconds.
        is_engine_available: Whether the engine answered the last beat.
        conflict: Why the members cannot work together as usual.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of a member
        self,
        engine: Engine,
        runner: Runner,
        record: MemberRecord,
        timing: Timing,
        listener: events.Listener,
        now: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._runner = runner
        self.record = record
        self._timing = timing
        self._listener = listener
        self._now = now
        self._started = now()
        self._allocation = Allocation(record.name, record.instance, record.shards, timing)
        self._lock = asyncio.Lock()
        self._wake_up = asyncio.Event()
        self._numbers: dict[int, int] = {}
        """The claim numbers on the broker of the shards that run here. They may exceed those of the engine,
        if it lost its data and counts anew."""
        self._last_holders: dict[int, str] = {}
        """The other member that was last seen as the holder of a shard, until the shard begins here."""
        self._foreign = ForeignFleet()
        self._fenced: set[int] = set()
        self._unavailable_until = 0.0
        self.is_draining = False
        self.view: View | None = None
        self.answered_at = self._started
        self.is_engine_available = False
        self._is_outage_reported = False
        self.conflict = Conflict.NONE

    @property
    def states(self) -> dict[int, ShardState]:
        """The states of all shards."""
        return dict(self._allocation.states)

    async def run(self) -> None:
        """Beat until cancelled; see `paused`.

        Raises:
            ConfigError: Members that are alive at the start have another number of shards.
        """
        while True:
            begun = self._now()
            self._wake_up.clear()
            await self.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_SHORTEST_PAUSE, begun + self._timing.beat - self._now())):
                    await self._wake_up.wait()
                    await asyncio.sleep(_SHORTEST_PAUSE)

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Wait for the end of a beat, and let none begin meanwhile. Only then `run` may be cancelled."""
        async with self._lock:
            yield

    @property
    def may_use_name(self) -> bool:
        """Whether the engine has confirmed that no other process has the name of this member."""
        return self.view is not None and self.conflict is not Conflict.NAME_IN_USE

    @property
    def _is_drain_requested(self) -> bool:
        """Whether somebody asked this member in the engine to drain."""
        return self.view is not None and self.record.name in self.view.drains

    def beat_soon(self) -> None:
        """Beat soon, because something has changed."""
        self._wake_up.set()

    async def drain(self) -> None:
        """Hand over all shards, if there is a member that can run them. `run` must be cancelled before.

        After a long outage of the engine, it is not asked again, as service managers wait only some seconds for the
        end of a process.
        """
        self.is_draining = True
        if self.is_engine_available or self._now() - self.answered_at < _LONG_OUTAGE * self._timing.beat:
            await self.beat()

    async def leave(self) -> None:
        """Remove the member from the engine, after its last shard has stopped, and close the engine.

        An engine that does not answer removes the member after `fleet.ttl`.
        """
        if self.is_engine_available:
            with contextlib.suppress(EngineUnavailableError, EngineRefusedError):
                await self._engine.leave()
        await self._engine.aclose()

    async def beat(self) -> None:
        """Beat once, and carry out what follows from the view."""
        async with self._lock:
            await self._stop_fenced()
            now = self._now()
            record = replace(
                self.record,
                is_fit=self._runner.is_fit,
                is_steady=now - self._started >= self._timing.stability,
                is_draining=self.is_draining or self._is_drain_requested,
            )
            try:
                view = await self._engine.beat(record)
            except (EngineUnavailableError, EngineRefusedError) as error:
                self._not_answered(error)
                return
            self._answered()
            await self._follow(view)
            await self._share_pause(view)

    # Views

    async def _follow(self, view: View) -> None:
        decision = self._allocation.on_view(view, self._now())
        self._fenced.clear()  # the view has decided about the shards that were fenced during this beat
        is_first, was_requested = self.view is None, self._is_drain_requested
        self.view = view
        if is_first and decision.conflict is Conflict.DIFFERENT_SHARDS:
            raise _different_shards(self.record, view)
        if self._is_drain_requested is not was_requested:
            self.beat_soon()
        self._foreign.on_view(view, map(self._runner.published_claim, self._numbers))
        is_foreign_only = decision.conflict is Conflict.NONE and self._foreign.is_present
        self._report_conflict(Conflict.OTHER_FLEET if is_foreign_only else decision.conflict)
        self._runner.allow_clearing(is_allowed=decision.may_clear)
        await self._carry_out(decision.actions)
        for shard, holder in view.holders.items():
            if holder.member != self.record.name:
                self._last_holders[shard] = holder.member
        self._outnumber()

    async def _carry_out(self, actions: Iterable[Action]) -> None:
        """Carry out actions of a decision: drops first, and hand-overs, which take the longest, last."""
        drops = [action.shard for action in actions if isinstance(action, Drop)]
        await self._drop(drops)
        claimed = await asyncio.gather(*(self._claim(action.shard) for action in actions if isinstance(action, Claim)))
        following = [action for action in (*actions, *claimed) if isinstance(action, Begin | Renumber)]
        await self._drop([action.shard for action in claimed if isinstance(action, Drop)])
        self._begin([action for action in following if isinstance(action, Begin)])
        for action in following:
            if isinstance(action, Renumber):
                self._renumber(action.shard, action.claim)
        await self._hand_over([action for action in actions if isinstance(action, HandOver)])

    async def _claim(self, shard: int) -> Begin | Renumber | Drop | None:
        try:
            holder = await self._engine.claim(shard)
        except (EngineUnavailableError, EngineRefusedError):
            return None  # the next view shows whether it succeeded
        return self._allocation.claimed(shard, holder)

    def _begin(self, actions: Sequence[Begin]) -> None:
        if not actions:
            return
        for action in actions:
            self._numbers[action.shard] = self._number(action.shard, action.claim)
        continued = [action.shard for action in actions if action.shard in self._last_holders]
        self._runner.begin([self._shard_claim(action.shard) for action in actions], continued)
        for action in actions:
            previous = self._last_holders.pop(action.shard, "")
            stations = self._runner.stations(action.shard)
            self._listener.shard_begun(events.ShardBegun(action.shard, stations, previous))

    def _renumber(self, shard: int, claim: int) -> None:
        number = self._number(shard, claim)
        if number != self._numbers.get(shard):
            self._numbers[shard] = number
            self._runner.renumber(self._shard_claim(shard))

    async def _drop(self, shards: Sequence[int]) -> None:
        if not shards:
            return
        for shard in shards:
            self._numbers.pop(shard, None)
        stations = {shard: self._runner.stations(shard) for shard in shards}
        holders = {shard: self._other_holder(shard) for shard in shards}
        await self._runner.drop(shards)
        for shard in shards:
            self._listener.shard_lost(events.ShardLost(shard, stations[shard], holders[shard]))

    def _other_holder(self, shard: int) -> str:
        """Return the member that runs a shard instead of this one, by the engine or by the broker; empty: unknown."""
        in_view = self.view.holders.get(shard) if self.view else None
        for holder in (in_view, self._runner.published_claim(shard)):
            if holder is not None and holder.member != self.record.name:
                return clean(holder.member)
        return ""

    async def _hand_over(self, actions: Sequence[HandOver]) -> None:
        if not actions:
            return
        for action in actions:
            self._numbers.pop(action.shard, None)
        stations = {action.shard: self._runner.stations(action.shard) for action in actions}
        await self._runner.hand_over([action.shard for action in actions])
        for action, successor in zip(actions, await asyncio.gather(*map(self._pass_on, actions)), strict=True):
            self._allocation.handed_over(action.shard, self._now())
            event = events.ShardHandedOver(action.shard, stations[action.shard], successor)
            self._listener.shard_handed_over(event)

    async def _pass_on(self, action: HandOver) -> str:
        try:
            return await self._engine.pass_on(action.shard, action.claim, action.successors) or ""
        except (EngineUnavailableError, EngineRefusedError):
            return ""

    async def _stop_fenced(self) -> None:
        fenced, self._fenced = self._fenced, set()
        for shard in fenced:
            self._allocation.fenced(shard)
        await self._drop(sorted(fenced))

    # Claim numbers on the broker

    def _shard_claim(self, shard: int) -> ShardClaim:
        return ShardClaim(shard, self.record.name, self._numbers[shard], self.view.engine_id if self.view else "")

    def _number(self, shard: int, claim: int) -> int:
        """Return the number to publish for a claim that the engine confirmed: above that of another member."""
        published = self._runner.published_claim(shard)
        if published is None:
            return claim
        return max(claim, published.number + (published.member != self.record.name))

    def _outnumber(self) -> None:
        """Raise the numbers that are not above those of other members on the broker."""
        for shard, claim in self._allocation.claims.items():
            if shard in self._numbers:
                self._renumber(shard, max(claim, self._numbers[shard]))

    # The gate

    async def may_connect(self, shard: int) -> bool:
        """Return whether the session of a shard may connect to the broker now."""
        if shard not in self._numbers or (self._runner.is_link_expected and not self._runner.is_link_current):
            return False  # the link is reading the manifest, which the shard would have to read otherwise
        if self._now() >= self._unavailable_until:
            try:
                holder = await self._engine.holder(shard)
            except (EngineUnavailableError, EngineRefusedError):
                self._unavailable_until = self._now() + self._timing.beat
            else:
                return self._is_own(holder)
        return self._may_connect_without_engine(shard)

    def _is_own(self, holder: Holder | None) -> bool:
        # Without a holder, the engine has lost the claim, and the next beat claims the shard again.
        is_own = holder is None or holder.member == self.record.name
        if not is_own:
            self.beat_soon()
        return is_own

    def _may_connect_without_engine(self, shard: int) -> bool:
        if not self._runner.is_link_current or shard not in self._numbers:
            return False
        published = self._runner.published_claim(shard)
        if published is None or published.member == self.record.name or published.number <= self._numbers[shard]:
            return True
        self._fenced.add(shard)
        self.beat_soon()
        return False

    # Outages and conflicts

    def _not_answered(self, error: EngineUnavailableError | EngineRefusedError) -> None:
        self._allocation.engine_unavailable()
        self._runner.allow_clearing(is_allowed=False)
        self._unavailable_until = self._now() + self._timing.beat
        self.is_engine_available = False
        if not self._is_outage_reported:
            self._is_outage_reported = True
            is_refused = isinstance(error, EngineRefusedError)
            self._listener.engine_unavailable(events.EngineUnavailable(str(error), is_refused))

    def _answered(self) -> None:
        now = self._now()
        if self._is_outage_reported or self.view is None:
            after = now - self.answered_at if self._is_outage_reported else 0.0
            self._listener.engine_available(events.EngineAvailable(after))
        self._is_outage_reported, self.is_engine_available = False, True
        self.answered_at, self._unavailable_until = now, 0.0

    def _report_conflict(self, conflict: Conflict) -> None:
        before, self.conflict = self.conflict, conflict
        if conflict is not before:
            detail = "" if conflict is Conflict.NONE else conflict.value
            self._listener.fleet_conflict_changed(events.FleetConflictChanged(detail))

    async def _share_pause(self, view: View) -> None:
        """Share a pause that the cloud requested from this member, and follow one that it requested from another."""
        own = self._runner.pause
        shared = min(view.pause, RETRY_AFTER_RANGE[1])
        if shared > own:
            self._runner.hold(shared)
        elif own > view.pause + _PAUSE_TOLERANCE:
            with contextlib.suppress(EngineUnavailableError, EngineRefusedError):
                await self._engine.pause(own)


def _different_shards(own: MemberRecord, view: View) -> ConfigError:
    other = next(each for each in view.members.values() if each.shards != own.shards)
    text = f"is {own.shards}, but member {clean(other.name)} has {other.shards}; stop all members to change it"
    return ConfigError(Problem(text, key="fleet.shards"))
