"""Determines the state of a station after a poll, `advance(state, outcome, ...)`, and after a time without one, `age`.

A station is `online` after a valid response. A failure that further polls would not change (`unauthorized`,
`not_found`) and an invalid response (`invalid_response`) make it unavailable at once. Any other failure counts after
`offline_after` in a row, so that a lost packet has no effect. Exception: before the first valid response since the
start, the first failure counts if the plugs are those of a previous run, because their retained values are old. It does
not matter whether the failure or the plugs are known first.

A plug is available if its station is available, the last valid response contained it, its object was valid, its status
is neither `offline` nor `cloud_offline`, and its value is neither older than `stale_after` nor in the future. If
several of these conditions fail, the first in this order is the reason. The age of a value is that of its `time`; if
that is unknown, the time since the last valid response, or since the start of the bridge if there was none.

A failure never changes measurements. Measurements are rounded, see resolution.py.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zlib import crc32

from evse_mqtt_bridge.domain.metering import has_counted, metered
from evse_mqtt_bridge.domain.model import (
    Failure,
    Outcome,
    PlugState,
    Reading,
    Reason,
    StationState,
    same_values,
)
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.domain.resolution import DEFAULT_RESOLUTION, Resolution, rounded
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = [
    "FORGET_AFTER",
    "FUTURE_TOLERANCE",
    "Moment",
    "Rules",
    "advance",
    "age",
    "next_change",
]

FORGET_AFTER = 24 * 3600.0
"""Seconds without a plug in the valid responses, and without an outage of its station, until it counts as removed."""

FUTURE_TOLERANCE = timedelta(minutes=5)
"""Maximum time by which a measurement may be ahead of this machine's clock."""

_FUTURE_SECONDS = FUTURE_TOLERANCE.total_seconds()

_IMMEDIATE = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.INVALID_RESPONSE})


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings for availability, and for what counts as a change.

    Attributes:
        offline_after: Consecutive failures until a station is unavailable, from 1.
        stale_after: Maximum age of a value, in seconds; 0: no limit.
        heartbeat: Seconds between two publications of a new measurement time without other changes; 0: on every poll.
        resolution: The rounding of measurements.
    """

    offline_after: int = 3
    stale_after: float = 1200.0
    heartbeat: float = 60.0
    resolution: Resolution = DEFAULT_RESOLUTION


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time.

    Attributes:
        monotonic: Seconds of the monotonic clock, for durations.
        utc: Time of day with time zone, to compare with the times of measurements.
    """

    monotonic: float
    utc: datetime


def advance(
    state: StationState, outcome: Outcome, rules: Rules, moment: Moment, longest_span: float | None = None
) -> StationState:
    """Return the state after one poll.

    Args:
        state: The state before the poll.
        outcome: The outcome of the poll.
        rules: The settings for availability.
        moment: When the outcome arrived.
        longest_span: Maximum time between two measurements whose energy counts as known, in seconds; `None`: energy is
            not counted yet.
    """
    if isinstance(outcome, Failure):
        consecutive_failures = state.consecutive_failures + 1
        failure, confirmed_at = outcome, state.confirmed_at
        probes = state.probes + 1 if outcome.is_probed else 0
        reason = _reason_of_failure(state, outcome.reason, consecutive_failures, rules)
        plugs = state.plugs
    else:
        consecutive_failures = probes = 0
        failure, confirmed_at = None, moment.monotonic
        reason = Reason.ONLINE
        plugs = _merge(state, outcome, rules, moment)
    evaluated = {
        uuid: _evaluate(state.plugs.get(uuid), plug, reason, confirmed_at, rules, moment, longest_span)
        for uuid, plug in plugs.items()
    }
    return StationState(reason, consecutive_failures, evaluated, failure, confirmed_at, probes)


def age(state: StationState, rules: Rules, moment: Moment) -> StationState:
    """Return the state after time has passed without a poll; the same object if that changes no reason.

    Values become too old. After `restore_plugs`, or if the last failure has another reason by now, it counts as it
    would if it followed.
    """
    reason = _reason_by_last_failure(state, rules)
    evaluated = {
        uuid: _evaluate(plug, plug, reason, state.confirmed_at, rules, moment) for uuid, plug in state.plugs.items()
    }
    is_changed = reason is not state.reason or any(
        plug.reason is not state.plugs[uuid].reason for uuid, plug in evaluated.items()
    )
    return replace(state, reason=reason, plugs=evaluated) if is_changed else state


def next_change(state: StationState, rules: Rules, moment: Moment) -> float:
    """Return when `age` may change `state` at the earliest, in monotonic seconds; inf: not before the next poll.

    Runs for each poll.
    """
    if state.failure is not None and _reason_by_last_failure(state, rules) is not state.reason:
        return moment.monotonic
    if not rules.stale_after or state.reason not in (Reason.ONLINE, None):
        return math.inf
    wait = math.inf
    for plug in state.plugs.values():
        seconds = _age(plug, state.confirmed_at, moment)
        if seconds < -_FUTURE_SECONDS:
            wait = min(wait, -_FUTURE_SECONDS - seconds)
        elif seconds <= rules.stale_after:
            wait = min(wait, rules.stale_after - seconds)
    return moment.monotonic + wait


def _reason_of_failure(state: StationState, failure: Reason, consecutive_failures: int, rules: Rules) -> Reason | None:
    before = state.reason
    is_unavailable = before not in (None, Reason.ONLINE)
    is_decisive = failure in _IMMEDIATE or consecutive_failures >= rules.offline_after
    return failure if is_unavailable or is_decisive or _has_restored_plugs(state) else before


