"""Asks each station when its turn comes: workers over one agenda, as many as requests may be under way at once.

The first worker that is free waits for the earliest turn, the others wait behind it; so there is one timer, and no task
for each station.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Failure, Outcome
from evse_mqtt_bridge.polling.schedule import DuePoll, Schedule, next_due, phase

__all__ = ["WAKE_UP_GRANULARITY", "Clock", "OnResult", "Poller"]

WAKE_UP_GRANULARITY = 0.02
"""Seconds between two looks at whose turn it is: with many stations several are asked at once, which costs less than
waking up for each. A turn may be late by this much; the grid that it belongs to does not move."""


class OnResult(Protocol):
    """What is done with an outcome; returns how many polls of the station failed in a row."""

    def __call__(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float, /) -> int:
        """`seconds` is how long the request took."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and randomness, as passed in: monotonic seconds, UTC, and a number from 0 up to 1."""

    monotonic: Callable[[], float]
    chance: Callable[[], float]
    utc: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Polled:
    """How a station is polled; another one takes its place when that, or what is asked, changes."""

    interval: float
    place: float


@dataclass(slots=True)
class Poller:
    """Polls the stations it was given; `intervals` (seconds) and `fetch` are by station uuid."""

    fetch: Callable[[str], Awaitable[Outcome]]
    settled: OnResult
    clock: Clock
    concurrency: int
    rate: float
    _stations: dict[str, _Polled] = field(default_factory=dict)
    _schedule: Schedule = field(default_factory=Schedule)
    _joined: int = 0
    _under_way: dict[int, float] = field(default_factory=dict)
    _turnstile: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._schedule.rate = self.rate

    def assign(self, intervals: Mapping[str, float], at_once: frozenset[str] = frozenset()) -> None:
        """Poll these from now on: who is new, changed its interval or is in `at_once` gets the next turn.

        What such a station is answering at that moment is the answer to another request, and dropped.
        """
        now = self.clock.monotonic()
        for uuid in self._stations.keys() - intervals.keys():
            self._schedule.remove(uuid)
            del self._stations[uuid]
        for uuid, interval in intervals.items():
            known = self._stations.get(uuid)
            if known is None or known.interval != interval or uuid in at_once:
                self._stations[uuid] = _Polled(interval, known.place if known else phase(self._joined))
                self._joined += known is None
                self._schedule.put(uuid, now)
        self._changed.set()

    @property
    def held(self) -> bool:
        """Whether the cloud asked for no requests, so that no poll tells how old measurements have become."""
        return self._schedule.is_held(self.clock.monotonic())

    @property
    def held_until(self) -> float:
        """When the cloud's wish for no requests ends, or ended."""
        return self._schedule.held_until

    def hold(self, until: float) -> None:
        """Ask nothing before `until`; a later hold wins."""
        self._schedule.hold(until)

    @property
    def late(self) -> float:
        """Seconds that the earliest of the polls that are due has been waiting for."""
        return self._schedule.late(self.clock.monotonic())

    @property
    def longest(self) -> float:
        """Seconds for which the oldest of the requests under way has been; 0 without any."""
        began = min(self._under_way.values(), default=None)
        return 0.0 if began is None else self.clock.monotonic() - began

    async def run(self) -> NoReturn:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for number in range(self.concurrency):
                workers.create_task(self._work(number), name=f"poll-{number}")
        raise RuntimeError("the workers do not end")

    async def _work(self, number: int) -> NoReturn:
        while True:
            async with self._turnstile:
                uuid, due = await self._next_turn()
            polled = self._stations[uuid]
            began = self._under_way[number] = self.clock.monotonic()
            outcome = await self.fetch(uuid)
            del self._under_way[number]
            now = self.clock.monotonic()
            if isinstance(outcome, Failure) and outcome.retry_after is not None:
                self._schedule.hold(now + outcome.retry_after)
            if self._stations.get(uuid) is not polled:
                continue  # it went, or is to be asked otherwise
            consecutive_failures = self.settled(uuid, outcome, Moment(now, self.clock.utc()), now - began)
            turn = DuePoll(due, now, self.clock.chance())
            due = next_due(
                outcome, turn, consecutive_failures=consecutive_failures, interval=polled.interval, place=polled.place
            )
            if self._schedule.put(uuid, due):
                self._changed.set()

    async def _next_turn(self) -> tuple[str, float]:
        """Wait for the earliest turn; whoever enters an earlier one in the meantime wakes this up."""
        while True:
            turn = self._schedule.pop(self.clock.monotonic())
            if turn is not None:
                return turn
            self._changed.clear()
            wait = self._schedule.wait(self.clock.monotonic())
            if wait is None:
                await self._changed.wait()
            elif wait > 0:
                # Not asyncio.timeout: ending by an exception costs several times as much.
                timer = asyncio.get_running_loop().call_later(max(wait, WAKE_UP_GRANULARITY), self._changed.set)
                try:
                    await self._changed.wait()
                finally:
                    timer.cancel()
