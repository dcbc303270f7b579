"""What viewers of the page are told, as server-sent events: the whole picture, then every two seconds what changed.

Each viewer asks for its next frame when it has sent the last one, and says what it has seen. So a slow one misses
turns, and later gets what changed in all of them at once: nothing waits for it in a queue. Those that have seen the
same get the same frame, which is written once in a turn. While nobody asks, nothing is done.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from evse_mqtt_bridge.observability.snapshot import Snapshot, StationSnapshot, snapshot_json, station_json
from evse_mqtt_bridge.publishing.plan import Plan

__all__ = ["TURN", "Feed", "Frame", "Told", "write_slices"]

TURN = 2.0
"""Seconds between two frames."""

_SLICE = 0.01
"""Seconds of writing after which everything else that is due comes first."""


class Told(Protocol):
    """What a feed asks of the running bridge."""

    @property
    def plan(self) -> Plan:
        """The plan in force."""

    def outline(self) -> Snapshot:
        """The picture without its stations."""

    def stations(self, after: int = -1, *, steps: bool = True) -> Iterable[StationSnapshot]:
        """The stations that were polled after revision `after`; without `steps` the power of the last hour is empty."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An event, and what whoever has it has seen: the plan, all revisions up to `revision`, and the turn itself."""

    text: bytes = field(repr=False)
    plan: Plan = field(repr=False)
    revision: int
    turn: int


async def write_slices(stations: Iterable[StationSnapshot], now: Callable[[], float]) -> list[bytes]:
    """The stations' JSON, in slices that hold up nobody; `now` is the loop's monotonic seconds."""
    written = []
    until = now() + _SLICE
    for station in stations:
        written.append(station_json(station))
        if now() >= until:
            await asyncio.sleep(0)
            until = now() + _SLICE
    return written


@dataclass(slots=True)
class Feed:
    """Frames for viewers; `now` is the loop's monotonic seconds."""

    told: Told
    now: Callable[[], float]
    _turn: int = -1
    _plan: Plan | None = None
    _revision: int = -1
    _frames: dict[int, asyncio.Task[Frame]] = field(default_factory=dict)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, seen: Frame | None) -> Frame | None:
        """The frame after the one that was seen, in its turn; at once where there is none. `None`: the feed ended."""
        if seen is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), max(0.0, (seen.turn + 1) * TURN - self.now()))
        if self._ended.is_set():
            return None
        plan = self._begin_turn()
        after = seen.revision if seen is not None and seen.plan is plan else -1
        writing = self._frames.get(after)
        if writing is None:
            writing = self._frames[after] = asyncio.create_task(self._write(after, plan, self._turn), name="frame")
        try:
            return await asyncio.shield(writing)  # others may wait for it, too
        except asyncio.CancelledError:
            if self._ended.is_set():
                return None
            raise

    def forget(self) -> None:
        """Nobody looks: drop what was, or is being, written for this turn."""
        for writing in self._frames.values():
            writing.cancel()
        self._frames = {}
        self._turn = -1

    def end(self) -> None:
        """Let nobody wait."""
        self._ended.set()
        self.forget()

    def _begin_turn(self) -> Plan:
        turn, plan = int(self.now() // TURN), self.told.plan
        if turn != self._turn or plan is not self._plan:
            self._turn, self._plan = turn, plan
            # All frames of a turn go up to the same revision, so that viewers who joined at different times fall in
            # step. What one has beyond it is in the next one again.
            self._revision = self.told.outline().revision
            self._frames = {}
        return plan

    async def _write(self, after: int, plan: Plan, turn: int) -> Frame:
        """A picture: the whole one (event `picture`), or with the stations alone that changed (event `change`).

        `plan` is that of the moment in which it was asked for: when another one follows, the next frame is whole.
        """
        revision, whole = self._revision, after < 0
        stations = await write_slices(self.told.stations(after, steps=whole), self.now)
        picture = snapshot_json(replace(self.told.outline(), revision=revision), stations)
        head = b"retry: 2000\nevent: picture\ndata: " if whole else b"event: change\ndata: "
        return Frame(b"".join((head, picture, b"\n\n")), plan, revision, turn)
