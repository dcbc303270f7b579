"""The recorder: passes the energy and sessions that the meters count to the writer of the history."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from evse_mqtt_bridge.domain.events import Listener, MetersStarted, PollCompleted, StateAged
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.model import PlugState
from evse_mqtt_bridge.domain.repeats import with_repeats
from evse_mqtt_bridge.storage.records import Plug, SessionRecord, end_of_hour, has_counted, reading_time
from evse_mqtt_bridge.storage.sink import RecordSink

__all__ = ["Recorder"]


class Recorder(Listener):
    """Passes the counts of the meters to the writer, if there is one."""

    def __init__(self) -> None:
        self.writer: RecordSink | None = None

    def use(self, writer: RecordSink | None) -> None:
        """Use another writer, or none."""
        self.writer = writer

    def poll_completed(self, event: PollCompleted) -> None:
        """Record what the meters counted. Meters that the poll did not change are skipped; usually most of them."""
        if self.writer is not None:
            self._record(self.writer, event)

    def state_aged(self, event: StateAged) -> None:
        """Record what the meters counted with repeated responses, see repeats.py."""
        if self.writer is not None:
            self._record(self.writer, event)

    def _record(self, writer: RecordSink, event: PollCompleted | StateAged) -> None:
        new, plugs = event.new, event.old.plugs
        if new.plugs is plugs:
            return
        repeated, arrived = event.old.repeated_until, _last_arrival(event)
        if repeated is not None and end_of_hour(reading_time(repeated, arrived)) != end_of_hour(event.moment.utc):
            plugs = with_repeats(event.old).plugs  # the energy of the repeats belongs to an earlier hour
            self._count(writer, event, event.old.plugs, plugs, arrived)
        self._count(writer, event, plugs, new.plugs, event.moment.utc)

    def _count(
        self,
        writer: RecordSink,
        event: PollCompleted | StateAged,
        old_plugs: Mapping[str, PlugState],
        new_plugs: Mapping[str, PlugState],
        arrived: datetime,
    ) -> None:
        """Record what the meters counted between two states of a station.

        Args:
            writer: The writer.
            event: The event that contains the states.
            old_plugs: The plugs before.
            new_plugs: The plugs after.
            arrived: When the last response that is part of `new_plugs` arrived.
        """
        station = event.station.uuid
        for uuid, plug in new_plugs.items():
            before = old_plugs.get(uuid)
            old, new = before.meter if before else None, plug.meter
            if old is None or new is None or not _has_changed(old, new):
                continue
            time = _counted_time(new, arrived)
            if not writer.count((station, uuid), old, new, time):
                self._begin(writer, event, plug, old, time if old.counted is None else _last_measured(event, old))
                writer.count((station, uuid), old, new, time)

    def meters_started(self, event: MetersStarted) -> None:
        """Record what the meters counted before they started, and sessions that the previous run may not have written.

        The arrival of these measurements is not known here, so their own times are used.
        """
        writer, station = self.writer, event.station
        if writer is None:
            return
        for uuid in {**event.counted, **event.unrecorded}:
            plug = event.state.plugs.get(uuid)
            name = Plug(station.uuid, uuid)
            writer.name(name, station.title, station.plug_title(uuid, plug.label if plug else None))
            if counted := event.counted.get(uuid):
                self._count_while_waiting(writer, name, *counted)
            writer.put(SessionRecord(name, each, is_restored=True) for each in event.unrecorded.get(uuid, ()))

    @staticmethod
    def _count_while_waiting(writer: RecordSink, name: Plug, old: Meter, new: Meter) -> None:
        times = [meter.counted.time for meter in (old, new) if meter.counted and meter.counted.time]
        if len(times) == 2 and _has_changed(old, new) and not writer.count(name, old, new, times[1]):  # noqa: PLR2004
            writer.begin(name, old, times[0])
            writer.count(name, old, new, times[1])

    @staticmethod
    def _begin(
        writer: RecordSink, event: PollCompleted | StateAged, plug: PlugState, old: Meter, last: datetime
    ) -> None:
        """Begin with a plug that was last measured at `last`: it is new, or another member has counted since."""
        name = Plug(event.station.uuid, plug.uuid)
        writer.name(name, event.station.title, event.station.plug_title(plug.uuid, plug.label))
        writer.begin(name, old, last)


def _last_arrival(event: PollCompleted | StateAged) -> datetime:
    """Return when the last valid response before an event arrived."""
    return event.moment.utc - timedelta(seconds=event.moment.monotonic - event.old.confirmed_at)


def _last_measured(event: PollCompleted | StateAged, old: Meter) -> datetime:
    """Return the time of the last measurement before an event."""
    measured = old.counted.time if old.counted else None
    if event.old.repeated_until is not None and not old.is_interrupted:
        measured = event.old.repeated_until
    return reading_time(measured, _last_arrival(event))


def _counted_time(meter: Meter, arrived: datetime) -> datetime:
    return reading_time(meter.counted.time if meter.counted else None, arrived)


def _has_changed(old: Meter, new: Meter) -> bool:
    """Return whether the counts or the sessions of a meter have changed."""
    if new == old:
        return False
    return new.session is not old.session or has_counted(old, new) or new.last_session is not old.last_session
