"""Determines when to poll a station again: its interval, backoff, probes. All times are monotonic seconds.

Each station has a grid: its phase plus a whole number of intervals. The golden ratio spreads the phases of any number
of stations evenly, and a new station does not move the others. A failing station leaves the grid and uses full jitter:
it waits for a random time up to a bound that doubles with each failure. A rejected station is probed: its wait starts
at half a minute and doubles up to a quarter of an hour, or up to the maximum backoff while the rejection may concern
the cloud.

While no station answers at all, at least one of them is polled within a minute. When one answers again, the waits of
the others become short: they are spread over seconds, or over as many as the request rate needs.
"""

import math

from evse_mqtt_bridge.domain.model import Attribution, Failure, Reason, StationState
from evse_mqtt_bridge.support.value_class import value_class

__all__ = [
    "FIRST_PROBE",
    "PROBE_LIMIT",
    "SHORT_WAIT",
    "CompletedPoll",
    "can_recover_with",
    "next_due",
    "recovery_window",
    "station_phase",
    "with_short_wait",
]

FIRST_PROBE = 30.0
"""Seconds until a rejected station is polled again, for the first time. Probes vary by a tenth."""

PROBE_LIMIT = 900.0
"""Maximum time between two probes, in seconds, unless the interval of the station is longer."""

SHORT_WAIT = 60.0
"""Maximum time until any station is polled while none answers, in seconds."""

_SHORTEST_WAIT = 1.0
_SHORTEST_WINDOW = 5.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_BUSY = frozenset({Reason.RATE_LIMITED, Reason.SERVER_ERROR})
"""After these failures the wait is at least the interval, to add no load to an overloaded cloud."""


def station_phase(index: int) -> float:
    """Return the phase of the station with this index, as a part of its interval, from 0 up to 1."""
    return index * _GOLDEN % 1.0


@value_class
class CompletedPoll:
    """A completed poll of a station.

    Attributes:
        due: When the poll was due.
        now: When its outcome arrived.
        chance: A random number from 0 up to 1.
    """

    due: float
    now: float
    chance: float


def next_due(state: StationState, poll: CompletedPoll, *, interval: float, phase: float, max_backoff: float) -> float:
    """Return when to poll a station again.

    Args:
        state: The state of the station after the poll.
        poll: The times of the poll.
        interval: Polling interval in seconds.
        phase: The phase of the station, from 0 up to 1.
        max_backoff: Maximum wait of a failing station in seconds, unless its interval is longer.
    """
    failure = state.failure
    if failure is None:
        # At least half an interval after the poll was due, so that the first poll is not followed by another at once.
        # Never in the past: missed polls are skipped and not caught up.
        following = math.floor(poll.due / interval - phase + 0.5) + 1
        upcoming = math.floor(poll.now / interval - phase) + 1
        return (max(following, upcoming) + phase) * interval
    if failure.is_probed:
        limit = PROBE_LIMIT if failure.attribution is Attribution.STATION else max_backoff
        wait = min(limit, FIRST_PROBE * 2.0 ** min(state.probes - 1, 32))
        return poll.now + max(wait, interval) * (0.9 + 0.2 * poll.chance)
    bound = min(max(max_backoff, interval), interval * 2.0 ** min(state.consecutive_failures - 1, 32))
    return poll.now + max(_shortest_wait(failure, interval), bound * poll.chance)


def with_short_wait(
    due: float, failure: Failure, poll: CompletedPoll, interval: float, earliest: float | None
) -> float:
    """Return when to poll a failing station while no station answers: within a minute, unless another one is due then.

    Args:
        due: When the station is due by its own backoff.
        failure: Its last failure.
        poll: Its last poll.
        interval: Its polling interval in seconds.
        earliest: When the earliest poll of another station is due; `None`: there is none.
    """
    if failure.attribution is Attribution.STATION:
        return due  # the cloud answers; the station needs another token
    if earliest is not None and earliest <= poll.now + SHORT_WAIT:
        return due
    return min(due, poll.now + max(_shortest_wait(failure, interval), SHORT_WAIT * (0.5 + 0.5 * poll.chance)))


def can_recover_with(failure: Failure, recovered: Failure | None) -> bool:
    """Return whether a failing station may answer again, now that another one does.

    Args:
        failure: The last failure of the failing station.
        recovered: The last failure of the other station; `None`: no station answered before.
    """
    if failure.attribution in (Attribution.STATION, Attribution.UNDECIDED):
        return False  # the answer to the other station decides that this one is rejected
    return recovered is None or failure.reason is recovered.reason


def recovery_window(stations: int, rate: float) -> float:
    """Return the seconds over which the polls of this many stations are spread that may answer again.

    They use half of the allowed requests per second; `rate` 0: no limit.
    """
    return max(_SHORTEST_WINDOW, 2 * stations / rate) if rate else _SHORTEST_WINDOW


def _shortest_wait(failure: Failure, interval: float) -> float:
    return interval if failure.reason in _BUSY else _SHORTEST_WAIT
