"""Divides the concurrent requests among groups of stations, so that those that do not answer leave room for the others.

A request to a station that hangs occupies its slot for the whole timeout, a hundred times as long as an answer takes.
The rules, for any number of hanging stations:

- A quarter of the slots is reserved for stations that answered last time, so that they keep their cadence. All others
  share the rest.
- Of the shared slots, new stations use at most three quarters, and unavailable ones at most half.
- Stations that failed, but do not count as unavailable yet, have a guaranteed share, so that a dead station is reported
  soon while many others hang.
"""

import sys
from enum import Enum

from evse_mqtt_bridge.domain.model import Reason, StationState

__all__ = ["Group", "Slots", "group_of"]


class Group(Enum):
    """Why a station is polled."""

    __hash__ = object.__hash__  # the hash of an enum is a Python function, and each poll needs some

    ANSWERING = "it answered last time"
    NEW = "it has not been polled yet, or has another token or interval"
    DOUBTFUL = "it failed last time"
    SUSPECT = "it failed at least twice in a row"
    UNAVAILABLE = "it failed, and counts as unavailable"


_GUARANTEED = (Group.SUSPECT, Group.DOUBTFUL)


def group_of(state: StationState) -> Group:
    """Return the group of a station after a poll."""
    if state.failure is None:
        return Group.ANSWERING
    if state.reason not in (None, Reason.ONLINE):
        return Group.UNAVAILABLE
    return Group.DOUBTFUL if state.consecutive_failures == 1 else Group.SUSPECT


class Slots:
    """Counts the running requests of each group.

    Args:
        concurrency: Maximum number of running requests, from 1; the caller must not exceed it. `None`: there is no
            limit, and so no group needs a guarantee.
    """

    def __init__(self, concurrency: int | None = None) -> None:
        self._guaranteed = 0 if concurrency is None else concurrency // 8
        concurrency = sys.maxsize if concurrency is None else concurrency
        self._shared = shared = concurrency - concurrency // 4
        self._most = {
            Group.NEW: shared - shared // 4,
            Group.DOUBTFUL: shared,
            Group.SUSPECT: shared,
            Group.UNAVAILABLE: max(1, shared // 2),
        }
        self._running = dict.fromkeys(self._most, 0)
        self._shared_running = 0

    def has_room(self, group: Group) -> bool:
        """Return whether a request of `group` may start."""
        if group is Group.ANSWERING:
            return True
        return self._shared_running < self._shared and self._running[group] < self._most[group]

    def has_precedence(self, group: Group) -> bool:
        """Return whether `group` has room, and uses less than its guaranteed share."""
        return group in _GUARANTEED and self._running[group] < self._guaranteed and self.has_room(group)

    def start(self, group: Group) -> None:
        """Count a request of `group` that starts."""
        if group is not Group.ANSWERING:
            self._running[group] += 1
            self._shared_running += 1

    def end(self, group: Group) -> bool:
        """Count a request of `group` that ended; return whether any group has room only since then."""
        if group is Group.ANSWERING:
            return False
        was_full = not self.has_room(group)
        self._running[group] -= 1
        self._shared_running -= 1
        return was_full
