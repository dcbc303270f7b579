"""Orphans: retained topics of this bridge that its configuration does not have; `purge` lists and clears them.

Three things prove that a topic belongs to the bridge: a manifest entry that names its client id; a plug's `state` whose
keys are exactly those of the contract; a discovery payload of its origin that names its availability topic. The topics
of the members of a fleet belong to the bridge of the base topic. No other topic is touched. A base topic belongs to one
bridge, even after a change of its client id. Another bridge may use a base topic below it. Base topics that the bridge
left are searched as well, if the broker has an entry that names them.
If anybody may have written that entry, only topics below that base topic, and discovery that names it, belong to the
bridge; see unproven_entries.py.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.domain.shards import MOST_SHARDS
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.payloads import json_object
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.publishing.unproven_entries import has_room

__all__ = ["Ownership", "left_behind", "online_topic", "orphans", "orphans_elsewhere"]


@dataclass(frozen=True, slots=True)
class Ownership:
    """The topics that belong to the bridge of a configuration.

    Attributes:
        topics: The base topic.
        client_id: The bridge's MQTT client id.
        stations: The stations, by uuid.
        locations: The locations of the outputs.
        searched: Locations where orphans may be, including those of disabled outputs.
        shards: The number of shards; 0: no fleet.
        former_ids: Further MQTT client ids of this bridge.
        is_proven: Whether something that only this bridge can write names the base topic.
    """

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    locations: tuple[Location, ...]
    searched: tuple[Location, ...]
    shards: int = 0
    former_ids: frozenset[str] = frozenset()
    is_proven: bool = True

    @property
    def filters(self) -> list[str]:
        """The subscriptions that find every orphan."""
        return [topic_filter for location in self.searched for topic_filter in location.filters()]

    @property
    def bridge_entry(self) -> BridgeEntry:
        """The bridge's own entry."""
        return BridgeEntry(self.topics, self.client_id, self.locations, self.shards)


def orphans(retained: Mapping[str, bytes], ownership: Ownership, *, everything: bool = False) -> list[str]:
    """Return the topics to clear, sorted.

    Args:
        retained: Payloads by topic, as the subscriptions to `ownership.filters` yield them.
        ownership: The configuration.
        everything: Whether to include the topics of the configuration, to decommission the bridge.
    """
    kept = frozenset() if everything else _kept(retained, ownership)
    return sorted(_owned(retained, ownership) - kept)


def orphans_elsewhere(retained: Mapping[str, bytes], elsewhere: Ownership, ownership: Ownership) -> list[str]:
    """Return the topics to clear below a base topic that the bridge has left, sorted.

    Args:
        retained: Payloads by topic, as the subscriptions to the filters of both ownerships yield them.
        elsewhere: One of `left_behind`.
        ownership: The configuration, whose topics are kept.
    """
    return sorted(_owned(retained, elsewhere) - _kept(retained, ownership))


def left_behind(retained: Mapping[str, bytes], ownership: Ownership) -> list[Ownership]:
    """Return what the bridge owns below base topics that it has left, according to its entries: no station.

    Unproven base topics come last, and only as many as a bridge reads.
    """
    infos: dict[Topics, list[BridgeEntry]] = {}
    for item in retained.items():
        if entries := read_bridge(*item, {ownership.client_id}):
            infos.setdefault(entries[0].topics, []).extend(entries)
    proven = _proven(infos, ownership, _bases_in_discovery(retained, ownership))
    unproven: dict[Topics, BridgeEntry] = {}
    for base, (entry, *_) in infos.items():
        if base not in proven and has_room(base, unproven):
            unproven[base] = entry
    client_ids = frozenset(entry.client_id for entry in proven.values())
    elsewhere = tuple(location for location in ownership.searched if location.manifest_key)
    return [
        Ownership(
            base, entry.client_id, {}, (), (PlainLocation(base), *elsewhere), MOST_SHARDS, client_ids, base in proven
        )
        for base, entry in {**proven, **unproven}.items()
        if base != ownership.topics
    ]


def _proven(
    infos: Mapping[Topics, Iterable[BridgeEntry]], ownership: Ownership, named: Container[Topics | None]
) -> dict[Topics, BridgeEntry]:
    """Return an entry below each proven base topic: what the `info` there lists is proven as well.

    Args:
        infos: The entries in the `info` below each base topic.
        ownership: The configuration, whose base topic is proven.
        named: The base topics that a discovery message names.
    """
    proven: dict[Topics, BridgeEntry] = {}
    pending = [base for base in infos if base == ownership.topics or base in named]
    while pending:
        for entry in infos.get(pending.pop(), ()):
            if entry.topics not in proven:
                proven[entry.topics] = entry
                pending.append(entry.topics)
    return proven


