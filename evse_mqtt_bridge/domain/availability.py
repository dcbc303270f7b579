"""What is known of a station, moved on by one poll: `advance(state, outcome, ...) -> state`.

A station is `online` after a good answer. A failure that more polls would not change (`unauthorized`, `not_found`) and
an answer that is no answer (`invalid_response`) make it unavailable at once; any other only after `offline_after` of
them in a row, so that a dropped packet disturbs nobody; but at the first one where all that is known of its plugs is
what an earlier life published. A plug is available when its station is, the last good answer
had it, its object was valid, its status is neither `offline` nor `cloud_offline`, and its `time` is neither older than
`stale_after` nor in the future. Of several reasons the first in this order is told.

Measurements are never touched by a failure: they stay what they were when they were measured.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zlib import crc32

from evse_mqtt_bridge.domain.model import (
    Failure,
    Outcome,
    PlugReading,
    PlugState,
    Reading,
    Reason,
    Station,
    StationState,
    same_values,
)
from evse_mqtt_bridge.domain.statuses import meaning

__all__ = [
    "FORGET_AFTER",
    "FUTURE_TOLERANCE",
    "MAX_PLUGS",
    "Moment",
    "Rules",
    "advance",
    "age",
    "forget_plugs_without_topics",
    "remember",
    "with_topics",
]

MAX_PLUGS = 64
"""Plugs of one station, seen or missing, beyond which new ones are left out."""

FORGET_AFTER = 24 * 3600.0
"""Seconds of good answers without a plug, and without an outage of its station, after which it is taken for removed."""

FUTURE_TOLERANCE = timedelta(minutes=5)
"""How far a measurement may lie ahead of this machine's clock before it is not believed."""

_AT_ONCE = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND, Reason.INVALID_RESPONSE})


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide: `offline_after` in polls; `stale_after` (0: never) and `heartbeat` in seconds."""

    offline_after: int = 3
    stale_after: float = 1200.0
    heartbeat: float = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When an outcome arrived: `monotonic` in seconds, for durations; `utc`, aware, to evaluate measurement times."""

    monotonic: float
    utc: datetime


def advance(state: StationState, outcome: Outcome, rules: Rules, moment: Moment) -> StationState:
    """The state after one poll."""
    if isinstance(outcome, Failure):
        consecutive_failures = state.consecutive_failures + 1
        reason = _reason_of_failure(state, outcome.reason, consecutive_failures, rules)
        plugs = state.plugs
    else:
        consecutive_failures = 0
        reason = Reason.ONLINE
        plugs = _merge(state, outcome, moment)
    settled = {uuid: _settle(state.plugs.get(uuid), plug, reason, rules, moment) for uuid, plug in plugs.items()}
    return StationState(reason, consecutive_failures, settled)


def age(state: StationState, rules: Rules, moment: Moment) -> StationState:
    """The state when time has passed without a poll: measurements may have become too old."""
    settled = {uuid: _settle(plug, plug, state.reason, rules, moment) for uuid, plug in state.plugs.items()}
    changed = any(plug.reason is not state.plugs[uuid].reason for uuid, plug in settled.items())
    return replace(state, plugs=settled) if changed else state


def remember(state: StationState, labels: Mapping[str, str | None]) -> StationState:
    """`state` with plugs (uuid: label) of an earlier life; the next good answer tells whether they are still there."""
    plugs = dict(state.plugs)
    for uuid, label in labels.items():
        if uuid not in plugs and len(plugs) < MAX_PLUGS:
            plugs[uuid] = PlugState(uuid, label)
    return replace(state, plugs=plugs) if len(plugs) > len(state.plugs) else state


def with_topics(outcome: Outcome, station: Station) -> Outcome:
    """An outcome less the plugs that `station` has no topic for, with a note; a Failure where none is left."""
    if not station.plugs or not isinstance(outcome, Reading):  # as with most polls
        return outcome
    plugs = tuple(plug for plug in outcome.plugs if not station.has_no_topic_for(plug.plug_uuid))
    if len(plugs) == len(outcome.plugs):
        return outcome
    left_out = (plug.plug_uuid for plug in outcome.plugs if station.has_no_topic_for(plug.plug_uuid))
    notes = (
        f"plug {uuid} is left out: its uuid is the alias of another plug; give it an alias too" for uuid in left_out
    )
    if not plugs:
        return Failure(Reason.INVALID_RESPONSE, next(notes))
    return replace(outcome, plugs=plugs, notes=(*outcome.notes, *notes))


