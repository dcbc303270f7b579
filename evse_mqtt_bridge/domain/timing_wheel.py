"""Deadlines of many keys, in slots of one second, so that a change of a deadline takes constant time.

The deadlines are lower bounds: `put` moves a deadline to an earlier time, but leaves it where it is if the new one is
later. When a key is due too early, the caller puts it again. So a deadline that moves with each poll is not moved with
each poll.
"""

import heapq
import math

__all__ = ["TimingWheel"]


class TimingWheel:
    """The deadlines; each key has at most one. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[str, None]] = {}
        """The keys that become due, by the second at which they do."""
        self._seconds: list[int] = []
        """A heap of the keys of `_slots`."""
        self._second_of: dict[str, int] = {}

    def put(self, key: str, deadline: float) -> None:
        """Make `key` due up to one second after `deadline`, unless it is due earlier; inf adds nothing."""
        if deadline == math.inf:
            return
        second = math.floor(deadline) + 1
        known = self._second_of.get(key)
        if known is not None:
            if known <= second:
                return
            del self._slots[known][key]
        self._second_of[key] = second
        slot = self._slots.get(second)
        if slot is None:
            slot = self._slots[second] = {}
            heapq.heappush(self._seconds, second)
        slot[key] = None

    def remove(self, key: str) -> None:
        """Remove `key`, if present."""
        second = self._second_of.pop(key, None)
        if second is not None:
            del self._slots[second][key]

    def is_due(self, now: float) -> bool:
        """Return whether any key is due."""
        self._drop_empty_slots()
        return bool(self._seconds) and self._seconds[0] <= now

    def pop_due(self, now: float, limit: int) -> list[str]:
        """Remove and return at most `limit` of the keys that are due, earliest first."""
        due: list[str] = []
        while len(due) < limit and self.is_due(now):
            slot = self._slots[self._seconds[0]]
            for key in list(slot)[: limit - len(due)]:
                del slot[key], self._second_of[key]
                due.append(key)
        return due

    def _drop_empty_slots(self) -> None:
        while self._seconds and not self._slots[self._seconds[0]]:
            del self._slots[heapq.heappop(self._seconds)]
