"""Determines which plugs of a station the bridge knows: those with a topic, of responses and of a previous run."""

from collections.abc import Mapping
from dataclasses import replace

from evse_mqtt_bridge.domain.model import Failure, PlugState, Reading, Reason, Station, StationState

__all__ = [
    "MAX_PLUGS",
    "drop_plugs_without_topic",
    "forget_plugs_without_topics",
    "note_plugs_beyond_maximum",
    "restore_plugs",
]

MAX_PLUGS = 64
"""Maximum number of plugs of a station, including missing ones. Further plugs are left out."""

_NAMED_PLUGS = 10
"""Maximum number of plugs that a note names."""


def restore_plugs(state: StationState, labels: Mapping[str, str | None]) -> StationState:
    """Return `state` with the plugs (uuid: label) of a previous run.

    They are marked missing by the first valid response that does not name them.
    """
    plugs = dict(state.plugs)
    for uuid, label in labels.items():
        if uuid not in plugs and len(plugs) < MAX_PLUGS:
            plugs[uuid] = PlugState(uuid, label)
    return state.with_plugs(plugs) if len(plugs) > len(state.plugs) else state


def drop_plugs_without_topic(outcome: Reading | Failure, station: Station) -> Reading | Failure:
    """Return an outcome without the plugs that have no topic, with a note for each; a Failure if none is left."""
    if not station.plugs or not isinstance(outcome, Reading):  # most polls
        return outcome
    plugs = tuple(plug for plug in outcome.plugs if not station.has_no_topic_for(plug.plug_uuid))
    if len(plugs) == len(outcome.plugs):
        return outcome
    ignored = (plug.plug_uuid for plug in outcome.plugs if station.has_no_topic_for(plug.plug_uuid))
    notes = (
        f"plug {uuid} is left out: its uuid is the alias of another plug; give it an alias too" for uuid in ignored
    )
    if not plugs:
        return Failure(Reason.INVALID_RESPONSE, next(notes))
    return replace(outcome, plugs=plugs, notes=(*outcome.notes, *notes), fingerprint=None)


def note_plugs_beyond_maximum(outcome: Reading, state: StationState) -> Reading:
    """Return a reading with a note about the plugs that `state`, to which it led, does not contain."""
    left_out = [plug.plug_uuid for plug in outcome.plugs if plug.plug_uuid not in state.plugs]
    if not left_out:
        return outcome
    named = ", ".join(left_out[:_NAMED_PLUGS]) + (", ..." if len(left_out) > _NAMED_PLUGS else "")
    note = f"{len(left_out)} plugs are left out, because a station has at most {MAX_PLUGS} plugs: {named}"
    return replace(outcome, notes=(*outcome.notes, note))


def forget_plugs_without_topics(state: StationState, station: Station) -> StationState:
    """Return `state` without the plugs for which `station` has no topic."""
    plugs = {uuid: plug for uuid, plug in state.plugs.items() if not station.has_no_topic_for(uuid)}
    return state.with_plugs(plugs) if len(plugs) < len(state.plugs) else state