def forget_plugs_without_topics(state: StationState, station: Station) -> StationState:
    """`state` less the plugs that `station` has no topic for."""
    plugs = {uuid: plug for uuid, plug in state.plugs.items() if not station.has_no_topic_for(uuid)}
    return replace(state, plugs=plugs) if len(plugs) < len(state.plugs) else state


def _reason_of_failure(state: StationState, failure: Reason, consecutive_failures: int, rules: Rules) -> Reason | None:
    before = state.reason
    already_down = before not in (None, Reason.ONLINE)
    # What an earlier life published of its plugs is not to count as live for as long as nothing is known.
    is_unproven = before is None and bool(state.plugs)
    if already_down or is_unproven or failure in _AT_ONCE or consecutive_failures >= rules.offline_after:
        return failure
    return before


def _merge(state: StationState, answer: Reading, moment: Moment) -> dict[str, PlugState]:
    """The plugs after a good answer, without their reasons."""
    plugs: dict[str, PlugState] = {}
    read = {reading.plug_uuid: reading for reading in answer.plugs}
    for uuid, plug in state.plugs.items():
        reading = read.pop(uuid, None)
        if reading is not None:
            label = reading.label or plug.label
            # Each field written out: this runs for each plug of each poll, and replace() takes three times as long.
            at, time = plug.last_published_at, plug.last_published_time
            plugs[uuid] = PlugState(uuid, label, reading, False, None, plug.reason, at, time)  # noqa: FBT003
        elif uuid in answer.invalid:
            plugs[uuid] = replace(plug, invalid=True, missing_since=None)
        elif plug.missing_since is None or state.reason is not Reason.ONLINE:
            plugs[uuid] = replace(plug, invalid=False, missing_since=moment.monotonic)
        elif moment.monotonic - plug.missing_since < FORGET_AFTER:
            plugs[uuid] = plug
    for uuid, reading in read.items():
        if len(plugs) < MAX_PLUGS:
            plugs[uuid] = PlugState(uuid, reading.label, reading)
    return plugs


def _settle(
    before: PlugState | None, plug: PlugState, station: Reason | None, rules: Rules, moment: Moment
) -> PlugState:
    """The plug with its reason, and marked as said where `time` and `state` are to be published.

    That is when anything but the measurement time changed, and where only that time moves, when a new beat has begun.
    """
    reason = _reason_of_plug(plug, station, rules, moment)
    time = plug.reading.time if plug.reading else None
    if before is None or reason is not before.reason or not same_values(before.reading, plug.reading):
        said = reason is not None
    else:
        said = time != before.last_published_time and (
            not rules.heartbeat or _beat(plug, moment.monotonic, rules) != _beat(plug, before.last_published_at, rules)
        )
    if said:
        return replace(plug, reason=reason, last_published_at=moment.monotonic, last_published_time=time)
    return plug if reason is plug.reason else replace(plug, reason=reason)


def _beat(plug: PlugState, at: float, rules: Rules) -> int:
    """Which heartbeat of its own the plug is in; plugs that began together, or changed together, beat apart."""
    return math.floor(at / rules.heartbeat + crc32(plug.uuid.encode()) / 2**32)


def _reason_of_plug(plug: PlugState, station: Reason | None, rules: Rules, moment: Moment) -> Reason | None:
    if station is not Reason.ONLINE:
        return station
    if plug.missing_since is not None:
        return Reason.MISSING
    if plug.invalid:
        return Reason.INVALID_RESPONSE
    if plug.reading is None:
        return plug.reason
    told = meaning(plug.reading.status).unavailable
    if told is not None:
        return told
    return Reason.STALE if _is_stale(plug.reading, rules, moment) else Reason.ONLINE


def _is_stale(reading: PlugReading, rules: Rules, moment: Moment) -> bool:
    if not rules.stale_after or reading.time is None:
        return False
    age = moment.utc - reading.time
    return age > timedelta(seconds=rules.stale_after) or age < -FUTURE_TOLERANCE
