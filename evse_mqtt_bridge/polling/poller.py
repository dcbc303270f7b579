"""Polls each station when it is due, with one worker per concurrent request.

One idle worker waits for the earliest due poll, and the others wait for the dispatch lock. There is thus one timer, and
no task per station.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Failure, Outcome, StationState
from evse_mqtt_bridge.polling.schedule import CompletedPoll, DuePoll, Schedule, next_due, station_phase
from evse_mqtt_bridge.polling.slots import Group, Slots, group_of

__all__ = ["WAKE_UP_GRANULARITY", "Clock", "OnResult", "Poller"]

WAKE_UP_GRANULARITY = 0.02
"""Minimum pause between scheduler wake-ups, in seconds. Polls that fall due within it share one wake-up. A poll may
start this late; the schedule itself does not drift."""


class OnResult(Protocol):
    """Receives the outcome of a poll, and returns the state of the station after it."""

    def __call__(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float, /) -> StationState:
        """Apply an outcome.

        Args:
            uuid: The station.
            outcome: The outcome of the poll.
            moment: When the outcome arrived.
            seconds: Duration of the request.
        """


@dataclass(frozen=True, slots=True)
class Clock:
    """Sources of time and randomness.

    Attributes:
        monotonic: Returns monotonic seconds.
        chance: Returns a random number from 0 up to 1.
        utc: Returns the time of day in UTC.
    """

    monotonic: Callable[[], float]
    chance: Callable[[], float]
    utc: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Assignment:
    """The interval and phase of a station. A new object marks a running request as outdated."""

    interval: float
    phase: float


@dataclass(slots=True)
class Poller:
    """Polls the assigned stations.

    Attributes:
        fetch: Polls the station with a uuid.
        on_result: Receives the outcomes.
        clock: Sources of time and randomness.
        concurrency: Maximum number of concurrent requests.
        rate: Maximum number of requests started per second; 0: no limit.
    """

    fetch: Callable[[str], Awaitable[Outcome]]
    on_result: OnResult
    clock: Clock
    concurrency: int
    rate: float
    _stations: dict[str, _Assignment] = field(default_factory=dict)
    _schedule: Schedule = field(default_factory=Schedule)
    _joined: int = 0
    _started: dict[int, float] = field(default_factory=dict)
    _dispatch_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._schedule.rate = self.rate
        self._schedule.slots = Slots(self.concurrency)

    def assign(self, intervals: Mapping[str, float], at_once: frozenset[str] = frozenset()) -> None:
        """Poll these stations from now on. A running request of a station that is polled at once is ignored.

        Args:
            intervals: Polling intervals in seconds, by station uuid. New and changed stations are polled at once.
            at_once: Further stations to poll at once.
        """
        now = self.clock.monotonic()
        for uuid in self._stations.keys() - intervals.keys():
            self._schedule.remove(uuid)
            del self._stations[uuid]
        for uuid, interval in intervals.items():
            known = self._stations.get(uuid)
            if known is None or known.interval != interval or uuid in at_once:
                self._stations[uuid] = _Assignment(interval, known.phase if known else station_phase(self._joined))
                self._joined += known is None
                self._schedule.put(uuid, now, Group.NEW)
        self._changed.set()

    @property
    def held(self) -> bool:
        """Whether polling pauses because the cloud requested it."""
        return self._schedule.is_held(self.clock.monotonic())

    @property
    def held_until(self) -> float:
        """When the pause that the cloud requested ends or ended, in monotonic seconds."""
        return self._schedule.held_until

    def hold(self, until: float) -> None:
        """Start no request before `until`; the latest hold applies."""
        self._schedule.hold(until)

    @property
    def delay(self) -> float:
        """For how many seconds the earliest due poll has been waiting."""
        return self._schedule.late(self.clock.monotonic())

    @property
    def oldest_request_age(self) -> float:
        """The duration of the oldest running request in seconds; 0 if there is none."""
        start = min(self._started.values(), default=None)
        return 0.0 if start is None else self.clock.monotonic() - start

    async def run(self) -> NoReturn:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for number in range(self.concurrency):
                workers.create_task(self._work(number), name=f"poll-{number}")
        raise RuntimeError("the workers never return")

    async def _work(self, number: int) -> NoReturn:
        while True:
            async with self._dispatch_lock:
                uuid, due, group = await self._next_due_poll()
            assignment = self._stations[uuid]
            start = self._started[number] = self.clock.monotonic()
            outcome = await self.fetch(uuid)
            del self._started[number]
            now = self.clock.monotonic()
            if self._schedule.end(group, now):
                self._changed.set()
            if isinstance(outcome, Failure) and outcome.retry_after is not None:
                self._schedule.hold(now + outcome.retry_after)
            if self._stations.get(uuid) is not assignment:
                continue  # the station was removed, or has another interval or request
            state = self.on_result(uuid, outcome, Moment(now, self.clock.utc()), now - start)
            due = next_due(
                outcome,
                CompletedPoll(due, now, self.clock.chance()),
                consecutive_failures=state.consecutive_failures,
                interval=assignment.interval,
                phase=assignment.phase,
            )
            if self._schedule.put(uuid, due, group_of(state)):
                self._changed.set()

    async def _next_due_poll(self) -> DuePoll:
        """Wait for the earliest due poll of a group with a free slot.

        An earlier poll that is added meanwhile, or a slot that becomes free for another group, ends the wait.
        """
        while True:
            due_poll = self._schedule.pop(self.clock.monotonic())
            if due_poll is not None:
                return due_poll
            self._changed.clear()
            wait = self._schedule.wait(self.clock.monotonic())
            if wait is None:
                await self._changed.wait()
            elif wait > 0:
                # Not asyncio.timeout: the exception costs several times as much.
                timer = asyncio.get_running_loop().call_later(max(wait, WAKE_UP_GRANULARITY), self._changed.set)
                try:
                    await self._changed.wait()
                finally:
                    timer.cancel()
