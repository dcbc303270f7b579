"""The member loop: beats, follows the view of the engine that each beat returns, and drains or leaves at the end.

Everything that changes the shards happens in `beat`, one step after the other, so that no decision is based on a view
from before the last change. All members connect a shard with the same client id, so a new connection ends the one that
another member has for it. A shard therefore asks `may_connect` before each.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from evse_mqtt_bridge.cloud.retry_after import RETRY_AFTER_RANGE
from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.fleet.claim_numbers import ClaimNumbers
from evse_mqtt_bridge.fleet.conflicts import Conflict
from evse_mqtt_bridge.fleet.contact import Contact
from evse_mqtt_bridge.fleet.decisions import Allocation
from evse_mqtt_bridge.fleet.executor import Executor
from evse_mqtt_bridge.fleet.foreign import ForeignFleet
from evse_mqtt_bridge.fleet.gate import ShardGate
from evse_mqtt_bridge.fleet.port import Engine, EngineRefusedError, EngineUnavailableError, MemberRecord, View
from evse_mqtt_bridge.fleet.runner import Runner
from evse_mqtt_bridge.fleet.timing import Timing
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.text import clean

__all__ = ["Member"]

_SHORTEST_INTERVAL = 0.5
"""Minimum time between two beats, in seconds."""

_LONG_OUTAGE = 4
"""Number of beats after which an outage of the engine is long."""

_ROUNDING = 2.0
"""A pause is shared only if it exceeds the shared one by more seconds than this, because the engine may round up."""


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
        self._contact = Contact(listener, now, timing.beat)
        self._numbers = ClaimNumbers(record.name, runner.published_claim)
        self._executor = Executor(record.name, engine, runner, self._allocation, self._numbers, listener, now)
        self._gate = ShardGate(record.name, engine, self._contact, runner, self._numbers, self.beat_soon)
        self._foreign = ForeignFleet()
        self._beating = asyncio.Lock()
        self._wake_up = asyncio.Event()
        self.is_draining = False
        self.view: View | None = None
        self.conflict = Conflict.NONE

    @property
    def is_engine_available(self) -> bool:
        """Whether the engine answered the last beat."""
        return self._contact.is_present

    @property
    def answered_at(self) -> float:
        """When the engine answered a beat last, or the start before that, in monotonic seconds."""
        return self._contact.answered_at

    @property
    def may_use_name(self) -> bool:
        """Whether the engine has confirmed that no other process has the name of this member."""
        return self.view is not None and self.conflict is not Conflict.NAME_IN_USE

    @property
    def _is_drain_requested(self) -> bool:
        """Whether somebody asked this member in the engine to drain."""
        return self.view is not None and self.record.name in self.view.drains

    async def run(self) -> None:
        """Beat until cancelled; see `between_beats`.

        Raises:
            ConfigError: Members that are alive at the start have another number of shards.
        """
        while True:
            begun = self._now()
            self._wake_up.clear()
            await self.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_SHORTEST_INTERVAL, begun + self._timing.beat - self._now())):
                    await self._wake_up.wait()
                    await asyncio.sleep(_SHORTEST_INTERVAL)

    @contextlib.asynccontextmanager
    async def between_beats(self) -> AsyncIterator[None]:
        """Wait for the end of a beat, and let none begin meanwhile. Only then `run` may be cancelled."""
        async with self._beating:
            yield

    def beat_soon(self) -> None:
        """Beat soon, because something has changed."""
        self._wake_up.set()

    async def may_connect(self, shard: int) -> bool:
        """Return whether the session of a shard may connect to the broker now."""
        return await self._gate.may_connect(shard)

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
        async with self._beating:
            await self._executor.stop_fenced(self._gate.pop_fenced())
            record = replace(
                self.record,
                is_fit=self._runner.is_fit,
                is_steady=self._now() - self._started >= self._timing.stability,
                is_draining=self.is_draining or self._is_drain_requested,
            )
            try:
                view = await self._engine.beat(record)
            except (EngineUnavailableError, EngineRefusedError) as error:
                self._allocation.engine_unavailable()
                self._runner.allow_clearing(is_allowed=False)
                self._contact.lost(error)
                return
            self._contact.answered()
            await self._follow(view)
            await self._share_cloud_pause(view)

    async def _follow(self, view: View) -> None:
        decision = self._allocation.on_view(view, self._now())
        self._gate.pop_fenced()  # the view has decided about the shards that were fenced during this beat
        is_first, was_requested = self.view is None, self._is_drain_requested
        self.view = view
        if is_first and decision.conflict is Conflict.DIFFERENT_SHARDS:
            raise _different_shards(self.record, view)
        if self._is_drain_requested is not was_requested:
            self.beat_soon()
        self._foreign.on_view(view, map(self._runner.published_claim, self._numbers.shards))
        is_foreign_only = decision.conflict is Conflict.NONE and self._foreign.is_present
        self._report_conflict(Conflict.OTHER_FLEET if is_foreign_only else decision.conflict)
        self._runner.allow_clearing(is_allowed=decision.may_clear)
        await self._executor.carry_out(decision.actions, view)

    def _report_conflict(self, conflict: Conflict) -> None:
        before, self.conflict = self.conflict, conflict
        if conflict is not before:
            detail = "" if conflict is Conflict.NONE else conflict.value
            self._listener.fleet_conflict_changed(events.FleetConflictChanged(detail))

    async def _share_cloud_pause(self, view: View) -> None:
        """Share a pause that the cloud requested from this member, and follow one that it requested from another."""
        own = self._runner.cloud_pause
        shared = min(view.cloud_pause, RETRY_AFTER_RANGE[1])
        if shared > own:
            self._runner.hold(shared)
        elif own > view.cloud_pause + _ROUNDING:
            with contextlib.suppress(EngineUnavailableError, EngineRefusedError):
                await self._engine.share_cloud_pause(own)


def _different_shards(own: MemberRecord, view: View) -> ConfigError:
    other = next(each for each in view.members.values() if each.shards != own.shards)
    text = f"is {own.shards}, but member {clean(other.name)} has {other.shards}; stop all members to change it"
    return ConfigError(Problem(text, key="fleet.shards"))
