"""The path of a poll result: state of the station -> topics on the broker -> whoever observes the bridge."""

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.events import Listener
from evse_mqtt_bridge.domain.model import Outcome
from evse_mqtt_bridge.service.components.publishing import Publishing

__all__ = ["Pipeline"]


class Pipeline:
    """Joins polling, publishing and the listeners. Nothing else does."""

    def __init__(self, publishing: Publishing, listener: Listener) -> None:
        self._publishing = publishing
        self._listener = listener

    def on_result(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> int:
        """Apply the outcome of one poll, which took `seconds`; returns the station's consecutive failures."""
        publishing = self._publishing
        event = publishing.stations.apply_outcome(uuid, outcome, moment, seconds)
        publishing.session.station_changed(event.station, event.old, event.new)
        self._listener.poll_completed(event)
        return event.new.consecutive_failures

    def age(self, moment: Moment) -> None:
        """Publish which measurements became too old, while no poll does."""
        for event in self._publishing.stations.age(moment):
            self._publishing.session.station_changed(event.station, event.old, event.new)
            self._listener.state_aged(event)
