"""Tracks reloads of the configuration for the metrics and for the command `reload`."""

from collections.abc import Callable
from datetime import datetime

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.observability.process_snapshot import ReloadOutcome

__all__ = ["ReloadStatus"]


class ReloadStatus(events.Listener):
    """Listener that tracks when the current configuration was applied, and the outcome of the last reload.

    Args:
        utc: Returns the current time in UTC.

    Attributes:
        configured: When the current configuration was applied, in UTC; initially, when the bridge started.
        last_accepted: Whether the last reload was accepted; true before the first one.
        started: Number of reloads that have started.
        outcome: The outcome of the last completed reload; `None` before the first one.
    """

    def __init__(self, utc: Callable[[], datetime]) -> None:
        self._utc = utc
        self.configured = utc()
        self.last_accepted = True
        self.started = 0
        self.outcome: ReloadOutcome | None = None

    def reload_started(self, event: events.ReloadStarted) -> None:  # noqa: ARG002  # it has no attributes
        """Count the reload."""
        self.started += 1

    def configuration_applied(self, event: events.ConfigurationApplied) -> None:
        """Store the time at which the configuration was applied, and the changes."""
        self.configured, self.last_accepted = self._utc(), True
        self.outcome = ReloadOutcome(
            self.started, (), event.stations, added=event.added, removed=event.removed, changed=event.changed
        )

    def clock_changed(self, event: events.ClockChanged) -> None:
        """Correct the time."""
        self.configured += event.shift

    def configuration_rejected(self, event: events.ConfigurationRejected) -> None:
        """Store that the last reload was rejected, and why."""
        self.last_accepted = False
        self.outcome = ReloadOutcome(self.started, event.problems)
