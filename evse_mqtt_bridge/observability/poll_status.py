"""Tracks the polls for the health check: when the last one completed, and which stations are unavailable."""

from collections import Counter
from collections.abc import Callable

from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.domain.model import Reason, StationState

__all__ = ["PollStatus"]


class PollStatus(events.Listener):
    """Listener that tracks the last poll and the unavailable stations.

    Args:
        now: Returns monotonic seconds.

    Attributes:
        last_poll: When the last poll completed, in monotonic seconds; before the first one, when the bridge started.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.last_poll = now()
        self._unavailable: dict[str, Reason] = {}

    def unavailable(self) -> Counter[Reason]:
        """Return the number of unavailable stations by reason; it does not count stations without a result."""
        return Counter(self._unavailable.values())

    def poll_completed(self, event: events.PollCompleted) -> None:
        """Store the time, and whether the station is available."""
        self.last_poll = event.moment.monotonic
        if event.new.reason is not event.old.reason:
            self._store(event.station.uuid, event.new)

    def state_aged(self, event: events.StateAged) -> None:
        """Store whether the station is available."""
        self._store(event.station.uuid, event.new)

    def station_removed(self, event: events.StationRemoved) -> None:
        """Forget a station."""
        self._unavailable.pop(event.uuid, None)

    def _store(self, uuid: str, state: StationState) -> None:
        if state.reason in (None, Reason.ONLINE):
            self._unavailable.pop(uuid, None)
        else:
            self._unavailable[uuid] = state.reason
