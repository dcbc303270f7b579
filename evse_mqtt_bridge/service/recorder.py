"""The recorder: passes what the meters count to the writer of the history."""

from datetime import datetime, timedelta
from typing import NamedTuple

from evse_mqtt_bridge.domain.events import Listener, MetersStarted, PollCompleted
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.records import Plug, SessionRecord, first_reading, has_counted, reading_time
from evse_mqtt_bridge.storage.sink import RecordSink

__all__ = ["Recorder"]


class _Last(NamedTuple):
    """What was recorded last of a plug.

    Attributes:
        time: The time of the measurement, see `reading_time`.
        meter: The meter after it.
    """

    time: datetime
    meter: Meter

    def is_of(self, meter: Meter) -> bool:
        """Return whether a meter has the same counts."""
        return self.meter is meter or not has_counted(self.meter, meter)


class Recorder(Listener):
    """Passes what the meters count with a poll to the writer, if there is one."""

    def __init__(self) -> None:
        self.writer: RecordSink | None = None
        self._last: dict[Plug, _Last] = {}
        """The last record of each plug. If another member of the fleet has counted meanwhile, it is out of date."""

    def use(self, writer: RecordSink | None) -> None:
        """Pass what is counted to another writer, or to none."""
        self.writer = writer
        self._last.clear()

    def poll_completed(self, event: PollCompleted) -> None:
        """Record what the meters counted; those of plugs without a vehicle mostly count nothing."""
        writer, station = self.writer, event.station
        if writer is None:
            return
        plugs_before = event.old.plugs
        for uuid, plug in event.new.plugs.items():
            before = plugs_before.get(uuid)
            old, new = before.meter if before else None, plug.meter
            if old is None or new is None or not _has_changed(old, new):
                continue
            name = Plug(station.uuid, uuid)
            if not self._continues(name, old):
                writer.name(name, station.title, station.plug_title(uuid, plug.label))
                self._begin(writer, name, old, _last_time(event, old, new))
            self._count(writer, name, old, new, _time(new, event.moment.utc))

    def meters_started(self, event: MetersStarted) -> None:
        """Record what the meters counted before they started, and sessions that the previous run may not have written.

        The times of the measurements stand for those of their arrivals.
        """
        writer, station = self.writer, event.station
        if writer is None:
            return
        for uuid in {**event.counted, **event.unrecorded}:
            plug = event.state.plugs.get(uuid)
            name = Plug(station.uuid, uuid)
            writer.name(name, station.title, station.plug_title(uuid, plug.label if plug else None))
            if waited := event.counted.get(uuid):
                self._count_wait(writer, name, *waited)
            writer.put(SessionRecord(name, each, is_restored=True) for each in event.unrecorded.get(uuid, ()))

    def _count_wait(self, writer: RecordSink, name: Plug, old: Meter, new: Meter) -> None:
        times = [meter.counted.time for meter in (old, new) if meter.counted and meter.counted.time]
        if len(times) == 2 and _has_changed(old, new):  # noqa: PLR2004  # both are known
            if not self._continues(name, old):
                self._begin(writer, name, old, times[0])
            self._count(writer, name, old, new, times[1])

    def _continues(self, name: Plug, meter: Meter) -> bool:
        """Return whether the last record of a plug is that of a meter."""
        last = self._last.get(name)
        return last is not None and last.is_of(meter)

    def _begin(self, writer: RecordSink, name: Plug, old: Meter, last: datetime) -> None:
        """Begin with a plug whose last measurement was at `last`."""
        self._last[name] = _Last(last, old)
        if old.counted is not None:
            writer.put((first_reading(name, old, last),))

    def _count(self, writer: RecordSink, name: Plug, old: Meter, new: Meter, measured: datetime) -> None:
        last = self._last[name].time
        time = max(last, measured)  # the clock may be set back, but a plug's readings keep their order
        self._last[name] = _Last(time, new)
        writer.count(name, old, new, last, time)


def _last_time(event: PollCompleted, old: Meter, new: Meter) -> datetime:
    """Return the time of the last measurement before a poll; if it is not known, that of this one."""
    if old.counted is None:
        return _time(new, event.moment.utc)
    seconds = event.moment.monotonic - event.old.confirmed_at
    return _time(old, event.moment.utc - timedelta(seconds=seconds))


def _time(meter: Meter, arrived: datetime) -> datetime:
    return reading_time(meter.counted.time if meter.counted else None, arrived)


def _has_changed(old: Meter, new: Meter) -> bool:
    """Return whether the counts or the sessions of a meter have changed."""
    if new is old:
        return False
    return new.session is not old.session or has_counted(old, new) or new.last_session is not old.last_session
