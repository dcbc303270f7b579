"""The records of the history, and how they follow from the meters of a plug.

An hourly reading is the meter at the end of an hour, as a utility reads it: the energy of an hour is the difference of
two readings. So writing a reading twice changes nothing, and an hour without energy needs no reading. The reading of
the current hour is written again and again until the hour ends.

The reading is the meter after the last measurement that arrived before the end of the hour, without interpolation:
programs that record the topics take the last message of each hour, and have the same energy in each hour.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.sessions import Session

__all__ = [
    "MeterRecord",
    "Plug",
    "ReadingRecord",
    "Record",
    "SessionRecord",
    "current_reading",
    "end_of_hour",
    "first_reading",
    "first_reading_before",
    "has_counted",
    "reading_time",
    "records",
    "start_of_hour",
]

_HOUR = timedelta(hours=1)
_MOST_HOURS = 48
"""Maximum number of hours to which a gap is attributed: a year without measurements must not create thousands."""

_LARGEST_DELAY = timedelta(minutes=2)
"""Maximum difference between a measurement and its arrival; a larger one means that this machine's clock is not set."""


class Plug(NamedTuple):
    """A plug in the history.

    Attributes:
        station: The station's uuid.
        uuid: The plug's uuid.
    """

    station: str
    uuid: str


class SessionRecord(NamedTuple):
    """A session that ended.

    Attributes:
        plug: The plug.
        session: The session.
        is_restored: Whether it is from a topic, which is rounded, and only written if the history lacks it.
    """

    plug: Plug
    session: Session
    is_restored: bool = False


class ReadingRecord(NamedTuple):
    """The meter of a plug at the end of an hour.

    Attributes:
        plug: The plug.
        hour: The end of the hour, in UTC.
        charged: Energy into vehicles since the start of the cycle, in Wh.
        discharged: Energy out of vehicles since the start of the cycle, in Wh.
        gap: Seconds for which the energy is unknown, since the start of the cycle.
        is_first: Whether it is only written if the history has no reading of this plug.
    """

    plug: Plug
    hour: datetime
    charged: float
    discharged: float
    gap: float
    is_first: bool = False


class MeterRecord(NamedTuple):
    """The current meter of a plug, from which a restarted bridge continues."""

    plug: Plug
    meter: Meter


Record = SessionRecord | ReadingRecord | MeterRecord


def records(plug: Plug, old: Meter, new: Meter, before: datetime, time: datetime) -> Iterator[Record]:
    """Yield the records that follow from a measurement; none if the plug is not in use.

    Args:
        plug: The plug.
        old: Its meter before the measurement.
        new: Its meter after it.
        before: The time of the last measurement that changed the meter, see `reading_time`.
        time: The time of this measurement; not earlier than `before`.
    """
    has_ended = new.last_session is not None and new.last_session is not old.last_session
    is_counting = has_counted(old, new)
    if has_ended and new.last_session is not None:
        yield SessionRecord(plug, new.last_session)
    if is_counting:
        yield from _readings(plug, old, new, before, time)
    if is_counting or has_ended or new.session is not old.session:
        yield MeterRecord(plug, new)


def has_counted(old: Meter, new: Meter) -> bool:
    """Return whether the counts of a meter have changed."""
    return new.charged != old.charged or new.discharged != old.discharged or new.gap != old.gap


def reading_time(measured: datetime | None, arrived: datetime) -> datetime:
    """Return the time of a measurement for the readings: that of its arrival.

    If this machine's clock is not set yet, the time of the measurement decides, so that no reading gets into another
    hour.

    Args:
        measured: The vendor's time of the measurement; `None`: not known.
        arrived: When the measurement arrived, by this machine's clock.
    """
    return arrived if measured is None or abs(arrived - measured) <= _LARGEST_DELAY else measured


def current_reading(plug: Plug, meter: Meter, time: datetime) -> ReadingRecord:
    """Return the reading of the hour of the last measurement, which is at `time`, as far as it is counted."""
    return ReadingRecord(plug, end_of_hour(time), meter.charged, meter.discharged, meter.gap)


def first_reading(plug: Plug, meter: Meter, time: datetime) -> ReadingRecord:
    """Return the reading from which the first energy after a start is counted; the last measurement is at `time`.

    Without it, the whole meter would be the energy of one hour in an empty history. If the history has readings, the
    energy counts from the last one: this reading would move what was counted before a restart to the hour before.
    """
    return ReadingRecord(plug, start_of_hour(time), meter.charged, meter.discharged, meter.gap, is_first=True)


def first_reading_before(reading: ReadingRecord) -> ReadingRecord:
    """Return the first reading of a plug so that its energy counts from this reading on."""
    return reading._replace(hour=reading.hour - _HOUR, is_first=True)


def start_of_hour(time: datetime) -> datetime:
    """Return the start of the hour of a time."""
    return time.replace(minute=0, second=0, microsecond=0)


def end_of_hour(time: datetime) -> datetime:
    """Return the end of the hour of a time; a full hour belongs to the hour that it begins."""
    return start_of_hour(time) + _HOUR


def _readings(plug: Plug, old: Meter, new: Meter, before: datetime, time: datetime) -> Iterator[ReadingRecord]:
    """Yield the readings of the hours that ended between two measurements, and the latest reading.

    The energy counts in the hour of the second measurement. A gap ends with it, and counts in its own hours.
    """
    hour, last = end_of_hour(before), end_of_hour(time)
    if hour < last:
        yield ReadingRecord(plug, hour, old.charged, old.discharged, _gap_until(hour, old, new, time))
        hour = max(hour + _HOUR, end_of_hour(time - timedelta(seconds=new.gap - old.gap)), last - _MOST_HOURS * _HOUR)
        while hour < last:
            yield ReadingRecord(plug, hour, old.charged, old.discharged, _gap_until(hour, old, new, time))
            hour += _HOUR
    yield ReadingRecord(plug, last, new.charged, new.discharged, new.gap)


def _gap_until(hour: datetime, old: Meter, new: Meter, time: datetime) -> float:
    """Return the gap until an hour, if a gap of `new` ends at `time`."""
    return max(old.gap, new.gap - (time - hour).total_seconds())
