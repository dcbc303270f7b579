"""Holds the configured stations and the state of each, and determines whose values have become too old."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from evse_mqtt_bridge.domain.attribution import Attributions
from evse_mqtt_bridge.domain.availability import Moment, Rules, advance, age, next_change
from evse_mqtt_bridge.domain.energy import longest_span
from evse_mqtt_bridge.domain.events import CloudAnswering, CloudRejecting, PollCompleted, StateAged, TokenRejected
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.metering import start_meters
from evse_mqtt_bridge.domain.model import Outcome, Reading, Station, StationState
from evse_mqtt_bridge.domain.plugs import (
    MAX_PLUGS,
    drop_plugs_without_topic,
    forget_plugs_without_topics,
    note_plugs_beyond_maximum,
    restore_plugs,
)
from evse_mqtt_bridge.domain.timing_wheel import TimingWheel

__all__ = ["Stations"]

_AT_ONCE = 0.0
_NO_METERS: Mapping[str, Meter] = MappingProxyType({})
_CLOCK_JUMP = 1.0
"""Difference in seconds between the changes of the two clocks of a `Moment` that counts as a jump."""


class Stations:
    """The states of all stations, by uuid. A station has an empty state before its first response.

    Args:
        stations: The configured stations, by uuid.
        rules: The settings for availability.
        started: When the bridge started; monotonic seconds.
    """

    def __init__(self, stations: Mapping[str, Station], rules: Rules, started: float) -> None:
        self._stations = dict(stations)
        self._rules = rules
        self._new_state = StationState(confirmed_at=started)
        self._states = dict.fromkeys(stations, self._new_state)
        self._deadlines = TimingWheel()
        self._attributions = Attributions()
        self._is_counting = False
        self._previous_meters: dict[str, Mapping[str, Meter]] = {}
        """Meters by station uuid and plug uuid, for stations whose plugs are not known yet."""
        self._utc_offset = 0.0
        """The time of day minus the monotonic time, in seconds; known after the first call of `age`."""

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
        now = moment.monotonic
        attributed = self._attributions.attribute(uuid, outcome, now - seconds, now, len(self._stations))
        longest = longest_span(station.interval) if self._is_counting else None
        new = self._states[uuid] = advance(old, attributed, self._rules, moment, longest)
        if len(new.plugs) != len(old.plugs) and uuid in self._previous_meters:
            new = self._states[uuid] = start_meters(
                new, self._previous_meters.pop(uuid), longest_span(station.interval)
            )
        self._deadlines.put(uuid, next_change(new, self._rules, moment))
        if len(new.plugs) >= MAX_PLUGS and isinstance(outcome, Reading):
            outcome = note_plugs_beyond_maximum(outcome, new)
        return PollCompleted(station, old, new, outcome, moment, seconds)

    @property
    def has_consequences(self) -> bool:
        """Whether the last outcome has consequences, beside the new state of its station."""
        return self._attributions.consequences is not None

    def consequences(self, moment: Moment) -> Iterator[StateAged | TokenRejected | CloudRejecting | CloudAnswering]:
        """Apply the consequences of the last outcome, once; yield an event for each."""
        consequences, self._attributions.consequences = self._attributions.consequences, None
        if consequences is None:
            return
        for uuid, failure in consequences.decided:
            old = self._states[uuid]
            new = self._states[uuid] = age(replace(old, failure=failure), self._rules, moment)
            yield StateAged(self._stations[uuid], old, new, moment)
        yield from consequences.events

    def age(self, moment: Moment, limit: int) -> Iterator[StateAged]:
        """Update at most `limit` stations whose state changes without a poll; yield an event for each change.

        Call it about once per second, and again at once while `is_aging_due`.
        """
        utc_offset = moment.utc.timestamp() - moment.monotonic
        if abs(utc_offset - self._utc_offset) > _CLOCK_JUMP:  # the deadlines are those of measurement times
            self._utc_offset = utc_offset
            self._evaluate(self._stations)
        for uuid in self._deadlines.pop_due(moment.monotonic, limit):
            old = self._states[uuid]
            new = self._states[uuid] = age(old, self._rules, moment)
            self._deadlines.put(uuid, next_change(new, self._rules, moment))
            if new is not old:
                yield StateAged(self._stations[uuid], old, new, moment)

    def is_aging_due(self, now: float) -> bool:
        """Return whether `age` has further stations to update at `now`, in monotonic seconds."""
        return self._deadlines.is_due(now)

    def restore_plugs(self, uuid: str, labels: Mapping[str, str | None]) -> None:
        """Add the plugs (uuid: label) that a previous run published; ignore a station that is not configured."""
        if station := self._stations.get(uuid):
            self._states[uuid] = forget_plugs_without_topics(restore_plugs(self._states[uuid], labels), station)
            self._deadlines.put(uuid, _AT_ONCE)

    @property
    def is_counting(self) -> bool:
        """Whether energy is counted: `start_meters` was called."""
        return self._is_counting

    def start_meters(self, meters: Mapping[str, Mapping[str, Meter]], stations: Collection[str] | None = None) -> None:
        """Count energy from now on, and continue the meters (station uuid, plug uuid) of a previous run.

        Another call adds the record of another source; the larger counts of the two apply.

        Args:
            meters: The meters.
            stations: The uuids of the stations; `None`: all.
        """
        self._is_counting = True
        for uuid in self._stations if stations is None else stations:
            station = self._stations[uuid]
            found, state = meters.get(uuid, _NO_METERS), self._states[uuid]
            self._states[uuid] = start_meters(state, found, longest_span(station.interval))
            if not found.keys() <= state.plugs.keys():
                self._previous_meters[uuid] = found

    def replace(self, old: Iterable[str], stations: Mapping[str, Station], rules: Rules) -> None:
        """Replace stations, and change the rules; a station that remains keeps its state.

        Args:
            old: The uuids of the stations to replace.
            stations: The stations in their place, by uuid.
            rules: The rules for all stations.
        """
        for uuid in old:
            if uuid not in stations:
                del self._stations[uuid], self._states[uuid]
                self._deadlines.remove(uuid)
                self._previous_meters.pop(uuid, None)
        for uuid, station in stations.items():
            state = self._states.get(uuid, self._new_state)
            self._states[uuid] = forget_plugs_without_topics(state, station)
        self._stations |= stations
        self._rules = rules
        self._attributions.keep_only(self._stations.keys())
        self._evaluate(stations)

    def _evaluate(self, stations: Iterable[str]) -> None:
        """Let `age` update these stations."""
        for uuid in stations:
            self._deadlines.put(uuid, _AT_ONCE)