def _reason_by_last_failure(state: StationState, rules: Rules) -> Reason | None:
    if state.failure is None:
        return state.reason
    return _reason_of_failure(state, state.failure.reason, state.consecutive_failures, rules)


def _has_restored_plugs(state: StationState) -> bool:
    """Return whether the plugs are those of a previous run, whose values must not count as current after a failure."""
    return state.reason is None and bool(state.plugs)


def _merge(state: StationState, response: Reading, rules: Rules, moment: Moment) -> dict[str, PlugState]:
    """Return the plugs after a valid response, without their reasons."""
    plugs: dict[str, PlugState] = {}
    readings = {reading.plug_uuid: reading for reading in response.plugs}
    for uuid, plug in state.plugs.items():
        reading = readings.pop(uuid, None)
        if reading is not None:
            label = reading.label or plug.label
            reading = rounded(reading, plug.reading, rules.resolution)
            # Runs for each plug of each poll; replace() needs three times as long.
            plugs[uuid] = PlugState(
                uuid,
                label,
                reading,
                False,  # noqa: FBT003
                None,
                plug.reason,
                plug.last_published_at,
                plug.last_published_time,
                plug.meter,
                plug.last_published_meter,
            )
        elif uuid in response.invalid:
            plugs[uuid] = replace(plug, invalid=True, missing_since=None)
        elif plug.missing_since is None or state.reason is not Reason.ONLINE:
            plugs[uuid] = replace(plug, invalid=False, missing_since=moment.monotonic)
        elif moment.monotonic - plug.missing_since < FORGET_AFTER:
            plugs[uuid] = plug
    for uuid, reading in readings.items():
        if len(plugs) >= MAX_PLUGS and not _drop_unconfirmed(plugs):
            break
        plugs[uuid] = PlugState(uuid, reading.label, rounded(reading, None, rules.resolution))
    return plugs


def _drop_unconfirmed(plugs: dict[str, PlugState]) -> bool:
    """Drop a missing plug of a previous run that no response has ever listed; return whether there was one."""
    unconfirmed = (uuid for uuid, plug in plugs.items() if plug.reading is None and plug.missing_since is not None)
    return plugs.pop(next(unconfirmed, ""), None) is not None


def _evaluate(  # noqa: PLR0913, PLR0917  # positional, because it runs for each plug of each poll
    before: PlugState | None,
    plug: PlugState,
    station: Reason | None,
    confirmed_at: float,
    rules: Rules,
    moment: Moment,
    longest_span: float | None = None,
) -> PlugState:
    """Return the plug with its reason and its meter, and with a new publication time if `state` is to be published.

    It is published if anything except the measurement time and the counts of the meter changed. If only these changed,
    it is published once per heartbeat, and with each step of energy.

    Args:
        before: The plug before the poll; `None` if it is new.
        plug: The plug after the poll.
        station: The reason of the station.
        confirmed_at: When the last valid response arrived; monotonic seconds.
        rules: The settings for availability.
        moment: The time of the evaluation.
        longest_span: See `advance`.
    """
    reason = _reason_of_plug(plug, station, confirmed_at, rules, moment)
    meter = metered(before, plug, reason, longest_span)
    time = plug.reading.time if plug.reading else None
    if before is None or reason is not before.reason or not same_values(before.reading, plug.reading):
        is_published = reason is not None
    else:
        is_published = time != before.last_published_time and (
            not rules.heartbeat
            or _heartbeat_number(plug, moment.monotonic, rules)
            != _heartbeat_number(plug, before.last_published_at, rules)
            or has_counted(before.last_published_meter, meter)
        )
    if is_published:
        return replace(
            plug,
            reason=reason,
            last_published_at=moment.monotonic,
            last_published_time=time,
            meter=meter,
            last_published_meter=meter,
        )
    if reason is plug.reason and meter is plug.meter:
        return plug
    return replace(plug, reason=reason, meter=meter)


def _heartbeat_number(plug: PlugState, at: float, rules: Rules) -> int:
    """Return the number of the current heartbeat; plugs have different phases, so that their messages spread out."""
    return math.floor(at / rules.heartbeat + crc32(plug.uuid.encode()) / 2**32)


def _reason_of_plug(
    plug: PlugState, station: Reason | None, confirmed_at: float, rules: Rules, moment: Moment
) -> Reason | None:
    """Return why a plug is available or not; `None` for one of a previous run that no response has contained yet."""
    if station is not Reason.ONLINE and station is not None:
        return station
    if plug.missing_since is not None:
        return Reason.MISSING
    if plug.invalid:
        return Reason.INVALID_RESPONSE
    if plug.reading is not None and (reason := meaning(plug.reading.status).unavailable) is not None:
        return reason
    if rules.stale_after and not -_FUTURE_SECONDS <= _age(plug, confirmed_at, moment) <= rules.stale_after:
        return Reason.STALE
    return plug.reason if plug.reading is None else Reason.ONLINE


def _age(plug: PlugState, confirmed_at: float, moment: Moment) -> float:
    """Return the age of the values of a plug in seconds; negative if they were measured in the future."""
    if plug.reading is None or plug.reading.time is None:
        return moment.monotonic - confirmed_at
    return (moment.utc - plug.reading.time).total_seconds()
