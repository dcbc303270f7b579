"""Tracks the connection to the broker for the status page."""

from collections.abc import Callable
from datetime import datetime

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.observability.snapshot import BrokerSnapshot

__all__ = ["BrokerStatus"]


class BrokerStatus(events.Listener):
    """Listener that tracks whether the broker is connected, since when, and the last error.

    Args:
        utc: Returns the current time in UTC.
    """

    def __init__(self, utc: Callable[[], datetime]) -> None:
        self._utc = utc
        self._since: datetime | None = None
        self.connected = False
        self.error = ""
        self.rejected_messages = 0
        """Number of messages that the broker rejected on this connection; the next one publishes them again."""

    def snapshot(self, address: str) -> BrokerSnapshot:
        """Return the status of the broker at `address` (host and port). Before the first attempt, `since` is now."""
        return BrokerSnapshot(address, self.connected, self._since or self._utc(), self.error)

    def broker_connected(self, event: events.BrokerConnected) -> None:  # noqa: ARG002  # it has no attributes
        """Store the time at which the connection began."""
        self.connected, self.error, self._since = True, "", self._utc()
        self.rejected_messages = 0

    def publish_rejected(self, event: events.PublishRejected) -> None:  # noqa: ARG002  # not counted by topic
        """Count a rejected message."""
        self.rejected_messages += 1

    def broker_disconnected(self, event: events.BrokerDisconnected) -> None:
        """Store the error. The time is that of the first failure in a row."""
        if self.connected or self._since is None:
            self._since = self._utc()
        self.connected, self.error = False, event.detail

    def clock_changed(self, event: events.ClockChanged) -> None:
        """Correct the time."""
        if self._since is not None:
            self._since += event.shift

    def broker_changed(self, event: events.BrokerChanged) -> None:  # noqa: ARG002  # any change closes the connection
        """Reset the connection and the error, because the bridge itself closed the old connection."""
        self.connected, self.error, self._since = False, "", self._utc()
        self.rejected_messages = 0
