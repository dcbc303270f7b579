"""Measures how regularly stations are polled, from the times in the cloud's log."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["Cadence", "cadence", "polls"]


@dataclass(frozen=True, slots=True)
class Cadence:
    """The deviation of the gaps between polls of a station from the interval.

    Attributes:
        gaps: Number of gaps.
        p99: 99th percentile of the deviation, as a share of the interval.
        worst: Largest deviation, as a share of the interval.
        within: Share of gaps that deviate by at most 5 % of the interval, from 0 to 1.
    """

    gaps: int
    p99: float
    worst: float
    within: float


def polls(log: Path, since: float = 0.0, until: float = float("inf")) -> dict[str, list[float]]:
    """Return the times of polls (seconds, UTC) by station uuid, between `since` and `until`, from the cloud's log."""
    times: dict[str, list[float]] = defaultdict(list)
    for at, uuid in _lines(log):
        if since <= at <= until:
            times[uuid].append(at)
    return times


def cadence(times: Mapping[str, Sequence[float]], interval: float, without: Container[str] = ()) -> Cadence:
    """Return the cadence of all stations together.

    Args:
        times: Poll times by uuid.
        interval: The configured interval in seconds.
        without: Uuids of stations to leave out.
    """
    deviations = sorted(
        abs(after - before - interval) / interval
        for uuid, poll_times in times.items()
        if uuid not in without
        for before, after in pairwise(poll_times)
    )
    if not deviations:
        return Cadence(0, 0.0, 0.0, 0.0)
    within = sum(1 for share in deviations if share <= 0.05) / len(deviations)
    return Cadence(len(deviations), deviations[len(deviations) * 99 // 100], deviations[-1], within)


def _lines(log: Path) -> Iterator[tuple[float, str]]:
    with log.open() as lines:
        for at, address in _complete(lines):
            yield float(at), address.split("/")[4]


def _complete(lines: Iterable[str]) -> Iterator[list[str]]:
    """Return the fields of each line, without a last line that is still being written."""
    return (line.split() for line in lines if line.endswith("\n"))
