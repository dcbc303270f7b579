"""Tracks the connection to the broker for the status page."""

from collections.abc import Callable
from datetime import datetime

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.observability.snapshot import BrokerSnapshot

__all__ = ["BrokerStatus"]


class BrokerStatus(events.Listener):
    """Listener that knows whether the broker is connected, since when, and why it is not.

    Args:
        utc: the current time in UTC.
    """

    def __init__(self, utc: Callable[[], datetime]) -> None:
        self._utc = utc
        self._since: datetime | None = None
        self.connected = False
        self.error = ""

    def snapshot(self, address: str) -> BrokerSnapshot:
        """The status of the broker at `address` (host and port). Before the first attempt it begins now."""
        return BrokerSnapshot(address, self.connected, self._since or self._utc(), self.error)

    def broker_connected(self, event: events.BrokerConnected) -> None:  # noqa: ARG002  # it has no attributes
        """The connection begins now."""
        self.connected, self.error, self._since = True, "", self._utc()

    def broker_disconnected(self, event: events.BrokerDisconnected) -> None:
        """Keep the error; failed attempts that follow do not change the time."""
        if self.connected or self._since is None:
            self._since = self._utc()
        self.connected, self.error = False, event.detail

    def broker_changed(self, event: events.BrokerChanged) -> None:  # noqa: ARG002  # any change closes the connection
        """The bridge itself closed the connection, which is not an error."""
        self.connected, self.error, self._since = False, "", self._utc()
