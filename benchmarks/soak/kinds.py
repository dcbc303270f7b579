"""The kinds of faults and changes by name, and a random choice among those that a run causes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

from benchmarks.soak.changes import CHANGES
from benchmarks.soak.faults import BROKER_FAULTS, CLOUD_FAULTS, LIMITED_BROKER
from benchmarks.soak.restarts import RESTARTS
from benchmarks.soak.shortages import LASTING_SHORTAGES, PASSING_SHORTAGES
from benchmarks.soak.station_faults import STATION_FAULTS
from benchmarks.soak.strangers import STRANGER_FAULTS

__all__ = ["ALL_KINDS", "BIRTH", "HALF_HANGING", "INVALID", "LASTING", "PASSING", "Kinds"]

PASSING = {**BROKER_FAULTS, **PASSING_SHORTAGES}
"""Faults that end before the retained topics are checked."""

LASTING = {**LIMITED_BROKER, **STRANGER_FAULTS, **LASTING_SHORTAGES}
"""Faults that last through the check and change no availability."""

BIRTH = "birth message"
INVALID = "invalid configuration"
HALF_HANGING = "half of the stations without a response"

ALL_KINDS = (*PASSING, *LASTING, *CLOUD_FAULTS, *STATION_FAULTS, HALF_HANGING, *CHANGES, *RESTARTS, BIRTH, INVALID)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of a run.

    Attributes:
        enabled: Their names.
        rng: Seeded random generator.
        is_frequent: Whether to cause them in each step, because only few were chosen.
    """

    enabled: frozenset[str]
    rng: Random
    is_frequent: bool = False

    @classmethod
    def chosen(cls, rng: Random, only: Iterable[str], without: Iterable[str]) -> "Kinds":
        """Return the kinds named by `only` (all, if it is empty) that are not in `without`."""
        return cls(frozenset(only or ALL_KINDS) - frozenset(without), rng, is_frequent=bool(only))

    def happens(self, name: str, chance: float) -> bool:
        """Return true with a probability of `chance` if the kind is enabled."""
        return self._happens(chance) and name in self.enabled

    def draw(self, table: Mapping[str, object], chance: float = 1.0) -> str:
        """Return the name of an enabled kind of the table; with a probability of 1 - `chance`, an empty text."""
        names = [name for name in table if name in self.enabled]
        return self.rng.choice(names) if names and self._happens(chance) else ""

    def _happens(self, chance: float) -> bool:
        return self.rng.random() < chance or self.is_frequent

    def sample(self, table: Mapping[str, object], most: int) -> list[str]:
        """Return one to `most` different names of enabled kinds of the table; none if no kind is enabled."""
        names = [name for name in table if name in self.enabled]
        return self.rng.sample(names, min(len(names), self.rng.randint(1, most)))
