"""A queue of keys by due time, in which a change takes nearly the same time however many keys there are.

The keys are in slots of `SLOT` seconds. A heap orders the slots, and only the keys of the first slot are sorted. A heap
of all keys compares a dozen of them per poll, which are spread over the whole memory.
"""

import heapq
import math
from bisect import insort

__all__ = ["SLOT", "DueQueue", "Entry"]

SLOT = 1 / 128
"""The length of a slot in seconds; with a power of two, the limits of the slots are exact."""


Entry = tuple[float, int, str]
"""When a key is due, in monotonic seconds; a number that increases with each entry; the key."""


class DueQueue:
    """Entries, the earliest first; of those that are due at the same time, the one that was added first.

    Attributes:
        size: The number of entries.
    """

    __slots__ = ("_first", "_first_end", "_order", "_position", "_slots", "size")

    def __init__(self) -> None:
        self.size = 0
        self._first: list[Entry] = []
        """The entries of the first slot, sorted; those before `_position` were removed."""
        self._position = 0
        self._first_end = -math.inf
        """The end of the first slot, in monotonic seconds."""
        self._slots: dict[int, list[Entry]] = {}
        """The entries of all other slots that have any, by the number of the slot."""
        self._order: list[int] = []
        """A heap of the keys of `_slots`."""

    def put(self, entry: Entry) -> bool:
        """Add an entry; return whether it is the earliest."""
        self.size += 1
        if entry[0] < self._first_end:
            del self._first[: self._position]
            self._position = 0
            insort(self._first, entry)
            return self._first[0] is entry
        number = math.floor(entry[0] / SLOT)
        slot = self._slots.get(number)
        if slot is None:
            self._slots[number] = [entry]
            heapq.heappush(self._order, number)
        else:
            slot.append(entry)
        return self._position == len(self._first) and self.first() is entry

    def first(self) -> Entry | None:
        """Return the earliest entry; `None` if there is none."""
        if self._position == len(self._first):
            if not self._order:
                return None
            number = heapq.heappop(self._order)
            self._first = self._slots.pop(number)
            self._first.sort()
            self._position = 0
            self._first_end = (number + 1) * SLOT
        return self._first[self._position]

    def pop(self) -> None:
        """Remove the earliest entry, which `first` has returned."""
        self._position += 1
        self.size -= 1
