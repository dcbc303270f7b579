"""The path of a poll result: station state -> session with the broker -> listeners.

Every poll passes through the pipeline, so it does nothing but call the others.
"""

from typing import Protocol

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.events import (
    CloudAnswering,
    CloudRejecting,
    Listener,
    MetersStarted,
    StateAged,
    TokenRejected,
)
from evse_mqtt_bridge.domain.model import Outcome, Station, StationState
from evse_mqtt_bridge.domain.stations import Stations

__all__ = ["Pipeline"]


class Publisher(Protocol):
    """Publishes the changes of stations."""

    def station_changed(self, station: Station, old: StationState, new: StationState) -> None:
        """Publish what leads from one state to another."""

    def sessions_changed(self, station: Station) -> object:
        """Publish what happened to the sessions of a station before its meters started."""


class Pipeline:
    """The only place that joins polling, states, publishing and listeners."""

    def __init__(self, stations: Stations, publishing: Publisher, listener: Listener) -> None:
        self._stations = stations
        self._publishing = publishing
        self._listener = listener

    def on_result(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> StationState:
        """Apply the outcome of one poll; return the station's new state.

        Args:
            uuid: The station.
            outcome: The outcome of the poll.
            moment: When the outcome arrived.
            seconds: Duration of the request.
        """
        for started in self._stations.pop_meter_events(uuid):
            self._meters_started(started)
        event = self._stations.apply_outcome(uuid, outcome, moment, seconds)
        if event.has_changes:
            self._publishing.station_changed(event.station, event.old, event.new)
        self._listener.poll_completed(event)
        if self._stations.has_consequences:
            self._apply_consequences(moment)
        return event.new

    def _apply_consequences(self, moment: Moment) -> None:
        """Publish and report what the last outcome leads to, beside the new state of its station."""
        for event in self._stations.consequences(moment):
            match event:
                case StateAged():
                    self._state_aged(event)
                case TokenRejected():
                    self._listener.token_rejected(event)
                case CloudRejecting():
                    self._listener.cloud_rejecting(event)
                case CloudAnswering():
                    self._listener.cloud_answering(event)

    def _state_aged(self, event: StateAged) -> None:
        self._publishing.station_changed(event.station, event.old, event.new)
        self._listener.state_aged(event)

    def _meters_started(self, event: MetersStarted) -> None:
        self._publishing.sessions_changed(event.station)
        self._listener.meters_started(event)

    def age(self, moment: Moment, limit: int) -> bool:
        """Publish what changes without a poll, such as values that become too old.

        Args:
            moment: The present moment.
            limit: Maximum number of stations to update.

        Returns:
            Whether there are further stations to update at this moment.
        """
        for event in self._stations.age(moment, limit):
            match event:
                case StateAged():
                    self._state_aged(event)
                case MetersStarted():
                    self._meters_started(event)
        return self._stations.is_aging_due(moment.monotonic)
