"""Tracks reloads of the configuration for the metrics."""

from collections.abc import Callable
from datetime import datetime

from evse_mqtt_bridge.domain import events

__all__ = ["ReloadStatus"]


class ReloadStatus(events.Listener):
    """Listener that knows since when the configuration is in force.

    Args:
        utc: The current time in UTC.

    Attributes:
        configured: When the current configuration came into force, in UTC; at first, when the bridge started.
        last_accepted: Whether the last reload was accepted; also true before any.
    """

    def __init__(self, utc: Callable[[], datetime]) -> None:
        self._utc = utc
        self.configured = utc()
        self.last_accepted = True

    def configuration_applied(self, event: events.ConfigurationApplied) -> None:  # noqa: ARG002  # the time matters
        """Keep the time at which the configuration came into force."""
        self.configured, self.last_accepted = self._utc(), True

    def configuration_rejected(self, event: events.ConfigurationRejected) -> None:  # noqa: ARG002  # as above
        """Keep that the last reload was rejected."""
        self.last_accepted = False
