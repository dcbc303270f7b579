"""What the meters counted since their last record: one span per plug, however many polls it has.

A charging plug counts with every poll, but within an hour only its latest reading and meter have to be written, and not
with every poll. The end of a session, and the first change after the end of an hour, make the records due at once.
"""

from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.records import (
    MeterRecord,
    Plug,
    Record,
    current_reading,
    end_of_hour,
    first_reading,
    has_counted,
    records,
)

__all__ = ["Span", "Spans"]


class Span(NamedTuple):
    """A change that is not written yet. Within an hour, only the latest state of the meter is needed.

    Attributes:
        plug: The plug.
        meter: The meter at the end of the span.
        time: The time of its last change, see `reading_time`.
        has_counted: Whether its counts have changed; otherwise, only its session has.
    """

    plug: Plug
    meter: Meter
    time: datetime
    has_counted: bool

    def records(self) -> list[Record]:
        """Return the records of the span."""
        meter = MeterRecord(self.plug, self.meter)
        return [current_reading(self.plug, self.meter, self.time), meter] if self.has_counted else [meter]


class _Latest:
    """The latest known state of a plug's meter; each change of the meter updates it.

    Attributes:
        plug: The plug.
        meter: The meter.
        time: The time of its last change, see `reading_time`.
        end_of_hour: The end of its hour.
    """

    __slots__ = ("end_of_hour", "meter", "plug", "time")

    def __init__(self, plug: Plug, meter: Meter, time: datetime, end_of_hour: datetime) -> None:
        self.plug = plug
        self.meter = meter
        self.time = time
        self.end_of_hour = end_of_hour

    def span(self, *, has_counted: bool) -> Span:
        """Return the span that ends with this change."""
        return Span(self.plug, self.meter, self.time, has_counted)


class Spans:
    """The spans that are not written, and the last change of the meter of each plug."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], _Latest] = {}
        self._counted: dict[tuple[str, str], _Latest] = {}
        """The plugs whose counts have changed since their last record."""
        self._session_only: dict[tuple[str, str], _Latest] = {}
        """The plugs of which only the session has changed."""
        self._hour = end_of_hour(datetime.min.replace(tzinfo=UTC))
        """The end of an hour; all plugs that were measured in it share the object."""

    def __len__(self) -> int:
        return len(self._counted) + len(self._session_only)

    def begin(self, plug: Plug, meter: Meter, time: datetime) -> list[Record]:
        """Begin with a meter whose last measurement was at `time`; return the records that are due now."""
        due = self._pop_records(plug)
        self._latest[plug] = _Latest(plug, meter, time, self._end_of_hour(time))
        return due if meter.counted is None else [*due, first_reading(plug, meter, time)]

    def add(self, plug: tuple[str, str], old: Meter, new: Meter, time: datetime) -> list[Record] | None:
        """Add what a meter counted with a measurement that changed it.

        Args:
            plug: The uuids of the station and of the plug.
            old: Its meter before the measurement.
            new: Its meter after it.
            time: The time of the measurement, see `reading_time`. If the clock was set back, so that the last change is
                later, the time of that one counts: the readings of a plug keep their order.

        Returns:
            The records that are due now. `None`, and nothing is added, if the plug has not begun, or if its latest
            meter has other counts than `old`.
        """
        last = self._latest.get(plug)
        if last is None or (last.meter is not old and has_counted(last.meter, old)):
            return None
        before = last.time
        time = max(before, time)
        if time >= last.end_of_hour or new.last_session is not old.last_session:
            due = self._pop_records(plug)
            last.meter, last.time, last.end_of_hour = new, time, self._end_of_hour(time)
            return [*due, *records(last.plug, old, new, before, time)]
        last.meter, last.time = new, time
        if plug not in self._counted:
            if has_counted(old, new):
                self._counted[plug] = last
                self._session_only.pop(plug, None)
            else:
                self._session_only[plug] = last
        return []

    def remove(self, limit: int | None) -> list[Span]:
        """Remove spans, and return them: first those with changed counts, then the others, each the oldest first.

        Args:
            limit: Maximum number of spans; `None`: all.
        """
        removed = _pop(self._counted, limit, has_counted=True)
        return removed + _pop(self._session_only, None if limit is None else limit - len(removed), has_counted=False)

    def _end_of_hour(self, time: datetime) -> datetime:
        end = end_of_hour(time)
        if end != self._hour:
            self._hour = end
        return self._hour

    def _pop_records(self, plug: tuple[str, str]) -> list[Record]:
        """Remove the span of a plug, and return its records; none if there is no span."""
        if (last := self._counted.pop(plug, None)) is not None:
            return last.span(has_counted=True).records()
        if (last := self._session_only.pop(plug, None)) is not None:
            return last.span(has_counted=False).records()
        return []


def _pop(spans: dict[tuple[str, str], _Latest], limit: int | None, *, has_counted: bool) -> list[Span]:
    """Remove and return the oldest spans."""
    return [spans.pop(plug).span(has_counted=has_counted) for plug in list(islice(spans, limit))]
