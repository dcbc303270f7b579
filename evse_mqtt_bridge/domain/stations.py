"""Holds the configured stations and the state of each, and determines whose values have become too old."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from types import MappingProxyType

from evse_mqtt_bridge.domain.attribution import Attributions
from evse_mqtt_bridge.domain.availability import Moment, Rules, advance, age, has_changes, next_change
from evse_mqtt_bridge.domain.energy import longest_first_span, longest_span
from evse_mqtt_bridge.domain.events import (
    CloudAnswering,
    CloudRejecting,
    MetersStarted,
    PollCompleted,
    StateAged,
    TokenRejected,
)
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.meter_start import NO_RECORD, MeterStart, Record, Start, joined, unrecorded_sessions
from evse_mqtt_bridge.domain.metering import changes_of_sessions, join_meters, meters_of, start_meters
from evse_mqtt_bridge.domain.model import Outcome, Reading, Repeat, Station, StationState
from evse_mqtt_bridge.domain.plugs import (
    MAX_PLUGS,
    drop_plugs_without_topic,
    forget_plugs_without_topics,
    note_plugs_beyond_maximum,
    restore_plugs,
)
from evse_mqtt_bridge.domain.repeats import is_continuation, with_repeats
from evse_mqtt_bridge.domain.sessions import Session, SessionChange
from evse_mqtt_bridge.domain.timing_wheel import TimingWheel
from evse_mqtt_bridge.domain.waiting_meters import Continuation, WaitingMeters, continue_record

__all__ = ["Stations"]

_AT_ONCE = 0.0
_NOTHING_COUNTED: Mapping[str, tuple[Meter, Meter]] = MappingProxyType({})
_MOST_REMOVED = 1000
"""Maximum number of removed stations whose meters are kept, in case that they are added again."""

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
        self._started = started
        self._meter_start = MeterStart()
        self._meter_start.add(stations, started)
        self._waiting_meters = WaitingMeters()
        self._previous_meters: dict[str, Record] = {}
        """Meters by station uuid and plug uuid, for stations whose plugs are not known yet, and for removed ones."""
        self._removed: deque[str] = deque()
        """The removed stations, the last one at the end."""
        self._session_changes: dict[str, dict[str, tuple[SessionChange, ...]]] = {}
        self._meter_events: dict[str, list[MetersStarted]] = {}
        """The events that `age` has not yielded, by station."""
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
        longest = longest_span(station.interval) if uuid not in self._meter_start else None
        if isinstance(outcome, Repeat) and not is_continuation(old, outcome, self._rules, moment, longest):
            outcome = outcome.parsed()
        if not isinstance(outcome, Repeat):
            outcome = drop_plugs_without_topic(outcome, station)
        now = moment.monotonic
        attributed = self._attributions.attribute(uuid, outcome, now - seconds, now, len(self._stations))
        new = self._states[uuid] = advance(old, attributed, self._rules, moment, longest, station.interval)
        if new.plugs is old.plugs and new.reason is old.reason:  # most polls
            return PollCompleted(station, old, new, outcome, moment, seconds, has_changes=False)
        if longest is None:
            self._count_waiting(uuid, old, new)
        elif new.plugs.keys() != old.plugs.keys():
            self._start_new_meters(station, old, new, longest)
            new = self._states[uuid]
        self._deadlines.put(uuid, next_change(new, self._rules, moment))
        if len(new.plugs) >= MAX_PLUGS and isinstance(outcome, Reading):
            outcome = note_plugs_beyond_maximum(outcome, new)
        return PollCompleted(station, old, new, outcome, moment, seconds, has_changes(old, new))

    def pop_meter_events(self, uuid: str) -> Sequence[MetersStarted]:
        """Return, once, the events of a station that precede its next poll."""
        return self._meter_events.pop(uuid, ()) if self._meter_events else ()

    def evaluate_repeats(self, uuids: Iterable[str], moment: Moment) -> Iterator[StateAged]:
        """Evaluate the deferred responses of stations (see repeats.py); yield an event for each station with some.

        Args:
            uuids: The stations; those that are not configured are ignored.
            moment: The present moment.
        """
        for uuid in uuids:
            old = self._states.get(uuid)
            if old is not None and old.repeated_until is not None:
                new = self._states[uuid] = with_repeats(old)
                seconds = old.confirmed_at - moment.monotonic
                arrived = Moment(old.confirmed_at, moment.utc + timedelta(seconds=seconds))
                yield StateAged(self._stations[uuid], old, new, arrived)

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
            self._count_waiting(uuid, old, new)
            yield StateAged(self._stations[uuid], old, new, moment)
        yield from consequences.events

    def age(self, moment: Moment, limit: int) -> Iterator[StateAged | MetersStarted]:
        """Update at most `limit` stations whose state changes without a poll; yield an event for each change.

        Call it about once per second, and again at once while `is_aging_due`.
        """
        if self._meter_start:
            self._start_all(self._meter_start.due(moment.monotonic), is_published=False)
        for uuid in list(islice(self._meter_events, limit)):
            yield from self.pop_meter_events(uuid)
        utc_offset = moment.utc.timestamp() - moment.monotonic
        if abs(utc_offset - self._utc_offset) > _CLOCK_JUMP:  # the deadlines are those of measurement times
            self._utc_offset = utc_offset
            for uuid, state in self._states.items():
                if state.deferral is not None:
                    self._states[uuid] = replace(state, deferral=None)
            self._evaluate(self._stations)
        for uuid in self._deadlines.pop_due(moment.monotonic, limit):
            old = self._states[uuid]
            new = self._states[uuid] = age(old, self._rules, moment)
            self._deadlines.put(uuid, next_change(new, self._rules, moment))
            if new is not old:
                self._count_waiting(uuid, old, new)
                yield StateAged(self._stations[uuid], old, new, moment)

    def is_aging_due(self, now: float) -> bool:
        """Return whether `age` has further stations to update at `now`, in monotonic seconds."""
        return self._deadlines.is_due(now) or bool(self._meter_events)

    def restore_plugs(self, uuid: str, labels: Mapping[str, str | None], *, is_continued: bool = False) -> None:
        """Add the plugs of a previous run; ignore a station that is not configured.

        Args:
            uuid: The station.
            labels: The labels by plug uuid.
            is_continued: Whether another member polled the station until now.
        """
        if station := self._stations.get(uuid):
            state = forget_plugs_without_topics(restore_plugs(self._states[uuid], labels), station)
            self._states[uuid] = replace(state, is_continued=True) if is_continued and state.reason is None else state
            self._deadlines.put(uuid, _AT_ONCE)

    # Meters

    @property
    def are_meters_waiting(self) -> bool:
        """Whether the meters of a station wait for records of the previous run."""
        return bool(self._meter_start)

    def expect_history(self, uuids: Iterable[str]) -> None:
        """Expect a call of `history_read` for stations, before their meters start without a record on the broker."""
        self._meter_start.expect_history(uuids)

    def history_read(self, uuids: Collection[str], records: Mapping[str, Record]) -> None:
        """Add the records that the history has of stations.

        Args:
            uuids: The stations that were read.
            records: The records by station uuid and plug uuid; empty if the history cannot be read.
        """
        self._start_all(self._meter_start.history_read(uuids, records), is_published=False)
        for uuid, record in records.items():
            if uuid in self._stations and self._meter_start.may_join_history(uuid):
                self._join(uuid, record, is_published=False)

    def broker_read(
        self, records: Mapping[str, Record], stations: Collection[str], *, is_complete: bool, is_late: bool = False
    ) -> None:
        """Add the record on the broker, by station uuid and plug uuid. Everything is published after this.

        Args:
            records: The record.
            stations: The uuids of the stations that were read.
            is_complete: Whether the search for previous base topics is complete.
            is_late: Whether the record is from this search, so that a meter that has started cannot continue it.
        """
        for uuid in stations:
            if record := records.get(uuid):
                if start := self._meter_start.start(uuid, record):
                    self._start(uuid, start, is_published=not is_late)
                elif not is_late:
                    self._join(uuid, record, is_published=True)
        self._start_all(self._meter_start.broker_read(stations, is_complete=is_complete), is_published=not is_late)

    def pop_session_changes(self, stations: Iterable[str]) -> dict[str, dict[str, tuple[SessionChange, ...]]]:
        """Return, once, what happened to sessions before the meters of stations started, by station and plug.

        Neither the full republish nor a change of the state shows it.

        Args:
            stations: The uuids of the stations.
        """
        if not self._session_changes:
            return {}
        return {uuid: self._session_changes.pop(uuid) for uuid in stations if uuid in self._session_changes}

    def keep_meters(self, records: Mapping[str, Record]) -> None:
        """Add records, by station uuid and plug uuid, of stations that are going to be added."""
        for uuid, record in records.items():
            self._previous_meters[uuid] = joined(self._previous_meters.get(uuid, NO_RECORD), record)

    def _start_all(self, starts: Mapping[str, Start], *, is_published: bool) -> None:
        for uuid, start in starts.items():
            self._start(uuid, start, is_published=is_published)

    def _start(self, uuid: str, start: Start, *, is_published: bool) -> None:
        """Start the meters of a station."""
        record = joined(self._previous_meters.pop(uuid, NO_RECORD), start.record)
        station, state = self._stations[uuid], self._states[uuid]
        longest = longest_first_span(longest_span(station.interval), self._rules.heartbeat)
        waiting = self._waiting_meters.pop(uuid)
        found = {plug: continue_record(record.get(plug, Meter()), waiting[plug], longest) for plug in waiting}
        continuations = {plug: each for plug, each in found.items() if each is not None}
        joint = {**record, **{plug: each.meter for plug, each in continuations.items()}}
        new = start_meters(state, joint, longest, is_published=is_published)
        self._states[uuid] = new
        meters = meters_of(new)
        if changes := _changes(record if is_published else NO_RECORD, continuations, meters):
            self._session_changes[uuid] = changes
        if not record.keys() <= state.plugs.keys():
            self._previous_meters[uuid] = record
        at_zero = len(state.plugs.keys() - record.keys())
        unrecorded = _unrecorded(record, start.history, continuations, meters)
        self._note_start(station, unrecorded, at_zero, _counted(record, continuations))

    def _join(self, uuid: str, record: Record, *, is_published: bool) -> None:
        """Add another record to meters that have started."""
        state = with_repeats(self._states[uuid])
        unrecorded = unrecorded_sessions(record, meters_of(state))
        self._states[uuid] = join_meters(state, record, is_published=is_published)
        self._note_start(self._stations[uuid], unrecorded, 0)

    def _start_new_meters(self, station: Station, old: StationState, new: StationState, longest: float) -> None:
        """Start the meters of plugs that a response added, and keep those of plugs that are no longer known."""
        added = new.plugs.keys() - old.plugs.keys()
        record = self._previous_meters.pop(station.uuid, NO_RECORD)
        self._states[station.uuid] = start_meters(new, record, longest, only=added)
        gone = {uuid: meter for uuid, meter in meters_of(old).items() if uuid not in new.plugs}
        if rest := {uuid: meter for uuid, meter in joined(record, gone).items() if uuid not in added}:
            self._previous_meters[station.uuid] = rest
        self._note_start(station, {}, len(added - record.keys()))

    def _count_waiting(self, uuid: str, old: StationState, new: StationState) -> None:
        """Count for the meters of a station that has not started."""
        if uuid in self._meter_start:
            self._waiting_meters.follow(uuid, old, new, longest_span(self._stations[uuid].interval))

    def _note_start(
        self,
        station: Station,
        unrecorded: Mapping[str, Sequence[Session]],
        at_zero: int,
        counted: Mapping[str, tuple[Meter, Meter]] = _NOTHING_COUNTED,
    ) -> None:
        if unrecorded or at_zero or counted:
            state = self._states[station.uuid]
            event = MetersStarted(station, state, unrecorded, at_zero, counted)
            self._meter_events.setdefault(station.uuid, []).append(event)

    def _forget(self, uuid: str) -> None:
        """Drop a station, but keep its meters for some time, in case that it is added again."""
        if meters := meters_of(with_repeats(self._states[uuid])):
            self._previous_meters[uuid] = meters
            self._removed.append(uuid)
            if len(self._removed) > _MOST_REMOVED and (oldest := self._removed.popleft()) not in self._stations:
                self._previous_meters.pop(oldest, None)
        del self._stations[uuid], self._states[uuid]
        self._deadlines.remove(uuid)
        self._meter_start.remove(uuid)
        self._waiting_meters.pop(uuid)
        self._session_changes.pop(uuid, None)

    # The configuration

    def replace(
        self, old: Iterable[str], stations: Mapping[str, Station], rules: Rules, now: float | None = None
    ) -> None:
        """Replace stations, and change the rules; a station that remains keeps its state.

        Args:
            old: The uuids of the stations to replace.
            stations: The stations in their place, by uuid.
            rules: The rules for all stations.
            now: Since when values of a previous run can become too old, for added stations; monotonic seconds. `None`:
                since the bridge started.
        """
        new_state = self._new_state if now is None else StationState(confirmed_at=now)
        for uuid in old:
            if uuid not in stations:
                self._forget(uuid)
        added = [uuid for uuid in stations if uuid not in self._states]
        self._meter_start.add(added, self._started if now is None else now)
        for uuid, station in stations.items():
            state = self._states.get(uuid, new_state)
            self._states[uuid] = replace(forget_plugs_without_topics(state, station), deferral=None)
        self._stations |= stations
        self._rules = rules
        self._attributions.keep_only(self._stations.keys())
        self._evaluate(stations)

    def _evaluate(self, stations: Iterable[str]) -> None:
        """Let `age` update these stations."""
        for uuid in stations:
            self._deadlines.put(uuid, _AT_ONCE)


def _changes(
    record: Record, continuations: Mapping[str, Continuation], meters: Record
) -> dict[str, tuple[SessionChange, ...]]:
    """Return what happened to the sessions of the plugs of a station until their meters started, by plug uuid.

    Args:
        record: The meters from which consumers know the sessions; for other plugs, what happened before their first
            measurement is not known.
        continuations: The meters that waited.
        meters: The meters now.
    """
    found: dict[str, tuple[SessionChange, ...]] = {}
    for uuid, meter in meters.items():
        known, waited = record.get(uuid), continuations.get(uuid)
        changes = changes_of_sessions(known, (), waited.after_first_reading if waited else meter) if known else ()
        if waited:
            changes += changes_of_sessions(waited.after_first_reading, waited.ended, meter)
        if changes:
            found[uuid] = changes
    return found


def _counted(record: Record, continuations: Mapping[str, Continuation]) -> dict[str, tuple[Meter, Meter]]:
    """Return the meters that counted while they waited, by plug uuid; see `MetersStarted`.

    Args:
        record: The meters of the previous run.
        continuations: The meters that waited.
    """
    found: dict[str, tuple[Meter, Meter]] = {}
    for uuid, waited in continuations.items():
        before = record.get(uuid)
        if before is None or before.counted is None:
            before = waited.after_first_reading
        after = waited.meter
        if (after[:3], after.session, after.last_session) != (before[:3], before.session, before.last_session):
            found[uuid] = (before, after)
    return found


def _unrecorded(
    record: Record, history: Record, continuations: Mapping[str, Continuation], meters: Record
) -> dict[str, tuple[Session, ...]]:
    """Return the sessions that the history may lack, by plug uuid.

    Args:
        record: The meters of the previous run.
        history: Those that the history has.
        continuations: The meters that waited.
        meters: The meters now.
    """
    found = unrecorded_sessions(joined(record, meters), history)
    for uuid, waited in continuations.items():
        before = unrecorded_sessions({uuid: record.get(uuid, Meter())}, history).get(uuid, ())
        at_first = unrecorded_sessions({uuid: waited.after_first_reading}, history).get(uuid, ())
        sessions = {session.started: session for session in (*before, *at_first, *waited.ended)}
        if sessions:
            found[uuid] = tuple(sessions.values())
    return found
