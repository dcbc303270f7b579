"""The records of the history, and how they follow from the meters of a plug.

An hourly reading is the meter at the end of an hour, as a utility reads it: the energy of an hour is the difference of
two readings. So writing a reading twice changes nothing, and an hour without energy needs no reading. The reading of
the current hour is written again and again until the hour ends.
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
    "first_reading",
    "has_counted",
    "records",
    "start_of_hour",
]

_HOUR = timedelta(hours=1)
_MOST_HOURS = 48
"""Maximum number of interpolated readings of one span: a year without measurements must not create thousands."""


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
        is_first: Whether it is only written if the history has no reading of this hour.
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


def records(plug: Plug, old: Meter, new: Meter) -> Iterator[Record]:
    """Yield the records that follow from a measurement; none if the plug is not in use.

    Args:
        plug: The plug.
        old: Its meter before the measurement.
        new: Its meter after it.
    """
    has_ended = new.last_session is not None and new.last_session is not old.last_session
    is_counting = has_counted(old, new)
    if has_ended and new.last_session is not None:
        yield SessionRecord(plug, new.last_session)
    if is_counting:
        yield from _readings(plug, old, new)
    if is_counting or has_ended or new.session is not old.session:
        yield MeterRecord(plug, new)


def has_counted(old: Meter, new: Meter) -> bool:
    """Return whether the counts of a meter have changed."""
    return new.charged != old.charged or new.discharged != old.discharged or new.gap != old.gap


def current_reading(plug: Plug, meter: Meter) -> ReadingRecord | None:
    """Return the reading of the hour of the last measurement, as far as it is counted; `None` before any."""
    if meter.counted is None or meter.counted.time is None:
        return None
    hour = start_of_hour(meter.counted.time) + _HOUR
    return ReadingRecord(plug, hour, meter.charged, meter.discharged, meter.gap)


def first_reading(plug: Plug, meter: Meter) -> ReadingRecord | None:
    """Return the reading from which the first energy after a start is counted; `None` before any measurement.

    Without it, the whole meter would be the energy of one hour in an empty history.
    """
    if meter.counted is None or meter.counted.time is None:
        return None
    hour = start_of_hour(meter.counted.time)
    return ReadingRecord(plug, hour, meter.charged, meter.discharged, meter.gap, is_first=True)


def start_of_hour(time: datetime) -> datetime:
    """Return the start of the hour of a time."""
    return time.replace(minute=0, second=0, microsecond=0)


def _readings(plug: Plug, old: Meter, new: Meter) -> Iterator[ReadingRecord]:
    """Yield the interpolated readings at the ends of the hours between two measurements, and the latest reading."""
    before, after = (meter.counted.time if meter.counted else None for meter in (old, new))
    if before is None or after is None:
        return
    hour = max(start_of_hour(before) + _HOUR, start_of_hour(after) - _MOST_HOURS * _HOUR)
    while hour <= after:
        share = (hour - before) / (after - before)
        charged = old.charged + (new.charged - old.charged) * share
        discharged = old.discharged + (new.discharged - old.discharged) * share
        gap = old.gap + (new.gap - old.gap) * share
        yield ReadingRecord(plug, hour, charged, discharged, gap)
        hour += _HOUR
    yield ReadingRecord(plug, hour, new.charged, new.discharged, new.gap)
