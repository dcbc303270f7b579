"""Determines when to poll each station: interval, backoff, Retry-After. All times are monotonic seconds.

Each station has a grid: its phase plus a whole number of intervals. The golden ratio spreads the phases of any number
of stations evenly, and a new station does not move the others. A failing station leaves the grid and uses full jitter:
it waits for a random time up to a bound that doubles with each failure. A rejected station is only probed.

There is one queue per group of stations (slots.py). The earliest due poll of all groups comes first, so that each
station is polled even if there are more polls than the limits allow. Exceptions: a group without a free slot is passed
over, and one with a guaranteed share takes precedence.
"""

import heapq
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason
from evse_mqtt_bridge.polling.slots import Group, Slots

__all__ = ["BACKOFF_LIMIT", "PROBE_INTERVAL", "CompletedPoll", "DuePoll", "Schedule", "next_due", "station_phase"]

BACKOFF_LIMIT = 300.0
"""Maximum backoff in seconds, unless the interval of the station is longer."""

PROBE_INTERVAL = 900.0
"""Seconds between two polls of a station whose token is rejected, or that the cloud does not know."""

_Entry = tuple[float, int, str]
"""An entry of a queue: due time, serial number, key."""

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


class DuePoll(NamedTuple):
    """A poll whose time has come.

    Attributes:
        key: The station.
        due: When the poll was due.
        group: Why the station is polled.
    """

    key: str
    due: float
    group: Group


@dataclass(slots=True)
class Schedule:
    """A queue of due times, earliest first; it contains each key once, in one group.

    Attributes:
        rate: Maximum number of keys per second; 0: no limit.
        slots: The slots for running polls; unlimited by default.
        held_until: No key is returned before this time.
    """

    rate: float = 0.0
    slots: Slots = field(default_factory=Slots)
    held_until: float = -math.inf
    _heaps: dict[Group, list[_Entry]] = field(default_factory=lambda: {group: [] for group in Group})
    _due: dict[str, int] = field(default_factory=dict)
    _serial: int = 0
    _free_at: float = -math.inf
    _room_since: float = -math.inf

    @property
    def entries(self) -> int:
        """The number of stored entries, including outdated ones."""
        return sum(map(len, self._heaps.values()))

    def put(self, key: str, due: float, group: Group = Group.ANSWERING) -> bool:
        """Add `key`, or change its due time and group; return whether it is the earliest of its group."""
        self._serial += 1
        self._due[key] = self._serial
        heap = self._heaps[group]
        heapq.heappush(heap, (due, self._serial, key))
        return heap[0][1] == self._serial

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
        """Return for how many seconds the earliest key has been due; 0 if none is due.

        The wait of unavailable stations for one of their slots does not count.
        """
        heaps = self._heaps
        dues = [entry[0] for group in Group if group is not Group.UNAVAILABLE and (entry := self._first(heaps[group]))]
        if self.slots.has_room(Group.UNAVAILABLE) and (entry := self._first(heaps[Group.UNAVAILABLE])):
            dues.append(max(entry[0], self._room_since))
        return max(0.0, now - min(dues)) if dues else 0.0

    def wait(self, now: float) -> float | None:
        """Return the seconds until `pop` returns a key; `None` if no group with a free slot has one."""
        found = self._next(now)
        return None if found is None else max(0.0, max(found[1][0][0], self._free_at, self.held_until) - now)

    def pop(self, now: float) -> DuePoll | None:
        """Remove and return a due key, and count it as running until `end`; `None` if none is due."""
        found = self._next(now)
        if found is None:
            return None
        group, heap = found
        if heap[0][0] > now or self._free_at > now or self.held_until > now:
            return None
        due, _, key = heapq.heappop(heap)
        del self._due[key]
        self.slots.start(group)
        if self.rate:
            # Delays up to 0.1 s are caught up, so that late timers do not lower the rate.
            self._free_at = max(self._free_at, now - 0.1) + 1 / self.rate
        return DuePoll(key, due, group)

    def end(self, group: Group, now: float) -> bool:
        """Free the slot of a poll of `group`; return whether `wait` may have become shorter."""
        has_more_room = self.slots.end(group)
        if has_more_room:
            self._room_since = now
        return has_more_room

    def _next(self, now: float) -> tuple[Group, list[_Entry]] | None:
        """Return the group with the next poll: the earliest one, or one that is due of a group with precedence."""
        found: tuple[Group, list[_Entry]] | None = None
        for group, heap in self._heaps.items():
            if not heap:  # as for most groups, in every poll
                continue
            entry = self._first(heap)
            if entry is None:
                continue
            if entry[0] <= now and self.slots.has_precedence(group):
                return group, heap
            if (found is None or entry < found[1][0]) and self.slots.has_room(group):
                found = group, heap
        return found

    def _first(self, heap: list[_Entry]) -> _Entry | None:
        """Return the earliest entry of a group. Drops entries whose key was removed, or has another due time."""
        while heap and self._due.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0] if heap else None