def _bases_in_discovery(retained: Mapping[str, bytes], ownership: Ownership) -> set[Topics | None]:
    prefixes = {f"{location.prefix}/": location for location in ownership.searched if location.manifest_key}
    return {
        location.publisher(payload)
        for topic, payload in retained.items()
        for prefix, location in prefixes.items()
        if topic.startswith(prefix)
    }


def _bridges(retained: Mapping[str, bytes], client_ids: Container[object]) -> list[BridgeEntry]:
    return [entry for item in retained.items() for entry in read_bridge(*item, client_ids)]


def _unreadable(entries: Iterable[Entry], retained: Mapping[str, bytes]) -> set[str]:
    """Return the recorded topics of locations from which nothing was received: the user may have write access only.

    The location of the entry itself is readable, because the entry was read.
    """
    recorded = (
        set(entry.topics_at(location)) for entry in entries for location in entry.locations if location.manifest_key
    )
    return {topic for topics in recorded if not topics & retained.keys() for topic in topics}


def online_topic(retained: Mapping[str, bytes], ownership: Ownership) -> str:
    """Return an availability topic of the bridge that is `online`; empty if there is none.

    After a crash, it is `online` until the broker publishes the will.
    """
    if _belongs_to_another_bridge(retained, ownership):
        return ""
    topics = [ownership.topics.of_shard(shard).availability for shard in range(MOST_SHARDS)]
    topics += [topic for topic in retained if ownership.topics.is_of_member(topic)]
    return next((topic for topic in topics if retained.get(topic) == b"online"), "")


def _belongs_to_another_bridge(retained: Mapping[str, bytes], ownership: Ownership) -> bool:
    """Return whether the last bridge that published at this base topic has another client id."""
    client_id = json_object(retained.get(ownership.topics.info, b"")).get("client_id")
    return client_id not in (None, ownership.client_id, *ownership.former_ids)


def _owned(retained: Mapping[str, bytes], ownership: Ownership) -> set[str]:
    """Return the retained topics that belong to the bridge, and recorded ones that its user may not read."""
    entries, bridges = _entries(retained, ownership)
    found: tuple[Entry, ...] = (*(entry for read in entries for entry in read), *bridges)
    own = {topic for entry in found for topic in entry.all_topics()}
    if not ownership.is_proven:
        own = {topic for topic in own if topic.startswith(f"{ownership.topics.base}/")}
    if not _belongs_to_another_bridge(retained, ownership):
        own.update(
            topic for location in ownership.searched for topic in location.recognized(retained, ownership.topics)
        )
        # The broker may have published the will of a shard after the shard's other topics were cleared.
        own.update(replace(ownership.bridge_entry, shards=MOST_SHARDS).all_topics())
        own.update(topic for topic in retained if ownership.topics.is_of_member(topic))
    return (own & retained.keys()) | (_unreadable(found, retained) if ownership.is_proven else set())


def _entries(
    retained: Mapping[str, bytes], ownership: Ownership
) -> tuple[list[tuple[StationEntry, ...]], list[BridgeEntry]]:
    """Return the entries below the base topic: of each `info` of a station, and of the bridge."""
    client_ids = {ownership.client_id, *ownership.former_ids}
    bridges = [entry for entry in _bridges(retained, client_ids) if entry.topics == ownership.topics]
    client_ids.update(entry.client_id for entry in bridges)
    read = (read_station(ownership.topics, *item, client_ids) for item in retained.items())
    return [entries for entries in read if entries], bridges


def _kept(retained: Mapping[str, bytes], ownership: Ownership) -> frozenset[str]:
    """Return the topics of the configuration. The plugs of a station come from its manifest entry on the broker."""
    kept = set(ownership.bridge_entry.all_topics())
    present = [entry for entry, *_ in _entries(retained, ownership)[0]]
    by_topic_id = {station.topic_id: station for station in ownership.stations.values()}
    for entry in present:
        station = by_topic_id.get(entry.topic_id)
        if station is not None and station.uuid == entry.uuid:
            plugs = {
                uuid: topic_id
                for uuid, topic_id in entry.plugs.items()
                if station.plug_topic_id(uuid) == topic_id and not station.has_no_topic_for(uuid)
            }
            kept.update(replace(entry, plugs=plugs, locations=ownership.locations).all_topics())
    recorded = {entry.topic_id for entry in present}
    for topic in retained:
        parsed = ownership.topics.read(topic)
        if parsed is not None and parsed.station in by_topic_id and parsed.station not in recorded:
            kept.add(topic)
    # A member that stops clears its topic, so any other value is of a member that was lost.
    kept.update(
        topic for topic, payload in retained.items() if payload == b"online" and ownership.topics.is_of_member(topic)
    )
    return frozenset(kept)
