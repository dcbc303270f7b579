"""Determines when to poll each station: interval, backoff, Retry-After. All times are monotonic seconds.

Each station has a grid: its phase plus a whole number of intervals. The golden ratio spreads the phases of any number
of stations evenly, and a new station does not move the others. A failing station leaves the grid and uses full jitter:
it waits for a random time up to a bound that doubles with each failure. A rejected station is only probed.
"""

import heapq
import math
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason

__all__ = ["BACKOFF_LIMIT", "PROBE_INTERVAL", "CompletedPoll", "Schedule", "next_due", "station_phase"]

BACKOFF_LIMIT = 300.0
"""Maximum backoff in seconds, unless the interval of the station is longer."""

PROBE_INTERVAL = 900.0
"""Seconds between two polls of a station whose token is rejected, or that the cloud does not know."""

_SHORTEST_WAIT = 1.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_PROBED = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND})
_BUSY = frozenset({Reason.RATE_LIMITED, Reason.SERVER_ERROR})
"""After these failures the wait is at least the interval, to add no load to an overloaded cloud."""


def station_phase(index: int) -> float:
    """Return the phase of the station with this index, as a part of its interval, from 0 up to 1."""
    return index * _GOLDEN % 1.0


@dataclass(frozen=True, slots=True)
class CompletedPoll:
    """A completed poll of a station.

    Attributes:
        due: When the poll was due.
        now: When its outcome arrived.
        chance: A random number from 0 up to 1.
    """

    due: float
    now: float
    chance: float


def next_due(
    outcome: Outcome, poll: CompletedPoll, *, consecutive_failures: int, interval: float, phase: float
) -> float:
    """Return when to poll a station again.

    Args:
        outcome: The outcome of the poll.
        poll: The times of the poll.
        consecutive_failures: Number of failures in a row, including this poll.
        interval: Polling interval in seconds.
        phase: The phase of the station, from 0 up to 1.
    """
    if isinstance(outcome, Failure):
        if outcome.reason in _PROBED:
            return poll.now + max(PROBE_INTERVAL, interval) * (0.9 + 0.2 * poll.chance)
        bound = min(max(BACKOFF_LIMIT, interval), interval * 2.0 ** min(consecutive_failures - 1, 32))
        shortest = interval if outcome.reason in _BUSY else _SHORTEST_WAIT
        return poll.now + max(shortest, bound * poll.chance)
    # At least half an interval after the poll was due, so that the first poll is not followed by another at once. Never
    # in the past: missed polls are skipped and not caught up.
    following = math.floor(poll.due / interval - phase + 0.5) + 1
    upcoming = math.floor(poll.now / interval - phase) + 1
    return (max(following, upcoming) + phase) * interval


@dataclass(slots=True)
class Schedule:
    """A queue of due times, earliest first; it contains each key once.

    Attributes:
        rate: Maximum number of keys per second; 0: no limit.
        held_until: No key is returned before this time.
    """

    rate: float = 0.0
    held_until: float = -math.inf
    _heap: list[tuple[float, int, str]] = field(default_factory=list)
    _due: dict[str, int] = field(default_factory=dict)
    _serial: int = 0
    _free_at: float = -math.inf

    @property
    def entries(self) -> int:
        """The number of stored entries, including outdated ones."""
        return len(self._heap)

    def put(self, key: str, due: float) -> bool:
        """Add `key`, or change its due time; return whether it is the earliest."""
        self._serial += 1
        self._due[key] = self._serial
        heapq.heappush(self._heap, (due, self._serial, key))
        return self._heap[0][1] == self._serial

    def remove(self, key: str) -> None:
        """Remove `key`, if present."""
        self._due.pop(key, None)

    def hold(self, until: float) -> None:
        """Return no key before `until`; the latest hold applies."""
        self.held_until = max(self.held_until, until)

    def is_held(self, now: float) -> bool:
        """Return whether a hold is in effect."""
        return now < self.held_until

    def late(self, now: float) -> float:
        """Return for how many seconds the earliest key has been due; 0 if none is due."""
        self._drop_outdated()
        return max(0.0, now - self._heap[0][0]) if self._heap else 0.0

    def _drop_outdated(self) -> None:
        """Drop entries at the front whose key was removed or has another due time."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)

    def wait(self, now: float) -> float | None:
        """Return the seconds until `pop` returns a key; `None` if there are no keys."""
        self._drop_outdated()
        if not self._heap:
            return None
        return max(0.0, max(self._heap[0][0], self._free_at, self.held_until) - now)

    def pop(self, now: float) -> tuple[str, float] | None:
        """Remove and return a due key with its due time; `None` if none is due."""
        if self.wait(now) != 0.0:
            return None
        due, _, key = heapq.heappop(self._heap)
        del self._due[key]
        if self.rate:
            # Delays up to 0.1 s are caught up, so that late timers do not lower the rate.
            self._free_at = max(self._free_at, now - 0.1) + 1 / self.rate
        return key, due
