"""The settings for availability, and the moment at which they are applied."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from evse_mqtt_bridge.domain.resolution import DEFAULT_RESOLUTION, Resolution
from evse_mqtt_bridge.support.value_class import value_class

__all__ = ["FUTURE_TOLERANCE", "Moment", "Rules"]

FUTURE_TOLERANCE = timedelta(minutes=5)
"""Maximum time by which a measurement may be ahead of this machine's clock."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings for availability, and for what counts as a change.

    Attributes:
        offline_after: Consecutive failures until a station is unavailable, from 1.
        stale_after: Maximum age of a value, in seconds; 0: no limit.
        heartbeat: Seconds between two publications of a new measurement time without other changes; 0: on every poll.
        resolution: The rounding of measurements.
    """

    offline_after: int = 3
    stale_after: float = 1200.0
    heartbeat: float = 60.0
    resolution: Resolution = DEFAULT_RESOLUTION


@value_class
class Moment:
    """A point in time.

    Attributes:
        monotonic: Seconds of the monotonic clock, for durations.
        utc: Time of day with time zone, to compare with the times of measurements.
    """

    monotonic: float
    utc: datetime
