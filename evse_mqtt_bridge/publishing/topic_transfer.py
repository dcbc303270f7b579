"""Decides which shards read a manifest entry of a station, and which one clears its topics.

The hash of its uuid assigns a station to a shard. But a topic may pass from one station to another, when an alias moves
between stations or replaces a uuid. Then two shards read the entry:

- The shard of the station in the entry, for the plugs and counters of that station.
- The shard of the station that publishes there now: it clears what the other station left. Otherwise, one shard would
  clear what the other publishes.
"""

from dataclasses import replace

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.plan import Plan

__all__ = ["is_concerned", "needs_manifest", "part_to_clear"]


def is_concerned(plan: Plan, entry: StationEntry) -> bool:
    """Return whether the shard of a plan has to read an entry."""
    return plan.share.has(entry.uuid) or plan.share.has(_current_station(plan, entry))


def part_to_clear(plan: Plan, entry: Entry) -> Entry | None:
    """Return the part of a previous entry that the shard of a plan has to clear; `None` if another shard does."""
    if isinstance(entry, BridgeEntry) or plan.share.shards <= 1:
        return entry
    if not plan.share.has(_current_station(plan, entry)):
        return None
    if plan.share.has(entry.uuid) or not plan.is_configured(entry.uuid):
        return entry
    # The other shard publishes the station elsewhere, with the same discovery topics.
    in_use = {each for each in plan.locations if each.manifest_key}
    return replace(entry, locations=tuple(each for each in entry.locations if each not in in_use))


def needs_manifest(old: Plan, new: Plan) -> bool:
    """Return whether a shard has to read the manifest again before it publishes by a new plan.

    That is the case if a station gets a topic id from a station of another shard, whose entry names what to clear. With
    another base topic, the bridge makes another connection anyway.
    """
    if new.topics != old.topics or not old.uuids:
        return False
    before = ((station.uuid, old.uuids.get(topic_id)) for topic_id, station in new.by_topic_id.items())
    return any(uuid not in (None, own) and not new.share.has(uuid) for own, uuid in before)


def _current_station(plan: Plan, entry: StationEntry) -> str:
    """Return the uuid of the station that publishes on the topic of an entry now; without one, that in the entry."""
    return plan.uuids.get(entry.topic_id, entry.uuid) if entry.topics == plan.topics else entry.uuid
