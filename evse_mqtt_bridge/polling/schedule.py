"""A queue of due polls, within the request rate, a pause that the cloud requests, and the slots. Monotonic seconds.

There is one queue per group of stations (slots.py). The earliest due poll of all groups comes first, so that each
station is polled even if there are more polls than the limits allow. Exceptions: a group without a free slot is passed
over, and one with a guaranteed share takes precedence.
"""

import math
from dataclasses import dataclass, field

from evse_mqtt_bridge.polling.due_queue import DueQueue, Entry
from evse_mqtt_bridge.polling.slots import Group, Slots
from evse_mqtt_bridge.support.value_class import value_class

__all__ = ["DuePoll", "Schedule"]


@value_class
class DuePoll:
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
    _queues: dict[Group, DueQueue] = field(default_factory=lambda: {group: DueQueue() for group in Group})
    _due: dict[str, int] = field(default_factory=dict)
    _serial: int = 0
    _free_at: float = -math.inf
    _room_since: float = -math.inf

    @property
    def entries(self) -> int:
        """The number of stored entries, including outdated ones."""
        return sum(queue.size for queue in self._queues.values())

    def put(self, key: str, due: float, group: Group = Group.ANSWERING) -> bool:
        """Add `key`, or change its due time and group; return whether it is the earliest of its group."""
        self._serial += 1
        self._due[key] = self._serial
        return self._queues[group].put((due, self._serial, key))

    def remove(self, key: str) -> None:
        """Remove `key`, if present."""
        self._due.pop(key, None)

    @property
    def earliest(self) -> float | None:
        """When the earliest key is due; `None`: there is none."""
        return min((entry[0] for queue in self._queues.values() if (entry := self._first(queue))), default=None)

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
        queues = self._queues
        others = (group for group in Group if group is not Group.UNAVAILABLE)
        dues = [entry[0] for group in others if (entry := self._first(queues[group]))]
        if self.slots.has_room(Group.UNAVAILABLE) and (entry := self._first(queues[Group.UNAVAILABLE])):
            dues.append(max(entry[0], self._room_since))
        return max(0.0, now - min(dues)) if dues else 0.0

    def wait(self, now: float) -> float | None:
        """Return the seconds until `pop` returns a key; `None` if no group with a free slot has one."""
        found = self._next(now)
        return None if found is None else max(0.0, max(found[1][0], self._free_at, self.held_until) - now)

    def pop(self, now: float) -> DuePoll | None:
        """Remove and return a due key, and count it as running until `end`; `None` if none is due."""
        found = self._next(now)
        if found is None:
            return None
        group, (due, _, key) = found
        if due > now or self._free_at > now or self.held_until > now:
            return None
        self._queues[group].pop()
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

    def _next(self, now: float) -> tuple[Group, Entry] | None:
        """Return the next poll with its group: the earliest one, or one that is due of a group with precedence."""
        found: tuple[Group, Entry] | None = None
        for group, queue in self._queues.items():
            if not queue.size or (entry := self._first(queue)) is None:  # most groups are empty in every poll
                continue
            is_answering = group is Group.ANSWERING  # such stations always have a slot; this spares calls in every poll
            if not is_answering and entry[0] <= now and self.slots.has_precedence(group):
                return group, entry
            if (found is None or entry < found[1]) and (is_answering or self.slots.has_room(group)):
                found = group, entry
        return found

    def _first(self, queue: DueQueue) -> Entry | None:
        """Return the earliest entry of a group. Drops entries whose key was removed, or has another due time."""
        while (entry := queue.first()) is not None and self._due.get(entry[2]) != entry[1]:
            queue.pop()
        return entry
