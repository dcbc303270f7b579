"""Counts energy and sessions of plugs whose meters wait for the records of the previous run, see meter_start.py.

A waiting meter counts from the first measurement on, and nothing of it is published. Once the record is known, the span
from the record to the first measurement is counted, and what was counted since is added. So the wait changes no count,
and no session but those before the last 100 of a plug. However long a waiting meter waits, it takes at most the memory
of two others and of 2 x 100 ended sessions.

Whether a session of the previous run is still open at the first measurement may depend on the record, if the status
does not determine whether a vehicle is connected. Then the meter counts twice: with and without an open session.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt
from evse_mqtt_bridge.domain.model import Reason, StationState
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = ["Continuation", "WaitingMeter", "WaitingMeters", "continued"]

_MOST_SESSIONS = 100
"""Maximum number of ended sessions of a plug that are kept, the last ones, in case that the broker is away for days."""


class _Counted(NamedTuple):
    """What was counted since the first measurement.

    Attributes:
        meter: The meter, as if there were no record.
        ended: The sessions that ended, in order.
    """

    meter: Meter = Meter()
    ended: tuple[Session, ...] = ()


_NOTHING = _Counted()
_NONE: Mapping[str, "WaitingMeter"] = MappingProxyType({})


class WaitingMeter(NamedTuple):
    """A meter that waits.

    Attributes:
        first: The first measurement; `None` before it.
        without_session: What was counted if no session of the previous run is open at the first measurement.
        with_session: What was counted if one is; the same object if the status determines whether a vehicle is there.
        is_interrupted: Whether the plug was unavailable before the first measurement.
    """

    first: PlugReading | None = None
    without_session: _Counted = _NOTHING
    with_session: _Counted = _NOTHING
    is_interrupted: bool = False

    def measured(self, reading: PlugReading, longest: float) -> "WaitingMeter":
        """Return the meter after a measurement of an available plug; see `count` of meter.py."""
        if self.first is None:
            return self._begun(reading)
        without = _counted(self.without_session, reading, longest)
        is_same = self.with_session is self.without_session
        return self._replace(
            without_session=without, with_session=without if is_same else _counted(self.with_session, reading, longest)
        )

    def interrupted(self) -> "WaitingMeter":
        """Return the meter of a plug that became unavailable."""
        if self.first is None:
            return self._replace(is_interrupted=True)
        without, with_session = (
            each._replace(meter=interrupt(each.meter)) for each in (self.without_session, self.with_session)
        )
        is_same = self.with_session is self.without_session
        return self._replace(without_session=without, with_session=without if is_same else with_session)

    def _begun(self, first: PlugReading) -> "WaitingMeter":
        meter = count(Meter(), first, 0.0)
        if meter.counted is None or first.time is None:
            return self
        without = with_session = _Counted(meter)
        flags = meaning(first.status)
        if flags.vehicle_connected is None:
            session = Session(first.time, is_start_known=False, peak=max(0.0, first.power or 0.0))
            with_session = _Counted(meter._replace(session=session))
        return self._replace(first=first, without_session=without, with_session=with_session)


class Continuation(NamedTuple):
    """A meter that continues a record with what was counted while it waited.

    Attributes:
        first: The meter after the first measurement.
        ended: The sessions that ended after that, in order.
        meter: The meter now.
    """

    first: Meter
    ended: tuple[Session, ...]
    meter: Meter

    @property
    def has_counted(self) -> bool:
        """Whether there was another measurement after the first one."""
        return _time(self.meter) != _time(self.first)


def continued(record: Meter, waiting: WaitingMeter, longest: float) -> Continuation | None:
    """Return how a meter continues a record.

    Args:
        record: The meter of the previous run; an empty one if there is none.
        waiting: The waiting meter.
        longest: Maximum length of the span from the record to the first measurement with known energy, in seconds.

    Returns:
        The continuation; `None` if there is no measurement, or if the record is of a later time than the first one, so
        that some energy would count twice.
    """
    began = waiting.first.time if waiting.first is not None else None
    if waiting.first is None or began is None:
        return None
    if record.counted is not None and record.counted.time is not None and record.counted.time > began:
        return None
    first = count(interrupt(record) if waiting.is_interrupted else record, waiting.first, longest)
    before, since = first.session, waiting.with_session if first.session else waiting.without_session

    def complete(session: Session) -> Session:
        """Return a session with its part before the first measurement."""
        return _joined(before, session) if before is not None and session.started == began else session

    ended = tuple(map(complete, since.ended))
    meter = Meter(
        charged=first.charged + since.meter.charged,
        discharged=first.discharged + since.meter.discharged,
        gap=first.gap + since.meter.gap,
        counted=since.meter.counted,
        is_interrupted=since.meter.is_interrupted,
        session=complete(since.meter.session) if since.meter.session else None,
        last_session=ended[-1] if ended else first.last_session,
    )
    return Continuation(first, ended, meter)


class WaitingMeters:
    """The meters that wait, by station uuid and plug uuid."""

    def __init__(self) -> None:
        self._meters: dict[str, dict[str, WaitingMeter]] = {}

    def count(self, uuid: str, old: StationState, new: StationState, longest: float) -> None:
        """Count what changed in the state of a station.

        Args:
            uuid: The station.
            old: Its state before.
            new: Its state after a poll, or after the passing of time.
            longest: Maximum length of a span with known energy, in seconds.
        """
        before, meters = self._meters.get(uuid, _NONE), {}
        for plug_uuid, plug in new.plugs.items():
            meter, old_plug = before.get(plug_uuid), old.plugs.get(plug_uuid)
            if plug.reason is Reason.ONLINE:
                if plug.reading is not None and (old_plug is None or plug.reading is not old_plug.reading):
                    meter = (meter or WaitingMeter()).measured(plug.reading, longest)
            elif plug.reason is not None:
                meter = (meter or WaitingMeter()).interrupted()
            if meter is not None:
                meters[plug_uuid] = meter
        self._meters[uuid] = meters

    def pop(self, uuid: str) -> Mapping[str, WaitingMeter]:
        """Return and remove the meters of a station, by plug uuid."""
        return self._meters.pop(uuid, _NONE)


def _time(meter: Meter) -> datetime | None:
    return meter.counted.time if meter.counted else None


def _counted(counted: _Counted, reading: PlugReading, longest: float) -> _Counted:
    meter, ended = count(counted.meter, reading, longest), counted.ended
    if meter.last_session is not None and meter.last_session is not counted.meter.last_session:
        ended = (*ended, meter.last_session)[-_MOST_SESSIONS:]
    return _Counted(meter, ended)


def _joined(earlier: Session, later: Session) -> Session:
    """Return a session from its two parts."""
    return later._replace(
        started=earlier.started,
        is_start_known=earlier.is_start_known,
        charged=earlier.charged + later.charged,
        discharged=earlier.discharged + later.discharged,
        gap=earlier.gap + later.gap,
        charging=earlier.charging + later.charging,
        peak=max(earlier.peak, later.peak),
    )
