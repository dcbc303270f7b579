"""Computes the energy between two measurements of a plug.

The API reports power, not energy. The energy between two measurements is the area below the straight line between their
powers (trapezoid rule), over the vendor's measurement times. It is unknown, and the time counts as a gap,

- if the plug was unavailable in between,
- if more time passed than `longest_span` allows: a line across a long gap invents energy, or hides it,
- if a power is missing.

A measurement with a power that the plug cannot have is not used at all. The simulation behind these rules is in
docs/energy.md.
"""

from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.support.value_class import value_class

__all__ = ["Span", "has_plausible_power", "longest_first_span", "longest_span", "span"]

_INTERVALS = 3
_SHORTEST_LIMIT = 90.0  # seconds
_LONGEST_HEARTBEAT = 60.0  # seconds

_VOLTAGE = 250.0  # volts between phase and neutral, with the tolerance of the grid (EN 50160: 230 V + 10 %)
_PHASES = 3
_MARGIN = 1.25
_SMALLEST_LIMIT = 32.0
# Load management lowers the limit before the vehicle follows, so a low limit does not prove a power wrong.
_HIGHEST_POWER = 100_000.0  # watts, for a plug without a limit

_HOUR = 3600.0  # seconds


@value_class
class Span:
    """The time between two measurements.

    Attributes:
        seconds: The length of the span, above 0.
        charged: Energy into the vehicle, in Wh; 0 if unknown.
        discharged: Energy out of the vehicle, in Wh; 0 if unknown.
        is_known: Whether the energy is known; otherwise, the span is a gap.
    """

    seconds: float
    charged: float
    discharged: float
    is_known: bool


def longest_span(interval: float) -> float:
    """Return the maximum length of a span with known energy, in seconds: three polling intervals, at least 90 s."""
    return max(_INTERVALS * interval, _SHORTEST_LIMIT)


def longest_first_span(longest: float, heartbeat: float) -> float:
    """Return the maximum length of the span across a restart, in seconds.

    The previous run may have measured later than in the last message, but the same power and status: other values are
    published at once. So the time for which a message may be missing is no part of the restart, within limits. Neither
    is the polling interval in which the previous run ended.

    Args:
        longest: See `longest_span`.
        heartbeat: Seconds after which unchanged values are published again.
    """
    interval = longest / _INTERVALS  # the longest one that has this limit
    return longest + min(heartbeat, _LONGEST_HEARTBEAT) + interval


def has_plausible_power(reading: PlugReading) -> bool:
    """Return whether the plug can have this power, given its current limit; a missing power is plausible."""
    if not reading.power:
        return True
    limit = reading.dyn_current_limit
    highest = _HIGHEST_POWER if limit is None else max(limit, _SMALLEST_LIMIT) * _VOLTAGE * _PHASES * _MARGIN
    return abs(reading.power) <= highest


def span(before: PlugReading, after: PlugReading, longest: float, *, is_interrupted: bool) -> Span | None:
    """Return the span between two measurements.

    Args:
        before: The earlier measurement.
        after: The later measurement.
        longest: Maximum length of a span with known energy, in seconds.
        is_interrupted: Whether the plug was unavailable in between.

    Returns:
        The span; `None` if `after` is not later than `before`, or a time is missing.
    """
    if before.time is None or after.time is None:
        return None
    seconds = (after.time - before.time).total_seconds()
    if seconds <= 0:
        return None
    start, end = before.power, after.power
    if is_interrupted or seconds > longest or start is None or end is None:
        return Span(seconds, 0.0, 0.0, False)  # noqa: FBT003  # positional takes half as long
    if start >= 0 and end >= 0:
        return Span(seconds, (start + end) / 2 * seconds / _HOUR, 0.0, True)  # noqa: FBT003
    if start <= 0 and end <= 0:
        return Span(seconds, 0.0, -(start + end) / 2 * seconds / _HOUR, True)  # noqa: FBT003
    # The line crosses zero: one triangle on each side.
    first, second = seconds * abs(start) / (abs(start) + abs(end)), seconds * abs(end) / (abs(start) + abs(end))
    triangles = (abs(start) / 2 * first / _HOUR, abs(end) / 2 * second / _HOUR)
    charged, discharged = triangles if start > 0 else triangles[::-1]
    return Span(seconds, charged, discharged, is_known=True)
