"""The path of a poll result: state of the station -> topics on the broker -> whoever observes the bridge."""

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Outcome
from evse_mqtt_bridge.observability.broker_status import Witness
from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.service.components.publishing import Publishing

__all__ = ["Pipeline"]


class Pipeline:
    """Joins polling, publishing and the listeners. Nothing else does."""

    def __init__(self, publishing: Publishing, event_log: EventLog, witness: Witness) -> None:
        self._publishing = publishing
        self._event_log = event_log
        self._witness = witness

    def on_result(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> int:
        """Apply the outcome of one poll, which took `seconds`; returns the station's consecutive failures."""
        bridge = self._publishing.bridge
        old = bridge.state(uuid)
        outcome = bridge.take(uuid, outcome, moment, self._publishing.session)
        new = bridge.state(uuid)
        self._event_log.polled(bridge.plan.stations[uuid], old, new, outcome)
        self._witness.polled(uuid, (old, new), outcome, moment)
        self._witness.counters.polled(outcome, seconds)
        return new.consecutive_failures

    def age(self, moment: Moment) -> None:
        """Publish which measurements became too old, while no poll does."""
        for station, old, new in self._publishing.bridge.age(moment, self._publishing.session):
            self._event_log.aged(station, old, new)
            self._witness.history.aged(station.uuid, old, new, moment.utc)
