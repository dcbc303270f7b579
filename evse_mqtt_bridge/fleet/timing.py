"""The waiting times of a member, all of them multiples of `fleet.ttl`."""

from dataclasses import dataclass

__all__ = ["Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """The waiting times of a member, in seconds.

    Attributes:
        beat: Between two beats.
        grace: For which a shard was free, or a member unfit, before it counts. More than a beat with its time limits.
        stability: For which a member runs, or the members are the same, before shards move to or between them.
        abstention: For which a member does not claim a shard that it gave up.
        rescue: For which a shard was free before any eligible member claims it, because the others do not.
    """

    beat: float
    grace: float
    stability: float
    abstention: float
    rescue: float

    @classmethod
    def of(cls, ttl: float) -> "Timing":
        """Return the times that belong to a `fleet.ttl`."""
        beat = ttl / 4
        return cls(beat, grace=2 * beat, stability=3 * ttl, abstention=3 * beat, rescue=6 * beat)
