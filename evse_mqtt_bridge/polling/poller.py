"""Polls each station when it is due, with one worker per concurrent request.

A worker that has completed a poll takes the next due one. If none is due, it becomes idle, and one timer for all idle
workers assigns the polls to them as they become due. There is no task and no timer per station.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn, Protocol

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Failure, Outcome, StationState
from evse_mqtt_bridge.polling.backoff import (
    SHORT_WAIT,
    CompletedPoll,
    can_recover_with,
    next_due,
    recovery_window,
    station_phase,
    with_short_wait,
)
from evse_mqtt_bridge.polling.schedule import DuePoll, Schedule
from evse_mqtt_bridge.polling.slots import Group, Slots, group_of

__all__ = ["WAKE_UP_GRANULARITY", "WAKE_UP_LIMITS", "Clock", "OnResult", "Poller"]

WAKE_UP_GRANULARITY = 0.01
"""Minimum pause between scheduler wake-ups, as a part of the shortest interval, within `WAKE_UP_LIMITS`. Polls that
fall due within it share one wake-up. A poll may start this late; the schedule itself does not drift."""

WAKE_UP_LIMITS = (0.02, 0.1)
"""Limits of the pause in seconds. A wake-up takes the CPU time of several polls, so fewer of them save CPU time."""


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


@dataclass(slots=True)
class _Assignment:
    """An assigned station. A new object marks a running request as outdated.

    Attributes:
        interval: Polling interval in seconds.
        phase: Its phase, as a part of the interval.
        due: When the next poll is due, in monotonic seconds; `None` while a request is running.
        group: Its group after the last poll.
        failure: The outcome of the last poll, if it failed.
    """

    interval: float
    phase: float
    due: float | None
    group: Group = Group.NEW
    failure: Failure | None = None


@dataclass(slots=True)
class Poller:
    """Polls the assigned stations.

    Attributes:
        fetch: Polls the station with a uuid.
        on_result: Receives the outcomes.
        clock: Sources of time and randomness.
        concurrency: Maximum number of concurrent requests.
        rate: Maximum number of requests started per second; 0: no limit.
        max_backoff: Maximum wait of a failing station in seconds, unless its interval is longer.
    """

    fetch: Callable[[str], Awaitable[Outcome]]
    on_result: OnResult
    clock: Clock
    concurrency: int
    rate: float
    max_backoff: float = 300.0
    _stations: dict[str, _Assignment] = field(default_factory=dict)
    _schedule: Schedule = field(default_factory=Schedule)
    _joined: int = 0
    _wake_up_pause: float = WAKE_UP_LIMITS[0]
    _answering: int = 0
    """Number of stations that answered last time."""
    _recovered_at: float = -math.inf
    _started: dict[int, float] = field(default_factory=dict)
    _idle: list[asyncio.Future[DuePoll]] = field(default_factory=list)
    """One future per idle worker; the last one gets the next poll."""
    _loop: asyncio.AbstractEventLoop | None = None
    """The event loop, once a worker was idle."""
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
            self._answering -= self._stations.pop(uuid).group is Group.ANSWERING
        for uuid, interval in intervals.items():
            known = self._stations.get(uuid)
            if known is None or known.interval != interval or uuid in at_once:
                phase = known.phase if known else station_phase(self._joined)
                self._stations[uuid] = _Assignment(interval, phase, now)
                self._joined += known is None
                self._answering -= known is not None and known.group is Group.ANSWERING
                self._schedule.put(uuid, now, Group.NEW)
        self._dispatch_soon()

    def set_rate(self, rate: float) -> None:
        """Start at most `rate` requests per second from now on; 0: no limit."""
        self.rate = self._schedule.rate = rate

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

    def next_poll(self, uuid: str) -> float | None:
        """Return when a station is polled next, in monotonic seconds.

        `None`: a request is running, or the station is not assigned.
        """
        station = self._stations.get(uuid)
        return None if station is None or station.due is None else max(station.due, self._schedule.held_until)

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
            uuid, due, group = due_poll.key, due_poll.due, due_poll.group
            assignment = self._stations.get(uuid)
            if assignment is None:  # it was removed after the poll had been assigned
                self._schedule.end(group, start)
                continue
            assignment.due = None
            self._started[number] = start
            outcome = await self.fetch(uuid)
            del self._started[number]
            now = self.clock.monotonic()
            if self._schedule.end(group, now):
                self._dispatch_soon()
            if isinstance(outcome, Failure) and outcome.retry_after is not None:
                self._schedule.hold(now + outcome.retry_after)
            if self._stations.get(uuid) is assignment:  # else it was removed, or has another interval or request
                state = self.on_result(uuid, outcome, Moment(now, self.clock.utc()), now - start)
                self._schedule_next(uuid, assignment, state, CompletedPoll(due, now, self.clock.chance()))

    def _schedule_next(self, uuid: str, assignment: _Assignment, state: StationState, poll: CompletedPoll) -> None:
        """Schedule the next poll of a station, and earlier ones of others if it answers again."""
        was_answering = self._answering
        group, failure_before, interval = group_of(state), assignment.failure, assignment.interval
        self._answering += (group is Group.ANSWERING) - (assignment.group is Group.ANSWERING)
        due = next_due(state, poll, interval=interval, phase=assignment.phase, max_backoff=self.max_backoff)
        if state.failure is not None and not self._answering:
            due = with_short_wait(due, state.failure, poll, interval, self._schedule.earliest)
        assignment.due, assignment.group, assignment.failure = due, group, state.failure
        if self._schedule.put(uuid, due, group):
            self._dispatch_soon()
        if state.failure is None and (failure_before is not None or not was_answering):
            self._hasten(failure_before if was_answering else None, poll.now)

    def _hasten(self, recovered: Failure | None, now: float) -> None:
        """Poll failing stations soon, because another one has recovered from this failure; `None`: from any failure.

        If others answered all the time, this happens at most once a minute: a station that fails again and again must
        not cause a poll of each dead one every time.
        """
        if recovered is not None and now - self._recovered_at < SHORT_WAIT:
            return
        self._recovered_at = now
        waiting = [
            (uuid, station)
            for uuid, station in self._stations.items()
            if station.failure is not None and station.due is not None and can_recover_with(station.failure, recovered)
        ]
        window = recovery_window(len(waiting), self.rate)
        for uuid, station in waiting:
            due = now + window * self.clock.chance()
            if station.due is not None and due < station.due:
                station.due = due
                self._schedule.put(uuid, due, station.group)
        self._dispatch_soon()

    def _next_due_poll(self) -> asyncio.Future[DuePoll]:
        """Return a future for the next poll of a group with a free slot."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()  # a system call
        assigned: asyncio.Future[DuePoll] = self._loop.create_future()
        self._idle.append(assigned)
        if self._timer is None:
            self._dispatch_soon()
        return assigned

    def _dispatch_soon(self) -> None:
        """Dispatch in the next iteration of the loop, because a poll may be due earlier than the timer."""
        if self._idle and self._loop is not None:
            self._set_timer(self._loop.call_soon(self._dispatch))

    def _dispatch(self) -> None:
        """Assign a due poll to an idle worker, and set the timer for the next one.

        If others are due, they start in the next iterations of the event loop, one in each. In between, the bridge
        handles the responses that have arrived; otherwise these would wait until all requests are sent.
        """
        self._timer = None
        if not self._idle or self._idle[-1].done():  # done: the poller stops, which has cancelled the workers
            return
        now = self.clock.monotonic()
        if (due_poll := self._schedule.pop(now)) is not None:
            self._idle.pop().set_result(due_poll)
            self._dispatch_soon()
        elif (wait := self._schedule.wait(now)) is not None and self._loop is not None:
            self._set_timer(self._loop.call_later(max(wait, self._wake_up_pause), self._dispatch))

    def _set_timer(self, timer: asyncio.Handle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer
