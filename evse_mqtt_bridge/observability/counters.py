"""Counts what the bridge does, for metrics: numbers that only grow, kept as plainly as can be."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason

__all__ = ["DURATION_BUCKETS", "Counters"]

DURATION_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds, of the histogram of how long polls take; the last bucket is what took longer."""


@dataclass(slots=True)
class Counters:
    """Counted from the start of the process; every key is one of a fixed set."""

    answered: int = 0
    """Polls that yielded a useful answer. A plain number: most polls do, and an Enum as a key costs more than they."""
    failures: Counter[Reason] = field(default_factory=Counter)
    """Polls that did not, by reason."""
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS) + 1))
    """Polls by duration: as many as DURATION_BUCKETS, and one; not cumulative."""
    seconds: float = 0.0
    """Duration of all polls together."""
    unusual: int = 0
    """Answers that were used, but had something unusual."""
    refused: int = 0
    """Publications that the broker would not have."""
    connected: int = 0
    """Connections that the broker accepted."""
    ended: Counter[str] = field(default_factory=Counter)
    """Connections, and attempts at one, that ended, by what ended them (broker/connection.py, DisconnectReason)."""
    reloads: Counter[str] = field(default_factory=Counter)
    """Reloads, `taken` or `refused`."""

    def polled(self, outcome: Outcome, seconds: float) -> None:
        """One poll took this long."""
        if isinstance(outcome, Failure):
            self.failures[outcome.reason] += 1
        else:
            self.answered += 1
            if outcome.notes:
                self.unusual += 1
        self.durations[bisect_left(DURATION_BUCKETS, seconds)] += 1
        self.seconds += seconds
