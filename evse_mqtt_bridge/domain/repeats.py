"""Defers the evaluation of responses that repeat the values of the one before.

Most responses repeat all values; only the time of the measurement is new. They have no other effect until a plug is due
to be published, the hour ends, or a minute has passed. Until then, such a response only updates
`StationState.repeated_until`, the time of the last measurement, and `confirmed_at`; the plugs of the state stay the
same object. The next evaluation counts the energy in one step, because the power did not change.

Each evaluation of a response determines until when repeats can be deferred. Any change of the plugs or the settings
ends the deferral: the next response is evaluated.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from evse_mqtt_bridge.domain.heartbeat import heartbeat_phase, next_heartbeat
from evse_mqtt_bridge.domain.meter import count
from evse_mqtt_bridge.domain.metering import ENERGY_PAUSE, seconds_until_last_of_hour
from evse_mqtt_bridge.domain.model import Deferral, PlugReading, PlugState, Repeat, StationState
from evse_mqtt_bridge.domain.reasons import ONLINE, Reason
from evse_mqtt_bridge.domain.rules import FUTURE_TOLERANCE, Moment, Rules

__all__ = ["is_continuation", "new_deferral", "plug_with_repeats", "with_deferred", "with_repeats", "with_time"]

_MAX_DEFERRAL = 60.0
"""Seconds after which the next response is evaluated: in a crash, the history loses what was not evaluated."""

_NEEDS_EVALUATION = frozenset({Reason.STALE, Reason.MISSING})
"""Reasons that prevent a deferral: a repeat can make a stale plug current, and does not contain a missing one."""

_NO_TIME = timedelta()


def new_deferral(
    plugs: Mapping[str, PlugState], fingerprint: int, rules: Rules, moment: Moment, interval: float
) -> Deferral | None:
    """Return until when repeats of a response need no evaluation.

    `None`: the next response has to be parsed completely, because a repeat may change more than a publication time.

    Args:
        plugs: The plugs of a station after the evaluation of the response, which contained all of them.
        fingerprint: That of the response.
        rules: The settings for availability.
        moment: The time of the evaluation.
        interval: Polling interval in seconds.
    """
    until = moment.monotonic + min(_MAX_DEFERRAL, seconds_until_last_of_hour(moment.utc, interval))
    phase = heartbeat_phase(plugs)
    for plug in plugs.values():
        reading = plug.reading
        if reading is None or plug.meter is None or plug.reason in _NEEDS_EVALUATION:
            return None
        until = min(until, next_heartbeat(phase, plug.last_published_at, rules.heartbeat))
        if plug.reason is ONLINE:
            if plug.meter.counted is not reading:  # the reading is not newer, or its power is not plausible
                return None
            if reading.power:
                until = min(until, plug.last_published_at + ENERGY_PAUSE)
    return Deferral(fingerprint, plugs, rules, until)


def is_continuation(
    state: StationState, repeat: Repeat, rules: Rules, moment: Moment, longest_span: float | None
) -> bool:
    """Return whether a response only continues a state: same values, not stale, and a later time without a gap.

    Args:
        state: The state before the response.
        repeat: The response.
        rules: The settings for availability.
        moment: When the response arrived.
        longest_span: Maximum length of a span with known energy, in seconds; `None`: energy is not counted yet.
    """
    deferral = state.deferral
    if (
        deferral is None
        or deferral.fingerprint != repeat.fingerprint
        or deferral.plugs is not state.plugs
        or deferral.rules is not rules
        or longest_span is None
    ):
        return False
    measured, age = state.repeated_until or _measured(state.plugs), moment.utc - repeat.time
    if measured is None or age < -FUTURE_TOLERANCE or (rules.stale_after and age.total_seconds() > rules.stale_after):
        return False
    return _NO_TIME < repeat.time - measured <= timedelta(seconds=longest_span)


def with_deferred(state: StationState, repeat: Repeat, now: float) -> StationState:
    """Return a state after a response whose evaluation is deferred; `now` is when it arrived, in monotonic seconds."""
    return StationState(ONLINE, 0, state.plugs, None, now, 0, False, state.deferral, repeat.time)  # noqa: FBT003


def with_repeats(state: StationState) -> StationState:
    """Return a state whose readings and meters include the deferred responses; the same object if there are none."""
    if state.repeated_until is None:
        return state
    plugs = {uuid: plug_with_repeats(plug, state.repeated_until) for uuid, plug in state.plugs.items()}
    return replace(state, plugs=plugs, deferral=None, repeated_until=None)


def plug_with_repeats(plug: PlugState, time: datetime) -> PlugState:
    """Return a plug whose reading and meter include the deferred responses; `time` is `StationState.repeated_until`."""
    if plug.reading is None or plug.reading.time is None or plug.reading.time >= time:
        return plug  # the plug was added after the deferred responses
    reading, meter = with_time(plug.reading, time), plug.meter
    if meter is not None and plug.reason is ONLINE:
        meter = count(meter, reading, math.inf)
    return replace(plug, reading=reading, meter=meter)


def with_time(reading: PlugReading, time: datetime) -> PlugReading:
    """Return a reading with the same values, measured at another time."""
    return PlugReading(
        reading.plug_uuid,
        reading.label,
        reading.status,
        reading.power,
        reading.current_l1,
        reading.current_l2,
        reading.current_l3,
        reading.dyn_current_limit,
        time,
    )


def _measured(plugs: Mapping[str, PlugState]) -> datetime | None:
    """Return when the plugs were measured; all have the same time."""
    plug = next(iter(plugs.values()), None)
    return plug.reading.time if plug is not None and plug.reading is not None else None
