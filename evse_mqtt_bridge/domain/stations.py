"""The stations of a configuration and what is known of each: the one place where their states are kept."""

from collections.abc import Iterator, Mapping

from evse_mqtt_bridge.domain.availability import (
    Moment,
    Rules,
    advance,
    age,
    forget_plugs_without_topics,
    remember,
    with_topics,
)
from evse_mqtt_bridge.domain.events import PollCompleted, StateAged
from evse_mqtt_bridge.domain.model import Outcome, Station, StationState

__all__ = ["Stations"]


class Stations:
    """States of stations, by station uuid. A station without an answer has an empty state."""

    def __init__(self, stations: Mapping[str, Station], rules: Rules) -> None:
        self._stations = stations
        self._rules = rules
        self._states = {uuid: StationState() for uuid in stations}

    @property
    def all(self) -> Mapping[str, Station]:
        """The configured stations, by uuid."""
        return self._stations

    def state(self, uuid: str) -> StationState:
        """Return what is known of a configured station.

        Raises:
            KeyError: it is not configured.
        """
        return self._states[uuid]

    def find(self, uuid: str) -> StationState | None:
        """Return what is known of a station; `None` where it is not configured."""
        return self._states.get(uuid)

    def apply_outcome(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> PollCompleted:
        """Advance a station by the outcome of one poll, which took `seconds`; returns the event."""
        station, old = self._stations[uuid], self._states[uuid]
        outcome = with_topics(outcome, station)
        new = self._states[uuid] = advance(old, outcome, self._rules, moment)
        return PollCompleted(station, old, new, outcome, moment, seconds)

    def age(self, moment: Moment) -> Iterator[StateAged]:
        """Judge the age of all measurements without a poll; yields the stations that this changed."""
        for uuid, station in self._stations.items():
            old = self._states[uuid]
            new = age(old, self._rules, moment)
            if new is not old:
                self._states[uuid] = new
                yield StateAged(station, old, new, moment)

    def restore_plugs(self, uuid: str, labels: Mapping[str, str | None]) -> None:
        """Add the plugs (uuid: label) that a previous run published; a station that is not configured is skipped."""
        if station := self._stations.get(uuid):
            self._states[uuid] = forget_plugs_without_topics(remember(self._states[uuid], labels), station)

    def reconfigure(self, stations: Mapping[str, Station], rules: Rules) -> None:
        """Go over to other stations and rules; a station that stays keeps its state."""
        self._states = {
            uuid: forget_plugs_without_topics(self._states.get(uuid, StationState()), station)
            for uuid, station in stations.items()
        }
        self._stations, self._rules = stations, rules
