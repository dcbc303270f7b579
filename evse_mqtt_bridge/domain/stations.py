"""Holds the configured stations and the state of each."""

from collections.abc import Iterator, Mapping

from evse_mqtt_bridge.domain.availability import (
    Moment,
    Rules,
    advance,
    age,
    drop_plugs_without_topic,
    forget_plugs_without_topics,
    restore_plugs,
)
from evse_mqtt_bridge.domain.events import PollCompleted, StateAged
from evse_mqtt_bridge.domain.model import Outcome, Station, StationState

__all__ = ["Stations"]


class Stations:
    """The states of all stations, by uuid. A station has an empty state before its first response."""

    def __init__(self, stations: Mapping[str, Station], rules: Rules) -> None:
        self._stations = stations
        self._rules = rules
        self._states = {uuid: StationState() for uuid in stations}

    @property
    def all(self) -> Mapping[str, Station]:
        """The configured stations, by uuid."""
        return self._stations

    def state(self, uuid: str) -> StationState:
        """Return the state of a configured station.

        Raises:
            KeyError: The station is not configured.
        """
        return self._states[uuid]

    def find(self, uuid: str) -> StationState | None:
        """Return the state of a station, or `None` if it is not configured."""
        return self._states.get(uuid)

    def apply_outcome(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> PollCompleted:
        """Update a station with the outcome of a poll, and return the event.

        Args:
            uuid: The station.
            outcome: The outcome of the poll.
            moment: When the outcome arrived.
            seconds: Duration of the request.
        """
        station, old = self._stations[uuid], self._states[uuid]
        outcome = drop_plugs_without_topic(outcome, station)
        new = self._states[uuid] = advance(old, outcome, self._rules, moment)
        return PollCompleted(station, old, new, outcome, moment, seconds)

    def age(self, moment: Moment) -> Iterator[StateAged]:
        """Update all stations without a poll, as measurements become stale; yield an event for each change."""
        for uuid, station in self._stations.items():
            old = self._states[uuid]
            new = age(old, self._rules, moment)
            if new is not old:
                self._states[uuid] = new
                yield StateAged(station, old, new, moment)

    def restore_plugs(self, uuid: str, labels: Mapping[str, str | None]) -> None:
        """Add the plugs (uuid: label) that a previous run published; ignore a station that is not configured."""
        if station := self._stations.get(uuid):
            self._states[uuid] = forget_plugs_without_topics(restore_plugs(self._states[uuid], labels), station)

    def reconfigure(self, stations: Mapping[str, Station], rules: Rules) -> None:
        """Change the stations and rules; a station that remains keeps its state."""
        self._states = {
            uuid: forget_plugs_without_topics(self._states.get(uuid, StationState()), station)
            for uuid, station in stations.items()
        }
        self._stations, self._rules = stations, rules
