"""Decides which shard reads a manifest entry of a station, and which one clears its topics.

The hash of its uuid assigns a station to a shard. But a topic may pass from one station to another, when an alias moves
between stations or replaces a uuid, and then two shards are concerned:

- The shard of the station in the entry reads it, for the plugs and counters of that station.
- The shard that publishes on the topic of the entry now clears what the other station left there. Otherwise, one shard
  would clear what the other publishes.
"""

from dataclasses import replace

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.plan import Plan

__all__ = ["is_concerned", "needs_manifest", "part_to_clear"]


def is_concerned(plan: Plan, entry: StationEntry) -> bool:
    """Return whether the shard of a plan has to read an entry."""
    return plan.share.has(entry.uuid) or plan.share.has(_user(plan, entry))


def part_to_clear(plan: Plan, entry: Entry) -> Entry | None:
    """Return the part of an entry whose topics the shard of a plan publishes or clears; `None` if it has none."""
    if isinstance(entry, BridgeEntry) or plan.share.shards <= 1:
        return entry
    if not plan.share.has(_user(plan, entry)):
        return None
    if plan.share.has(entry.uuid) or not plan.is_configured(entry.uuid):
        return entry
    # The other shard publishes the station elsewhere, with the same discovery.
    kept = tuple(each for each in entry.locations if not each.manifest_key or each not in plan.locations)
    return replace(entry, locations=kept)


def needs_manifest(old: Plan, new: Plan) -> bool:
    """Return whether a shard has to read the manifest again before it publishes by a new plan.

    That is the case if a station gets a topic id from a station of another shard, whose entry names what to clear.
    """
    if new.topics != old.topics or not old.uuids:
        return False
    before = ((station.uuid, old.uuids.get(topic_id)) for topic_id, station in new.by_topic_id.items())
    return any(uuid not in (None, own) and not new.share.has(uuid) for own, uuid in before)


def _user(plan: Plan, entry: StationEntry) -> str:
    """Return the uuid of the station that publishes on the topic of an entry now, else that in the entry."""
    return plan.uuids.get(entry.topic_id, entry.uuid) if entry.topics == plan.topics else entry.uuid
