"""The meters of the plugs of a station: when they count, and how they continue those of a previous run."""

from collections.abc import Mapping
from dataclasses import replace

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt, larger
from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason, StationState

__all__ = ["ENERGY_PAUSE", "ENERGY_STEP", "has_counted", "metered", "start_meters", "with_published_meters"]

ENERGY_STEP = 10.0
"""Energy in Wh with which a meter is published before its next heartbeat; smaller steps would flood recorders."""

ENERGY_PAUSE = 25.0
"""Minimum number of seconds before a step of energy is published. A plug with 7 kW takes a step every 5 s. The pause is
shorter than the default polling interval, and much shorter than the time after which a restart causes a gap."""

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
    if reason is not Reason.ONLINE:
        return interrupt(meter)
    return count(meter, new, longest_span) if new is not None and longest_span else meter


def has_counted(published: Meter | None, meter: Meter | None, seconds: float) -> bool:
    """Return whether a meter is to be published because of a step of energy.

    Args:
        published: The meter that was published last.
        meter: The meter now.
        seconds: The time since the last publication.
    """
    if meter is None or seconds < ENERGY_PAUSE:
        return False
    published = published or _NEW_METER
    counted = (meter.charged - published.charged, meter.discharged - published.discharged)
    return max(counted) >= ENERGY_STEP


def with_published_meters(state: StationState) -> StationState:
    """Return `state` as after a publication of the meters that have counted since; the same object if none has."""
    plugs = {uuid: _with_published_meter(plug) for uuid, plug in state.plugs.items()}
    return replace(state, plugs=plugs) if any(plugs[uuid] is not plug for uuid, plug in state.plugs.items()) else state


def _with_published_meter(plug: PlugState) -> PlugState:
    meter, published = plug.meter, plug.last_published_meter
    if meter is None or published is None or meter.session is published.session:
        counts = (meter.charged, meter.discharged, meter.gap) if meter else ()
        if published is None or counts == (published.charged, published.discharged, published.gap):
            return plug
    time = plug.reading.time if plug.reading else None
    return replace(
        plug, last_published_at=plug.last_published_at + 1, last_published_time=time, last_published_meter=meter
    )


def start_meters(state: StationState, meters: Mapping[str, Meter], longest_span: float) -> StationState:
    """Return `state` with the meters of the previous run, which continue with the current readings.

    Args:
        state: The state of the station, whose energy was not counted yet.
        meters: The meters by plug uuid; the others start at 0.
        longest_span: See `advance`.
    """
    plugs = {uuid: _with_meter(plug, meters.get(uuid), longest_span) for uuid, plug in state.plugs.items()}
    return replace(state, plugs=plugs)


def _with_meter(plug: PlugState, previous: Meter | None, longest_span: float) -> PlugState:
    meter = plug.meter
    if meter is None or (meter.counted is plug.reading and not meter.charged + meter.discharged + meter.gap):
        meter = previous or _NEW_METER
        if plug.reason is Reason.ONLINE and plug.reading is not None:
            meter = count(meter, plug.reading, longest_span)
    elif previous is not None:
        meter = larger(meter, previous)
    return replace(plug, meter=meter, last_published_meter=meter)
