"""Carries out the actions that follow from a view, in the engine and with the shards that run here."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.fleet.actions import Action, Begin, Claim, Drop, HandOver, Renumber
from evse_mqtt_bridge.fleet.claim_numbers import ClaimNumbers
from evse_mqtt_bridge.fleet.decisions import Allocation
from evse_mqtt_bridge.fleet.port import Engine, EngineRefusedError, EngineUnavailableError, View
from evse_mqtt_bridge.fleet.runner import Runner
from evse_mqtt_bridge.support.text import clean

__all__ = ["Executor"]


class Executor:
    """Begins, renumbers, hands over and drops shards.

    Args:
        member: The name of this member.
        engine: The engine.
        runner: Runs the shards.
        allocation: Receives the results.
        numbers: The claim numbers of the shards that run here.
        listener: Receives an event for each shard that begins or ends.
        now: Returns monotonic seconds.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of a member that an action concerns
        self,
        member: str,
        engine: Engine,
        runner: Runner,
        allocation: Allocation,
        numbers: ClaimNumbers,
        listener: events.Listener,
        now: Callable[[], float],
    ) -> None:
        self._member = member
        self._engine = engine
        self._runner = runner
        self._allocation = allocation
        self._numbers = numbers
        self._listener = listener
        self._now = now
        self._view: View | None = None
        """The last view."""
        self._last_holders: dict[int, str] = {}
        """The other member that was last seen as the holder of a shard, until the shard begins here."""

    async def carry_out(self, actions: Sequence[Action], view: View) -> None:
        """Carry out the actions that follow from a view: drops first, and hand-overs, which take the longest, last."""
        self._view, self._numbers.engine_id = view, view.engine_id
        await self._drop([action.shard for action in actions if isinstance(action, Drop)])
        claimed = await asyncio.gather(*(self._claim(action.shard) for action in actions if isinstance(action, Claim)))
        await self._drop([action.shard for action in claimed if isinstance(action, Drop)])
        following = [action for action in (*actions, *claimed) if isinstance(action, Begin | Renumber)]
        self._begin([action for action in following if isinstance(action, Begin)])
        for action in following:
            if isinstance(action, Renumber) and (claim := self._numbers.renumbered(action.shard, action.claim)):
                self._runner.renumber(claim)
        await self._hand_over([action for action in actions if isinstance(action, HandOver)])
        for shard, holder in view.holders.items():
            if holder.member != self._member:
                self._last_holders[shard] = holder.member
        for shard, number in self._allocation.claims.items():
            if claim := self._numbers.raised(shard, number):
                self._runner.renumber(claim)

    async def stop_fenced(self, shards: Iterable[int]) -> None:
        """Stop shards of which the broker has a later claim of another member."""
        fenced = list(shards)
        for shard in fenced:
            self._allocation.fenced(shard)
        await self._drop(fenced)

    async def _claim(self, shard: int) -> Begin | Renumber | Drop | None:
        try:
            holder = await self._engine.claim(shard)
        except (EngineUnavailableError, EngineRefusedError):
            return None  # the next view shows whether it succeeded
        return self._allocation.claimed(shard, holder)

    def _begin(self, actions: Sequence[Begin]) -> None:
        if not actions:
            return
        claims = [self._numbers.begin(action.shard, action.claim) for action in actions]
        continued = [action.shard for action in actions if action.shard in self._last_holders]
        self._runner.begin(claims, continued)
        for action in actions:
            previous = self._last_holders.pop(action.shard, "")
            stations = self._runner.stations(action.shard)
            self._listener.shard_begun(events.ShardBegun(action.shard, stations, previous))

    async def _drop(self, shards: Sequence[int]) -> None:
        if not shards:
            return
        for shard in shards:
            self._numbers.end(shard)
        stations = {shard: self._runner.stations(shard) for shard in shards}
        holders = {shard: self._other_holder(shard) for shard in shards}
        await self._runner.drop(shards)
        for shard in shards:
            self._listener.shard_lost(events.ShardLost(shard, stations[shard], holders[shard]))

    def _other_holder(self, shard: int) -> str:
        """Return the member that runs a shard instead of this one, by the engine or by the broker; empty: unknown."""
        in_view = self._view.holders.get(shard) if self._view else None
        for holder in (in_view, self._runner.published_claim(shard)):
            if holder is not None and holder.member != self._member:
                return clean(holder.member)
        return ""

    async def _hand_over(self, actions: Sequence[HandOver]) -> None:
        if not actions:
            return
        for action in actions:
            self._numbers.end(action.shard)
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
