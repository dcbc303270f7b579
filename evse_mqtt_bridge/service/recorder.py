"""The recorder: derives the records of the history from polls."""

from evse_mqtt_bridge.domain.events import Listener, PollCompleted
from evse_mqtt_bridge.storage.records import Plug, first_reading, records
from evse_mqtt_bridge.storage.sink import RecordSink

__all__ = ["Recorder"]


class Recorder(Listener):
    """Derives records from polls, and passes them to the writer, if there is one."""

    def __init__(self) -> None:
        self.writer: RecordSink | None = None
        self._known: set[Plug] = set()

    def use(self, writer: RecordSink | None) -> None:
        """Pass records to another writer, or to none."""
        self.writer = writer
        self._known.clear()

    def poll_completed(self, event: PollCompleted) -> None:
        """Record what the meters counted; most polls record nothing."""
        writer = self.writer
        if writer is None:
            return
        for uuid, plug in event.new.plugs.items():
            before = event.old.plugs.get(uuid)
            old, new = before.meter if before else None, plug.meter
            if old is None or new is None or new is old:
                continue
            name = Plug(event.station.uuid, uuid)
            found = list(records(name, old, new))
            if not found:
                continue
            if name not in self._known:
                self._known.add(name)
                writer.name(name, event.station.title, event.station.plug_title(uuid, plug.label))
                if first := first_reading(name, old):
                    writer.put((first,))
            writer.put(found)
