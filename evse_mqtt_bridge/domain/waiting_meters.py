"""Counts energy and sessions of plugs whose meters wait for the records of the previous run, see meter_start.py.

A waiting meter counts from the first measurement on, and nothing of it is published. Once the record is known, the span
from the record to the first measurement is counted, and what was counted since is added. So the wait changes no count,
and no session but those before the last 100 of a plug. However long a waiting meter waits, it takes at most the memory
of two others and of 2 x 100 ended sessions.

Whether a session of the previous run is still open at the first measurement may depend on the record, if the status
does not determine whether a vehicle is connected. Then the meter counts twice: with and without an open session.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt
from evse_mqtt_bridge.domain.model import Reason, StationState
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = ["Continuation", "WaitingMeter", "WaitingMeters", "continue_record"]

_MOST_SESSIONS = 100
"""Maximum number of ended sessions of a plug that are kept, the last ones, in case that the broker is away for days."""


class _SinceFirstReading(NamedTuple):
    """What was counted since the first measurement.

    Attributes:
        meter: A meter that started at 0 with the first measurement.
        ended: The sessions that ended, in order.
    """

    meter: Meter = Meter()
    ended: tuple[Session, ...] = ()

    def with_reading(self, reading: PlugReading, longest: float) -> "_SinceFirstReading":
        """Return what was counted after a further measurement; see `count` of meter.py."""
        meter, ended = count(self.meter, reading, longest), self.ended
        if meter.last_session is not None and meter.last_session is not self.meter.last_session:
            ended = (*ended, meter.last_session)[-_MOST_SESSIONS:]
        return _SinceFirstReading(meter, ended)

    def interrupted(self) -> "_SinceFirstReading":
        """Return what was counted after the plug became unavailable."""
        return self._replace(meter=interrupt(self.meter))


_NOTHING_COUNTED = _SinceFirstReading()
_NO_METERS: Mapping[str, "WaitingMeter"] = MappingProxyType({})


class WaitingMeter(NamedTuple):
    """A meter that waits.

    Attributes:
        first_reading: The first measurement; `None` before it.
        if_no_session: What was counted if no session of the previous run is open at the first measurement.
        if_session: What was counted if one is; the same object if the status determines whether a vehicle is there.
        is_interrupted: Whether the plug was unavailable before the first measurement.
    """

    first_reading: PlugReading | None = None
    if_no_session: _SinceFirstReading = _NOTHING_COUNTED
    if_session: _SinceFirstReading = _NOTHING_COUNTED
    is_interrupted: bool = False

    def with_reading(self, reading: PlugReading, longest: float) -> "WaitingMeter":
        """Return the meter after a measurement of an available plug; see `count` of meter.py."""
        if self.first_reading is None:
            return self._with_first_reading(reading)
        return self._with_each(lambda since: since.with_reading(reading, longest))

    def interrupted(self) -> "WaitingMeter":
        """Return the meter of a plug that became unavailable."""
        if self.first_reading is None:
            return self._replace(is_interrupted=True)
        return self._with_each(_SinceFirstReading.interrupted)

    def _with_first_reading(self, reading: PlugReading) -> "WaitingMeter":
        meter = count(Meter(), reading, 0.0)
        if meter.counted is None or reading.time is None:
            return self
        if_no_session = if_session = _SinceFirstReading(meter)
        if meaning(reading.status).vehicle_connected is None:
            session = Session(reading.time, is_start_known=False, peak=max(0.0, reading.power or 0.0))
            if_session = _SinceFirstReading(meter._replace(session=session))
        return self._replace(first_reading=reading, if_no_session=if_no_session, if_session=if_session)

    def _with_each(self, change: Callable[[_SinceFirstReading], _SinceFirstReading]) -> "WaitingMeter":
        """Return the meter with a change of what was counted, in both cases."""
        if_no_session = change(self.if_no_session)
        is_same = self.if_session is self.if_no_session
        return self._replace(
            if_no_session=if_no_session, if_session=if_no_session if is_same else change(self.if_session)
        )


class Continuation(NamedTuple):
    """A meter that continues a record with what was counted while it waited.

    Attributes:
        after_first_reading: The meter as it was after the first measurement.
        ended: The sessions that ended after that, in order.
        meter: The meter now.
    """

    after_first_reading: Meter
    ended: tuple[Session, ...]
    meter: Meter


def continue_record(record: Meter, waiting: WaitingMeter, longest: float) -> Continuation | None:
    """Return how a meter that waited continues a record.

    Args:
        record: The meter of the previous run; an empty one if there is none.
        waiting: The waiting meter.
        longest: Maximum length of the span from the record to the first measurement with known energy, in seconds.

    Returns:
        The continuation; `None` if there is no measurement, or if the record is of a later time than the first one, so
        that some energy would count twice.
    """
    reading = waiting.first_reading
    began = reading.time if reading is not None else None
    if reading is None or began is None:
        return None
    if record.counted is not None and record.counted.time is not None and record.counted.time > began:
        return None
    after_first = count(interrupt(record) if waiting.is_interrupted else record, reading, longest)
    open_session, since = after_first.session, waiting.if_session if after_first.session else waiting.if_no_session

    def complete(session: Session) -> Session:
        """Return a session with its part before the first measurement."""
        return _joined(open_session, session) if open_session is not None and session.started == began else session

    ended = tuple(map(complete, since.ended))
    meter = Meter(
        charged=after_first.charged + since.meter.charged,
        discharged=after_first.discharged + since.meter.discharged,
        gap=after_first.gap + since.meter.gap,
        counted=since.meter.counted,
        is_interrupted=since.meter.is_interrupted,
        session=complete(since.meter.session) if since.meter.session else None,
        last_session=ended[-1] if ended else after_first.last_session,
    )
    return Continuation(after_first, ended, meter)


class WaitingMeters:
    """The meters that wait, by station uuid and plug uuid."""

    def __init__(self) -> None:
        self._meters: dict[str, dict[str, WaitingMeter]] = {}

    def follow(self, uuid: str, old: StationState, new: StationState, longest: float) -> None:
        """Count for the meters of a station after its state changed.

        Args:
            uuid: The station.
            old: Its state before.
            new: Its state after a poll, or after the passing of time.
            longest: Maximum length of a span with known energy, in seconds.
        """
        before, meters = self._meters.get(uuid, _NO_METERS), {}
        for plug_uuid, plug in new.plugs.items():
            meter, old_plug = before.get(plug_uuid), old.plugs.get(plug_uuid)
            if plug.reason is Reason.ONLINE:
                if plug.reading is not None and (old_plug is None or plug.reading is not old_plug.reading):
                    meter = (meter or WaitingMeter()).with_reading(plug.reading, longest)
            elif plug.reason is not None:
                meter = (meter or WaitingMeter()).interrupted()
            if meter is not None:
                meters[plug_uuid] = meter
        self._meters[uuid] = meters

    def pop(self, uuid: str) -> Mapping[str, WaitingMeter]:
        """Return and remove the meters of a station, by plug uuid."""
        return self._meters.pop(uuid, _NO_METERS)


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
