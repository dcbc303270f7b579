"""Charging sessions of a plug: from a vehicle being plugged in to it being unplugged.

Charging phases are inside a session: a pause does not end it. The status determines the transitions
(domain/statuses.py); a status that does not determine whether a vehicle is connected leaves the session as it is.

    status of the measurement      no session                  open session
    vehicle connected              open one                    keep it open
    no vehicle connected           -                           end it at the time of this measurement
    undetermined                   -                           keep it open

The start of a session is known if the measurement before it, without a gap in between, showed no vehicle. The energy of
the span that leads to the first measurement of a session belongs to the session, because no other vehicle can have
drawn it.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from evse_mqtt_bridge.domain.energy import Span
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = ["Session", "SessionChange", "SessionEvent", "next_session", "session_changes"]


class Session(NamedTuple):
    """A charging session.

    Attributes:
        started: Time of the first measurement with the vehicle, in UTC.
        is_start_known: Whether the start was measured; otherwise, the vehicle may have been connected before.
        charged: Energy into the vehicle, in Wh.
        discharged: Energy out of the vehicle, in Wh.
        gap: Seconds of the session for which the energy is unknown.
        charging: Seconds of known spans that began with a charging vehicle.
        peak: The highest power, in W; 0 if only discharged.
        is_charging: Whether the last status that determines it was a charging one.
        ended: Time of the first measurement without the vehicle, in UTC; `None` while the session is open.
    """

    started: datetime
    is_start_known: bool
    charged: float = 0.0
    discharged: float = 0.0
    gap: float = 0.0
    charging: float = 0.0
    peak: float = 0.0
    is_charging: bool = False
    ended: datetime | None = None

    def connected_until(self, time: datetime) -> float:
        """Return for how many seconds the vehicle has been connected at `time`, or was when the session ended."""
        return ((self.ended or time) - self.started).total_seconds()


class SessionEvent(StrEnum):
    """What happened to a session, as published in `session_event`."""

    STARTED = "started"
    CHARGING = "charging"
    PAUSED = "paused"
    ENDED = "ended"


class SessionChange(NamedTuple):
    """An event of a session, with the session after it."""

    event: SessionEvent
    session: Session


def next_session(
    session: Session | None, before: PlugReading | None, reading: PlugReading, between: Span | None
) -> Session | None:
    """Return the session after a measurement.

    Args:
        session: The open session; `None`: none.
        before: The previous measurement; `None`: this is the first one.
        reading: The measurement, with a time.
        between: The span since the previous measurement; `None` for the first one.

    Returns:
        The session, with `ended` set if it ended; `None` if there is none.
    """
    flags = meaning(reading.status)
    peak = reading.power or 0.0
    ended = reading.time if flags.vehicle_connected is False else None
    if session is None:
        if not flags.vehicle_connected or reading.time is None:
            return None
        was_unplugged = before is not None and meaning(before.status).vehicle_connected is False
        is_adjacent = between is not None and between.is_known
        return Session(
            reading.time,
            is_start_known=was_unplugged and is_adjacent,
            charged=between.charged if between else 0.0,
            discharged=between.discharged if between else 0.0,
            peak=max(0.0, peak),
            is_charging=bool(flags.charging),
            ended=ended,
        )
    started, is_start_known, charged, discharged, gap, charging, highest, is_charging, _ = session
    if between is not None:
        if between.charged:  # see meter.py
            charged += between.charged
        if between.discharged:
            discharged += between.discharged
        if not between.is_known:
            gap += between.seconds
        elif before is not None and meaning(before.status).charging is True:
            charging += between.seconds
    highest = max(highest, peak)
    if flags.charging is not None:
        is_charging = flags.charging
    return Session(started, is_start_known, charged, discharged, gap, charging, highest, is_charging, ended)


def session_changes(
    old: tuple[Session | None, Session | None], new: tuple[Session | None, Session | None]
) -> tuple[SessionChange, ...]:
    """Return the events that lead from `old` to `new`, each the open session and the session that ended last."""
    (old_open, old_last), (new_open, new_last) = old, new
    changes: list[SessionChange] = []
    if new_last is not None and (old_last is None or new_last.started != old_last.started):
        if old_open is None or old_open.started != new_last.started:
            changes.append(SessionChange(SessionEvent.STARTED, new_last))
        changes.append(SessionChange(SessionEvent.ENDED, new_last))
    if new_open is not None:
        was_charging = False
        if old_open is None or old_open.started != new_open.started:
            changes.append(SessionChange(SessionEvent.STARTED, new_open))
        else:
            was_charging = old_open.is_charging
        if new_open.is_charging is not was_charging:
            event = SessionEvent.CHARGING if new_open.is_charging else SessionEvent.PAUSED
            changes.append(SessionChange(event, new_open))
    return tuple(changes)
