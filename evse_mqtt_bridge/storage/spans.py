"""What the meters counted since their last record: one span per plug, however many polls it has.

A charging plug counts with every poll, but its reading of the current hour and its meter are only worth writing from
time to time. At the end of an hour, and of a session, the exact counts matter, so the records are due at once.
"""

from datetime import datetime
from itertools import islice
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.records import (
    MeterRecord,
    Plug,
    Record,
    current_reading,
    has_counted,
    records,
)

__all__ = ["Spans"]


class _Span(NamedTuple):
    """What a meter counted since its last record.

    Attributes:
        meter: The meter at the end of the span.
        time: The time of its last change, see `reading_time`.
    """

    meter: Meter
    time: datetime


class Spans:
    """The spans by plug, each as the last meter and its time, which is all that is needed within an hour."""

    def __init__(self) -> None:
        self._counted: dict[Plug, _Span] = {}
        """The plugs whose counts have changed."""
        self._others: dict[Plug, _Span] = {}
        """The plugs of which only the session has changed."""

    def __len__(self) -> int:
        return len(self._counted) + len(self._others)

    def add(self, plug: Plug, old: Meter, new: Meter, before: datetime, time: datetime) -> list[Record]:
        """Add what a meter counted with a measurement that changed it; return the records that are due now.

        Args:
            plug: The plug.
            old: Its meter before the measurement.
            new: Its meter after it.
            before: The time of the last measurement that changed the meter, see `reading_time`.
            time: The time of this measurement; not earlier than `before`.
        """
        is_same_hour = before.hour == time.hour and before.toordinal() == time.toordinal()
        if not is_same_hour or new.last_session is not old.last_session:
            due = _records(plug, self._counted.pop(plug, None), self._others.pop(plug, None))
            return [*due, *records(plug, old, new, before, time)]
        if plug in self._counted or has_counted(old, new):
            self._counted[plug] = _Span(new, time)
            self._others.pop(plug, None)
        else:
            self._others[plug] = _Span(new, time)
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
        found = [record for plug, span in self._counted.items() for record in _records(plug, span, None)]
        return found + [record for plug, span in self._others.items() for record in _records(plug, None, span)]


def _moved(spans: dict[Plug, _Span], limit: int | None) -> dict[Plug, _Span]:
    """Remove and return the oldest spans."""
    return {plug: spans.pop(plug) for plug in list(islice(spans, limit))}


def _records(plug: Plug, counted: _Span | None, other: _Span | None) -> list[Record]:
    last = counted or other
    if last is None:
        return []
    reading = [current_reading(plug, *counted)] if counted else []
    return [*reading, MeterRecord(plug, last.meter)]
