"""Polls each station when it is due, with one worker per concurrent request.

A worker that has completed a poll takes the next due one. If none is due, it becomes idle, and one timer for all idle
workers assigns the polls to them as they become due. There is no task and no timer per station.
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

__all__ = ["WAKE_UP_GRANULARITY", "WAKE_UP_LIMITS", "Clock", "OnResult", "Poller"]

WAKE_UP_GRANULARITY = 0.005
"""Minimum pause between scheduler wake-ups, as a part of the shortest interval, within `WAKE_UP_LIMITS`. Polls that
fall due within it share one wake-up. A poll may start this late; the schedule itself does not drift."""

WAKE_UP_LIMITS = (0.02, 0.05)
"""Limits of the pause in seconds. A wake-up takes the CPU time of a poll; after a longer pause, the responses to so
many requests would wait for each other."""


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
    _wake_up_pause: float = WAKE_UP_LIMITS[0]
    _started: dict[int, float] = field(default_factory=dict)
    _idle: list[asyncio.Future[DuePoll]] = field(default_factory=list)
    """One future per idle worker; the last one gets the next poll."""
    _timer: asyncio.Handle | None = None
    """The next call of `_dispatch`; there is none while no worker is idle."""

    def __post_init__(self) -> None:
        self._schedule.rate = self.rate
        self._schedule.slots = Slots(self.concurrency)

    def assign(self, intervals: Mapping[str, float], at_once: frozenset[str] = frozenset()) -> None:
        """Poll these stations from now on. A running request of a station that is polled at once is ignored.

        Args:
            intervals: Polling intervals in seconds, by station uuid. New and changed stations are polled at once.
            at_once: Further stations to poll at once.
        """
        shortest, longest = WAKE_UP_LIMITS
        pause = min(intervals.values(), default=0.0) * WAKE_UP_GRANULARITY
        self._wake_up_pause = min(longest, max(shortest, pause))
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
        self._dispatch_soon()

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
        try:
            async with asyncio.TaskGroup() as workers:
                for number in range(self.concurrency):
                    workers.create_task(self._work(number), name=f"poll-{number}")
        finally:
            self._set_timer(None)
            self._idle.clear()
        raise RuntimeError("the workers never return")

    async def _work(self, number: int) -> NoReturn:
        while True:
            start = self.clock.monotonic()
            # While a worker is idle, polls wait for the timer, so that they share a wake-up.
            due_poll = None if self._idle else self._schedule.pop(start)
            if due_poll is None:
                due_poll = await self._next_due_poll()
                start = self.clock.monotonic()
            uuid, due, group = due_poll
            assignment = self._stations[uuid]
            self._started[number] = start
            outcome = await self.fetch(uuid)
            del self._started[number]
            now = self.clock.monotonic()
            if self._schedule.end(group, now):
                self._dispatch_soon()
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
                self._dispatch_soon()

    def _next_due_poll(self) -> asyncio.Future[DuePoll]:
        """Return a future for the next poll of a group with a free slot."""
        assigned: asyncio.Future[DuePoll] = asyncio.get_running_loop().create_future()
        self._idle.append(assigned)
        if self._timer is None:
            self._dispatch_soon()
        return assigned

    def _dispatch_soon(self) -> None:
        """Dispatch in the next iteration of the loop, because a poll may be due earlier than the timer."""
        if self._idle:
            self._set_timer(asyncio.get_running_loop().call_soon(self._dispatch))

    def _dispatch(self) -> None:
        """Assign the due polls to idle workers, and set the timer for the next one."""
        self._timer = None
        now = self.clock.monotonic()
        while self._idle and (due_poll := self._schedule.pop(now)) is not None:
            self._idle.pop().set_result(due_poll)
        wait = self._schedule.wait(now) if self._idle else None
        if wait is not None:
            loop = asyncio.get_running_loop()
            self._set_timer(loop.call_later(max(wait, self._wake_up_pause), self._dispatch))

    def _set_timer(self, timer: asyncio.Handle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer
