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

A failure never changes measurements. Measurements are rounded, see resolution.py. Responses that only repeat the values
of the one before are evaluated later, see repeats.py.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from evse_mqtt_bridge.domain.evaluation import Evaluation, next_staleness
from evse_mqtt_bridge.domain.heartbeat import heartbeat_phase
from evse_mqtt_bridge.domain.metering import is_last_of_hour
from evse_mqtt_bridge.domain.model import (
    Failure,
    Outcome,
    PlugState,
    Reading,
    Reason,
    Repeat,
    StationState,
    same_values,
)
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.domain.reasons import ONLINE
from evse_mqtt_bridge.domain.repeats import new_deferral, with_deferred, with_repeats, with_time
from evse_mqtt_bridge.domain.resolution import rounded
from evse_mqtt_bridge.domain.rules import FUTURE_TOLERANCE, Moment, Rules

__all__ = [
    "FORGET_AFTER",
    "FUTURE_TOLERANCE",
    "Moment",
    "Rules",
    "advance",
    "age",
    "has_changes",
    "next_change",
]

FORGET_AFTER = 24 * 3600.0
"""Seconds without a plug in the valid responses, and without an outage of its station, until it counts as removed."""

_IMMEDIATE = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.INVALID_RESPONSE})


def advance(  # noqa: PLR0913, PLR0917  # runs for each poll
    state: StationState,
    outcome: Outcome,
    rules: Rules,
    moment: Moment,
    longest_span: float | None = None,
    interval: float | None = None,
) -> StationState:
    """Return the state after one poll.

    Args:
        state: The state before the poll.
        outcome: The outcome of the poll; a `Repeat` must continue the state, see repeats.py.
        rules: The settings for availability.
        moment: When the outcome arrived.
        longest_span: Maximum time between two measurements whose energy counts as known, in seconds; `None`: energy is
            not counted yet.
        interval: Polling interval of the station, in seconds; `None`: the hour in which energy counts does not matter.
    """
    deferral = state.deferral
    if isinstance(outcome, Repeat) and deferral is not None and moment.monotonic < deferral.until:
        return with_deferred(state, outcome, moment.monotonic)
    is_last = interval is not None and is_last_of_hour(moment.utc, interval)
    phase, deferral = heartbeat_phase(state.plugs), None
    if isinstance(outcome, Failure):
        state = with_repeats(state)
        consecutive_failures = state.consecutive_failures + 1
        failure, confirmed_at, is_continued = outcome, state.confirmed_at, state.is_continued
        probes = state.probes + 1 if outcome.is_probed else 0
        reason = _reason_of_failure(state, outcome.reason, consecutive_failures, rules)
        evaluation = Evaluation(reason, confirmed_at, phase, rules, moment, longest_span, is_last)
        plugs = {uuid: evaluation.again(plug) for uuid, plug in state.plugs.items()}
    else:
        consecutive_failures = probes = 0
        failure, confirmed_at, is_continued = None, moment.monotonic, False
        reason = ONLINE
        # With a repeated response, the power was the same since the last evaluation, however long ago that was.
        longest = math.inf if isinstance(outcome, Repeat) else longest_span
        evaluation = Evaluation(reason, confirmed_at, phase, rules, moment, longest, is_last)
        if isinstance(outcome, Repeat):
            plugs = _measured_again(state.plugs, outcome, evaluation)
            is_complete = True
        else:
            plugs = _merge(with_repeats(state), outcome, evaluation)
            is_complete = len(plugs) == len(outcome.plugs)
        if outcome.fingerprint is not None and is_complete and longest_span is not None and interval is not None:
            deferral = new_deferral(plugs, outcome.fingerprint, rules, moment, interval)
    return StationState(reason, consecutive_failures, plugs, failure, confirmed_at, probes, is_continued, deferral)


def age(state: StationState, rules: Rules, moment: Moment) -> StationState:
    """Return the state after time has passed without a poll; the same object if that changes no reason.

    Values become too old. After `restore_plugs`, or if the last failure has another reason by now, it counts as it
    would if it followed.
    """
    reason, before = _reason_by_last_failure(state, rules), with_repeats(state)
    evaluation = Evaluation(reason, state.confirmed_at, heartbeat_phase(before.plugs), rules, moment)
    evaluated = {uuid: evaluation.again(plug) for uuid, plug in before.plugs.items()}
    is_changed = reason is not state.reason or any(
        plug.reason is not state.plugs[uuid].reason for uuid, plug in evaluated.items()
    )
    return replace(before, reason=reason, plugs=evaluated, deferral=None) if is_changed else state


