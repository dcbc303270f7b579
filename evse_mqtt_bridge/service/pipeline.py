"""The path of a poll result: state of the station -> topics on the broker -> whoever observes the bridge."""

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.events import Listener, PollCompleted, StateAged
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
        bridge = self._publishing.bridge
        old = bridge.state(uuid)
        outcome = bridge.take(uuid, outcome, moment, self._publishing.session)
        new = bridge.state(uuid)
        station = bridge.plan.stations[uuid]
        self._listener.poll_completed(PollCompleted(station, old, new, outcome, moment, seconds))
        return new.consecutive_failures

    def age(self, moment: Moment) -> None:
        """Publish which measurements became too old, while no poll does."""
        for station, old, new in self._publishing.bridge.age(moment, self._publishing.session):
            self._listener.state_aged(StateAged(station, old, new, moment))
