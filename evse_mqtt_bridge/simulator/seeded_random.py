"""Pseudo-random numbers that depend on a key only, on every machine and with every Python version."""

import hashlib
import struct

__all__ = ["SeededRandom"]


class SeededRandom:
    """Sixteen uniformly distributed numbers for a key of numbers and strings.

    The numbers come from a hash, because seeding a generator of the `random` module takes ten times as long.
    """

    __slots__ = ("_numbers",)

    def __init__(self, *key: object) -> None:
        self._numbers = iter(struct.unpack("<16I", hashlib.blake2b(repr(key).encode()).digest()))

    def random(self) -> float:
        """Return the next number, at least 0 and less than 1; raise StopIteration after sixteen numbers."""
        number: int = next(self._numbers)
        return number / 2**32

    def uniform(self, low: float, high: float) -> float:
        """Return the next number, scaled to the range from `low` to `high`."""
        return low + (high - low) * self.random()
