"""The meters of the plugs of a station: when they count, and how they continue those of a previous run."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from evse_mqtt_bridge.domain.meter import Meter, PublishedMeter, count, interrupt, larger, published_meter
from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason, StationState
from evse_mqtt_bridge.domain.reasons import ONLINE
from evse_mqtt_bridge.domain.sessions import Session, SessionChange, session_changes

__all__ = [
    "ENERGY_PAUSE",
    "ENERGY_STEP",
    "changes_of_sessions",
    "has_energy_step",
    "is_last_of_hour",
    "is_unpublished",
    "join_meters",
    "metered",
    "meters_of",
    "seconds_until_last_of_hour",
    "start_meters",
    "with_published_meters",
]

ENERGY_STEP = 10.0
"""Energy in Wh with which a meter is published before its next heartbeat; smaller steps would flood recorders."""

ENERGY_PAUSE = 60.0
"""Minimum number of seconds before a step of energy is published: a plug with 7 kW takes a step every 5 s. The pause is
shorter than the time after which a restart causes a gap, see `longest_first_span`."""

_HOUR = 3600.0  # seconds
_SHORTEST_MARGIN = 5.0
"""Minimum time in seconds by which the next poll may be late, before a meter is published at the end of an hour."""

_NEW_METER = Meter()


def metered(
    meter: Meter | None, new: PlugReading | None, reason: Reason | None, longest_span: float | None
) -> Meter | None:
    """Return the meter of a plug after it counted a new reading, or noted that the plug is unavailable.

    Args:
        meter: The meter before; `None`: energy was not counted.
        new: The reading of this poll; `None`: there is none.
        reason: Why the plug is available or not.
        longest_span: See `advance`; `None`: energy is not counted yet.
    """
    if meter is None and longest_span is not None:
        meter = _NEW_METER
    if meter is None or reason is None:
        return meter
    if reason is not ONLINE:
        return interrupt(meter)
    return count(meter, new, longest_span) if new is not None and longest_span else meter


def has_energy_step(published: PublishedMeter | None, meter: Meter | None, seconds: float) -> bool:
    """Return whether a meter is to be published because of a step of energy.

    Args:
        published: The meter that was published last.
        meter: The meter now.
        seconds: The time since the last publication.
    """
    if meter is None or seconds < ENERGY_PAUSE:
        return False
    charged, discharged = (published.charged, published.discharged) if published else (0.0, 0.0)
    counted = (meter.charged - charged, meter.discharged - discharged)
    return max(counted) >= ENERGY_STEP


def is_last_of_hour(utc: datetime, interval: float) -> bool:
    """Return whether the hour ends before the next poll, or soon after it. Then meters that have counted are published.

    Programs that record the topics take the energy of an hour from its last message, and the history takes the last
    measurement. Both are the same with this message.

    Args:
        utc: When the poll completed.
        interval: Polling interval in seconds.
    """
    return seconds_until_last_of_hour(utc, interval) <= 0


def seconds_until_last_of_hour(utc: datetime, interval: float) -> float:
    """Return the seconds until `is_last_of_hour` is true, until the end of the hour; 0 or less if it is.

    Args:
        utc: When the poll completed.
        interval: Polling interval in seconds.
    """
    wait = interval + (interval / 2 if interval > 2 * _SHORTEST_MARGIN else _SHORTEST_MARGIN)
    return _HOUR - wait - (utc.minute * 60 + utc.second + utc.microsecond / 1e6)


def is_unpublished(published: PublishedMeter | None, meter: Meter | None) -> bool:
    """Return whether a meter has counted since it was published.

    Args:
        published: The meter that was published last.
        meter: The meter now.
    """
    return meter is not None and meter[:3] != (published[:3] if published else (0.0, 0.0, 0.0))


def with_published_meters(state: StationState) -> StationState:
    """Return `state` as after a publication of the meters that have counted since; the same object if none has.

    `state` contains all measurements, see `with_repeats`.
    """
    plugs = {uuid: _with_published_meter(plug) for uuid, plug in state.plugs.items()}
    is_changed = any(plugs[uuid] is not plug for uuid, plug in state.plugs.items())
    return state.with_plugs(plugs) if is_changed else state


def _with_published_meter(plug: PlugState) -> PlugState:
    meter, published = plug.meter, plug.last_published_meter
    if meter is None or published is None:
        return plug
    counts = (meter.charged, meter.discharged, meter.gap)
    if meter.session is published.session and counts == (published.charged, published.discharged, published.gap):
        return plug
    time = plug.reading.time if plug.reading else None
    return replace(
        plug,
        # Any other time than the previous one makes the topics due; see `plug_values`.
        last_published_at=plug.last_published_at + 1,
        last_published_time=time,
        last_published_meter=published_meter(meter),
    )


def meters_of(state: StationState) -> dict[str, Meter]:
    """Return the meters of a station that have counted something, by plug uuid."""
    meters = {uuid: plug.meter for uuid, plug in state.plugs.items()}
    return {uuid: meter for uuid, meter in meters.items() if meter is not None and meter.counted is not None}


def changes_of_sessions(old: Meter, ended: Iterable[Session], new: Meter) -> tuple[SessionChange, ...]:
    """Return what happened to the sessions of a plug.

    Args:
        old: Its meter before.
        ended: The sessions that ended meanwhile, in order; the last one may be left out.
        new: Its meter after it.
    """
    changes: list[SessionChange] = []
    before = (old.session, old.last_session)
    for after in (*((None, session) for session in ended), (new.session, new.last_session)):
        changes += session_changes(before, after)
        before = after
    return tuple(changes)


def start_meters(
    state: StationState,
    record: Mapping[str, Meter],
    longest_span: float,
    *,
    is_published: bool = True,
    only: Container[str] | None = None,
) -> StationState:
    """Return `state` with the meters of the previous run, which continue with the current readings.

    Args:
        state: The state of the station, whose energy was not counted yet.
        record: The meters of the previous run, by plug uuid; the others start at 0.
        longest_span: See `advance`.
        is_published: Whether everything is published after this; otherwise the meters follow with the next heartbeat.
        only: The uuids of the plugs to start; `None`: all.
    """
    plugs = dict(state.plugs)
    for uuid, plug in state.plugs.items():
        if only is None or uuid in only:
            plugs[uuid] = _with_meter(plug, record.get(uuid), longest_span, is_published)
    return state.with_plugs(plugs)


def join_meters(state: StationState, record: Mapping[str, Meter], *, is_published: bool) -> StationState:
    """Return `state` with the larger counts of its meters, which have started, and of another record of them.

    Mostly, the record has nothing to add, and the state stays the same object, unless everything is published.

    Args:
        state: The state of the station.
        record: The other record, by plug uuid.
        is_published: See `start_meters`.
    """
    changed: dict[str, PlugState] = {}
    for uuid, previous in record.items():
        plug = state.plugs.get(uuid)
        if plug is not None and plug.meter is not None:
            meter = larger(plug.meter, previous)
            if is_published:
                changed[uuid] = replace(plug, meter=meter, last_published_meter=published_meter(meter))
            elif meter != plug.meter:
                changed[uuid] = replace(plug, meter=meter)
    return state.with_plugs({**state.plugs, **changed}) if changed else state


def _with_meter(
    plug: PlugState,
    previous: Meter | None,
    longest_span: float,
    is_published: bool,  # noqa: FBT001
) -> PlugState:
    meter = previous or _NEW_METER
    if plug.reason is ONLINE and plug.reading is not None:
        meter = count(meter, plug.reading, longest_span)
    return replace(plug, meter=meter, last_published_meter=published_meter(meter) if is_published else None)