def has_changes(old: StationState, new: StationState) -> bool:
    """Return whether the bridge has to publish anything to lead from `old` to `new`. Most polls have no changes.

    `new` must be derived from `old` by one or more calls of `advance` or `age`, because both of them update
    `last_published_at` whenever a value changes.
    """
    if new.reason is not old.reason or len(new.plugs) != len(old.plugs):
        return True
    if new.plugs is old.plugs:
        return False
    for uuid, plug in new.plugs.items():  # a loop, because it runs for each poll
        before = old.plugs.get(uuid)
        if before is None or plug.last_published_at != before.last_published_at or plug.reason is not before.reason:
            return True
    return False


def next_change(state: StationState, rules: Rules, moment: Moment) -> float:
    """Return when `age` may change `state` at the earliest, in monotonic seconds; inf: not before the next poll.

    Runs for each poll.
    """
    if state.failure is not None and _reason_by_last_failure(state, rules) is not state.reason:
        return moment.monotonic
    if not rules.stale_after or state.reason not in (ONLINE, None):
        return math.inf
    wait, time = math.inf, None
    state = with_repeats(state)
    for plug in state.plugs.values():
        if time is None or plug.reading is None or plug.reading.time is not time:  # the same for all plugs, mostly
            wait = min(wait, next_staleness(plug, state.confirmed_at, rules, moment))
            time = plug.reading.time if plug.reading is not None else None
    return moment.monotonic + wait


def _reason_of_failure(state: StationState, failure: Reason, consecutive_failures: int, rules: Rules) -> Reason | None:
    before = state.reason
    is_unavailable = before not in (None, ONLINE)
    is_decisive = failure in _IMMEDIATE or consecutive_failures >= rules.offline_after
    return failure if is_unavailable or is_decisive or _has_restored_plugs(state) else before


def _reason_by_last_failure(state: StationState, rules: Rules) -> Reason | None:
    if state.failure is None:
        return state.reason
    return _reason_of_failure(state, state.failure.reason, state.consecutive_failures, rules)


def _has_restored_plugs(state: StationState) -> bool:
    """Return whether the plugs are those of a previous run, whose values must not count as current after a failure.

    The values of another member, which polled the station until now, are current.
    """
    return state.reason is None and bool(state.plugs) and not state.is_continued


def _merge(state: StationState, response: Reading, evaluation: Evaluation) -> dict[str, PlugState]:
    """Return the plugs after a valid response."""
    plugs: dict[str, PlugState] = {}
    readings = {reading.plug_uuid: reading for reading in response.plugs}
    resolution, now = evaluation.rules.resolution, evaluation.moment.monotonic
    for uuid, plug in state.plugs.items():
        reading = readings.pop(uuid, None)
        if reading is not None:
            is_same = same_values(plug.reading, reading)
            if not is_same:
                reading = rounded(reading, plug.reading, resolution)
                is_same = same_values(plug.reading, reading)
            plugs[uuid] = evaluation.plug(plug, uuid, reading.label or plug.label, reading, False, None, is_same)  # noqa: FBT003
        elif uuid in response.invalid:
            plugs[uuid] = evaluation.plug(plug, uuid, plug.label, plug.reading, True, None, True)  # noqa: FBT003
        elif plug.missing_since is None or state.reason is not ONLINE:
            plugs[uuid] = evaluation.plug(plug, uuid, plug.label, plug.reading, False, now, True)  # noqa: FBT003
        elif now - plug.missing_since < FORGET_AFTER:
            plugs[uuid] = evaluation.again(plug)
    for uuid, reading in readings.items():
        if len(plugs) >= MAX_PLUGS and not _drop_unconfirmed(plugs):
            break
        reading = rounded(reading, None, resolution)  # noqa: PLW2901  # the measured values serve for nothing else
        plugs[uuid] = evaluation.plug(None, uuid, reading.label, reading, False, None, False)  # noqa: FBT003
    return plugs


def _measured_again(plugs: Mapping[str, PlugState], repeat: Repeat, evaluation: Evaluation) -> dict[str, PlugState]:
    """Return the plugs after a response that continues the state."""
    return {
        uuid: evaluation.plug(plug, uuid, plug.label, with_time(plug.reading, repeat.time), False, None, True)  # noqa: FBT003
        for uuid, plug in plugs.items()
        if plug.reading is not None
    }


def _drop_unconfirmed(plugs: dict[str, PlugState]) -> bool:
    """Drop a missing plug of a previous run that no response has ever listed; return whether there was one."""
    unconfirmed = (uuid for uuid, plug in plugs.items() if plug.reading is None and plug.missing_since is not None)
    return plugs.pop(next(unconfirmed, ""), None) is not None
