"""When to poll next: cadence, backoff, Retry-After, and stations spread over the interval. Times are monotonic seconds.

A station keeps to its own grid: its phase plus a whole number of intervals. Phases come from the golden ratio, which
spreads any number of stations evenly and leaves the others in place when one joins. A failing station leaves the grid
for full jitter: a random wait up to a bound that doubles with each miss. A rejected one is only probed.
"""

import heapq
import math
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason

__all__ = ["BACKOFF_LIMIT", "PROBE_INTERVAL", "DuePoll", "Schedule", "next_due", "phase"]

BACKOFF_LIMIT = 300.0
"""Seconds that a station that does not answer waits at most, where its interval is no longer than that."""

PROBE_INTERVAL = 900.0
"""Seconds between two looks at whether a rejected token or a missing station is accepted by now."""

_SHORTEST_WAIT = 1.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_PROBED = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND})
_BUSY = frozenset({Reason.RATE_LIMITED, Reason.SERVER_ERROR})
"""After these nobody is asked sooner than if all were well: it would be one more request for who has too many."""


def phase(index: int) -> float:
    """The place of the station with this index within its interval, from 0 up to 1."""
    return index * _GOLDEN % 1.0


@dataclass(frozen=True, slots=True)
class DuePoll:
    """One poll of one station: when it was `due`, when its outcome arrived (`now`), and `chance`, from 0 up to 1."""

    due: float
    now: float
    chance: float


def next_due(outcome: Outcome, turn: DuePoll, *, consecutive_failures: int, interval: float, place: float) -> float:
    """When to poll again; `place` is the station's phase, and `consecutive_failures` includes this one."""
    if isinstance(outcome, Failure):
        if outcome.reason in _PROBED:
            return turn.now + PROBE_INTERVAL * (0.9 + 0.2 * turn.chance)
        bound = min(max(BACKOFF_LIMIT, interval), interval * 2.0 ** min(consecutive_failures - 1, 32))
        shortest = interval if outcome.reason in _BUSY else _SHORTEST_WAIT
        return turn.now + max(shortest, bound * turn.chance)
    # At least half an interval after the last one was due, so that the poll at the start is not followed by another at
    # once; and never in the past: what could not be kept is left out, not caught up.
    following = math.floor(turn.due / interval - place + 0.5) + 1
    upcoming = math.floor(turn.now / interval - place) + 1
    return (max(following, upcoming) + place) * interval


@dataclass(slots=True)
class Schedule:
    """Who is to be polled when, earliest first; holds each key once.

    `rate` bounds how many keys are handed out per second (0: no bound); `hold` keeps all of them back until
    `held_until`.
    """

    rate: float = 0.0
    held_until: float = -math.inf
    _heap: list[tuple[float, int, str]] = field(default_factory=list)
    _due: dict[str, int] = field(default_factory=dict)
    _serial: int = 0
    _free_at: float = -math.inf

    def put(self, key: str, due: float) -> bool:
        """Enter `key`, or move it; returns whether it is the earliest."""
        self._serial += 1
        self._due[key] = self._serial
        heapq.heappush(self._heap, (due, self._serial, key))
        return self._heap[0][1] == self._serial

    def remove(self, key: str) -> None:
        """Take `key` out, if it is in."""
        self._due.pop(key, None)

    def hold(self, until: float) -> None:
        """Hand out nothing before `until`; a later hold wins."""
        self.held_until = max(self.held_until, until)

    def is_held(self, now: float) -> bool:
        """Whether everything is kept back."""
        return now < self.held_until

    def late(self, now: float) -> float:
        """Seconds for which the earliest turn has been due; 0 while none is."""
        self._tidy()
        return max(0.0, now - self._heap[0][0]) if self._heap else 0.0

    def _tidy(self) -> None:
        """Drop what was removed or moved from the front."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)

    def wait(self, now: float) -> float | None:
        """Seconds until `pop` will yield something, 0 when it would now; `None` while nothing is entered."""
        self._tidy()
        if not self._heap:
            return None
        return max(0.0, max(self._heap[0][0], self._free_at, self.held_until) - now)

    def pop(self, now: float) -> tuple[str, float] | None:
        """A key that is due, and since when; or `None`."""
        if self.wait(now) != 0.0:
            return None
        due, _, key = heapq.heappop(self._heap)
        del self._due[key]
        if self.rate:
            # A little behind is caught up, so that timers that fire late do not lower the rate.
            self._free_at = max(self._free_at, now - 0.1) + 1 / self.rate
        return key, due
