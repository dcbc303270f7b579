"""What the meters counted since their last record: one span per plug, however many polls it has.

A charging plug counts with every poll, but its reading of the current hour and its meter are only worth writing from
time to time. At the end of an hour, and of a session, the exact counts matter, so the records are due at once.
"""

from itertools import islice

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, Record, current_reading, has_counted, records

__all__ = ["Spans"]


class Spans:
    """The spans by plug, each as the last meter, which is all that is needed within an hour."""

    def __init__(self) -> None:
        self._counted: dict[Plug, Meter] = {}
        """The plugs whose counts have changed."""
        self._others: dict[Plug, Meter] = {}
        """The plugs of which only the session has changed."""

    def __len__(self) -> int:
        return len(self._counted) + len(self._others)

    def add(self, plug: Plug, old: Meter, new: Meter) -> list[Record]:
        """Add what a meter counted with a measurement that changed it; return the records that are due now.

        Args:
            plug: The plug.
            old: Its meter before the measurement.
            new: Its meter after it.
        """
        counted = self._counted.get(plug)
        # Measurements that change nothing are not added, so `old` may be of a later hour than the span.
        is_same_hour = _is_within_an_hour(old, new) and (counted is None or _is_within_an_hour(counted, new))
        if not is_same_hour or new.last_session is not old.last_session:
            due = _records(plug, self._counted.pop(plug, None), self._others.pop(plug, None))
            return [*due, *records(plug, old, new)]
        if counted is not None or has_counted(old, new):
            self._counted[plug] = new
            self._others.pop(plug, None)
        else:
            self._others[plug] = new
        return []

    def remove(self, limit: int | None) -> "Spans":
        """Remove the oldest spans, and return them.

        Args:
            limit: Maximum number of spans; `None`: all.
        """
        removed = Spans()
        removed._counted = _moved(self._counted, limit)
        removed._others = _moved(self._others, None if limit is None else limit - len(removed))
        return removed

    def records(self) -> list[Record]:
        """Return the records of all spans."""
        found = [record for plug, meter in self._counted.items() for record in _records(plug, meter, None)]
        return found + [record for plug, meter in self._others.items() for record in _records(plug, None, meter)]


def _moved(spans: dict[Plug, Meter], limit: int | None) -> dict[Plug, Meter]:
    """Remove and return the oldest spans."""
    return {plug: spans.pop(plug) for plug in list(islice(spans, limit))}


def _records(plug: Plug, counted: Meter | None, other: Meter | None) -> list[Record]:
    meter = counted or other
    if meter is None:
        return []
    reading = current_reading(plug, counted) if counted else None
    return [*([reading] if reading else []), MeterRecord(plug, meter)]


def _is_within_an_hour(old: Meter, new: Meter) -> bool:
    """Return whether two measurements are in the same hour of a day."""
    before, after = old.counted, new.counted
    if before is None or after is None or before.time is None or after.time is None:
        return False
    return before.time.hour == after.time.hour and before.time.toordinal() == after.time.toordinal()
