"""How well stations keep their cadence, from the times at which the cloud was asked."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["Cadence", "cadence", "polls"]


@dataclass(frozen=True, slots=True)
class Cadence:
    """How far the gaps between two polls of a station are from the interval, as shares of it."""

    gaps: int
    p99: float
    worst: float
    within: float
    """The share of gaps that are off by at most 5 % of the interval."""


def polls(log: Path, since: float = 0.0, until: float = float("inf")) -> dict[str, list[float]]:
    """When each station was asked (seconds, UTC), by uuid, from the cloud's log."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, uuid in _lines(log):
        if since <= at <= until:
            times[uuid].append(at)
    return times


def cadence(times: Mapping[str, Sequence[float]], interval: float, without: Container[str] = ()) -> Cadence:
    """The cadence of all stations but some, by uuid; `interval` in seconds."""
    off = sorted(
        abs(after - before - interval) / interval
        for uuid, asked in times.items()
        if uuid not in without
        for before, after in pairwise(asked)
    )
    if not off:
        return Cadence(0, 0.0, 0.0, 0.0)
    within = sum(1 for share in off if share <= 0.05) / len(off)
    return Cadence(len(off), off[len(off) * 99 // 100], off[-1], within)


def _lines(log: Path) -> Iterator[tuple[float, str]]:
    with log.open() as lines:
        for at, address in _complete(lines):
            yield float(at), address.split("/")[4]


def _complete(lines: Iterable[str]) -> Iterator[list[str]]:
    """The fields of each line but one that is being written."""
    return (line.split() for line in lines if line.endswith("\n"))
