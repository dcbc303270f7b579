"""Numbers between 0 and 1 that are the same for the same place, on every machine and with every Python."""

import hashlib
import struct

__all__ = ["SeededRandom"]


class SeededRandom:
    """Sixteen numbers for `place` (numbers and words), each as good as random.

    A hash, since seeding one of the generators of `random` for a few numbers costs ten times as much.
    """

    __slots__ = ("_numbers",)

    def __init__(self, *place: object) -> None:
        self._numbers = iter(struct.unpack("<16I", hashlib.blake2b(repr(place).encode()).digest()))

    def roll(self) -> float:
        """The next one, from 0 up to but not including 1; StopIteration where all are used."""
        number: int = next(self._numbers)
        return number / 2**32

    def between(self, low: float, high: float) -> float:
        """The next one, spread from `low` to `high`."""
        return low + (high - low) * self.roll()
