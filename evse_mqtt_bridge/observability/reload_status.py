"""Tracks reloads of the configuration for the metrics."""

from collections.abc import Callable
from datetime import datetime

from evse_mqtt_bridge.domain import events

__all__ = ["ReloadStatus"]


class ReloadStatus(events.Listener):
    """Listener that tracks when the current configuration was applied.

    Args:
        utc: Returns the current time in UTC.

    Attributes:
        configured: When the current configuration was applied, in UTC; initially, when the bridge started.
        last_accepted: Whether the last reload was accepted; true before the first one.
    """

    def __init__(self, utc: Callable[[], datetime]) -> None:
        self._utc = utc
        self.configured = utc()
        self.last_accepted = True

    def configuration_applied(self, event: events.ConfigurationApplied) -> None:  # noqa: ARG002  # the time matters
        """Store the time at which the configuration was applied."""
        self.configured, self.last_accepted = self._utc(), True

    def clock_changed(self, event: events.ClockChanged) -> None:
        """Correct the time."""
        self.configured += event.shift

    def configuration_rejected(self, event: events.ConfigurationRejected) -> None:  # noqa: ARG002  # as above
        """Store that the last reload was rejected."""
        self.last_accepted = False
