"""The energy meter of a plug: counts energy and sessions, one measurement after the other.

A meter never goes back. Measurements that are not newer than the last counted one, and measurements with a power that
the plug cannot have, change nothing. Time without known energy counts as a gap unless no vehicle was connected at
either end of it.

A cycle is the time for which a meter counts up from 0. A new one begins only if no record of the previous one is found.
"""

from datetime import datetime
from typing import NamedTuple

from evse_mqtt_bridge.domain.energy import Span, has_plausible_power, span
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.sessions import Session, next_session
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = ["Meter", "PublishedMeter", "count", "interrupt", "larger", "published_meter"]


class Meter(NamedTuple):
    """The counts of a plug since the start of the cycle; a named tuple, because one is created for each measurement.

    Attributes:
        charged: Energy into vehicles, in Wh; never decreases.
        discharged: Energy out of vehicles, in Wh; never decreases.
        gap: Seconds for which the energy is unknown; never decreases.
        counted: The last measurement that was counted; `None` before the first.
        is_interrupted: Whether the plug was unavailable since then.
        session: The open session; `None`: none.
        last_session: The session that ended last; `None` before the first end.
    """

    charged: float = 0.0
    discharged: float = 0.0
    gap: float = 0.0
    counted: PlugReading | None = None
    is_interrupted: bool = False
    session: Session | None = None
    last_session: Session | None = None


class PublishedMeter(NamedTuple):
    """What is published of a meter; kept until the next publication, without the values of the measurement.

    Attributes:
        charged: See `Meter`.
        discharged: See `Meter`.
        gap: See `Meter`.
        session: See `Meter`.
        last_session: See `Meter`.
        counted_until: The time of the last measurement that was counted; `None` before the first.
    """

    charged: float
    discharged: float
    gap: float
    session: Session | None
    last_session: Session | None
    counted_until: datetime | None


def published_meter(meter: Meter) -> PublishedMeter:
    """Return what is published of a meter."""
    charged, discharged, gap, counted, _, session, last_session = meter
    return PublishedMeter(charged, discharged, gap, session, last_session, counted.time if counted else None)


def count(meter: Meter, reading: PlugReading, longest: float) -> Meter:
    """Return the meter after a measurement of an available plug.

    Args:
        meter: The meter before.
        reading: The measurement.
        longest: Maximum length of a span with known energy, in seconds.
    """
    before = meter.counted
    if meter.session is None and _stays_empty(before, reading):  # most plugs, most of the time
        return Meter(meter.charged, meter.discharged, meter.gap, reading, False, None, meter.last_session)  # noqa: FBT003
    if reading.time is None or not has_plausible_power(reading):
        return meter
    between = None
    if before is not None:
        between = span(before, reading, longest, is_interrupted=meter.is_interrupted)
        if between is None:
            return meter
    session, last = next_session(meter.session, before, reading, between), meter.last_session
    if session is not None and session.ended is not None:
        session, last = None, session
    charged, discharged, gap = meter.charged, meter.discharged, meter.gap
    if between is not None:  # a count that does not change stays the same object, which saves memory
        if between.charged:
            charged += between.charged
        if between.discharged:
            discharged += between.discharged
        if not between.is_known:
            gap += _gap(meter, before, reading, between)
    return Meter(charged, discharged, gap, reading, False, session, last)  # noqa: FBT003  # runs for each measurement


def _stays_empty(before: PlugReading | None, reading: PlugReading) -> bool:
    """Return whether there was neither a vehicle nor power at two measurements, of which `reading` is the later one."""
    return (
        before is not None
        and before.power == 0 == reading.power
        and before.status == reading.status
        and meaning(reading.status).vehicle_connected is False
        and before.time is not None
        and reading.time is not None
        and before.time < reading.time
    )


def interrupt(meter: Meter) -> Meter:
    """Return the meter of a plug that became unavailable."""
    return meter if meter.is_interrupted or meter.counted is None else meter._replace(is_interrupted=True)


def larger(first: Meter, second: Meter) -> Meter:
    """Return the union of two records of one meter: the larger counts, and the sessions of the later record."""
    earlier, later = sorted((first, second), key=_time_of_count)
    session = later.session
    if session is not None and earlier.session is not None and session.started == earlier.session.started:
        session = session._replace(
            charged=max(session.charged, earlier.session.charged),
            discharged=max(session.discharged, earlier.session.discharged),
            peak=max(session.peak, earlier.session.peak),
        )
    return later._replace(
        charged=max(first.charged, second.charged),
        discharged=max(first.discharged, second.discharged),
        gap=max(first.gap, second.gap),
        session=session,
        last_session=_newer(earlier.last_session, later.last_session),
    )


def _newer(first: Session | None, second: Session | None) -> Session | None:
    """Return the session that started later; the second one if both are the same."""
    if first is None or second is None:
        return first or second
    return first if first.started > second.started else second


def _gap(meter: Meter, before: PlugReading | None, reading: PlugReading, between: Span) -> float:
    """Return the seconds of a span without known energy that count as a gap."""
    statuses = (before.status if before else None, reading.status)
    was_empty = meter.session is None and all(meaning(status).vehicle_connected is False for status in statuses)
    return 0.0 if was_empty else between.seconds


def _time_of_count(meter: Meter) -> float:
    return meter.counted.time.timestamp() if meter.counted and meter.counted.time else 0.0
