"""Orphans: retained topics of this bridge that its configuration does not have; `purge` lists and clears them.

Three things prove that a topic belongs to the bridge: a manifest entry that names its client id; a plug's `state` whose
keys are exactly those of the contract; a discovery payload of its origin that names its availability topic. No other
topic is touched. A base topic belongs to one bridge, even after a change of its client id. Another bridge may use a
base topic below it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry, read_bridge, read_station
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.payloads import json_object
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Ownership", "is_online", "orphans"]


@dataclass(frozen=True, slots=True)
class Ownership:
    """The topics that belong to the bridge of a configuration.

    Attributes:
        topics: The base topic.
        client_id: The bridge's MQTT client id.
        stations: The stations, by uuid.
        locations: The locations of the outputs.
        searched: Locations where orphans may be, including those of disabled outputs.
    """

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    locations: tuple[Location, ...]
    searched: tuple[Location, ...]

    @property
    def filters(self) -> list[str]:
        """The subscriptions that find every orphan."""
        return [topic_filter for location in self.searched for topic_filter in location.filters()]

    @property
    def bridge_entry(self) -> BridgeEntry:
        """The bridge's own entry."""
        return BridgeEntry(self.topics, self.client_id, self.locations)


def orphans(retained: Mapping[str, bytes], ownership: Ownership, *, everything: bool = False) -> list[str]:
    """Return the topics to clear, sorted.

    Args:
        retained: Payloads by topic, as the subscriptions to `ownership.filters` yield them.
        ownership: The configuration.
        everything: Whether to include the topics of the configuration, to decommission the bridge.
    """
    entries = [
        entry for item in retained.items() if (entry := read_station(ownership.topics, *item, ownership.client_id))
    ]
    bridges = [bridge for item in retained.items() if (bridge := read_bridge(*item, ownership.client_id))]
    found: tuple[Entry, ...] = (*entries, *bridges)
    own = {topic for entry in found for topic in entry.all_topics()}
    if not _belongs_to_another_bridge(retained, ownership):
        own.update(
            topic for location in ownership.searched for topic in location.recognized(retained, ownership.topics)
        )
        own.update(ownership.bridge_entry.all_topics())
    kept = () if everything else _kept(entries, retained, ownership)
    return sorted(((own & retained.keys()) | _unreadable(found, retained)) - set(kept))


def _unreadable(entries: Iterable[Entry], retained: Mapping[str, bytes]) -> set[str]:
    """Return the recorded topics of locations from which nothing was received: the user may have write access only.

    The location of the entry itself is readable, because the entry was read.
    """
    recorded = (
        set(entry.topics_at(location)) for entry in entries for location in entry.locations if location.manifest_key
    )
    return {topic for topics in recorded if not topics & retained.keys() for topic in topics}


def is_online(retained: Mapping[str, bytes], ownership: Ownership) -> bool:
    """Return whether the bridge's availability is `online`; after a crash, that lasts until the will is published."""
    is_own = not _belongs_to_another_bridge(retained, ownership)
    return is_own and retained.get(ownership.topics.availability) == b"online"


def _belongs_to_another_bridge(retained: Mapping[str, bytes], ownership: Ownership) -> bool:
    """Return whether the last bridge that published at this base topic has another client id."""
    client_id = json_object(retained.get(ownership.topics.info, b"")).get("client_id")
    return client_id not in (None, ownership.client_id)


def _kept(entries: list[StationEntry], retained: Mapping[str, bytes], ownership: Ownership) -> Iterator[str]:
    """Yield the topics of the configuration. The plugs of a station come from its manifest entry on the broker."""
    yield from ownership.bridge_entry.all_topics()
    by_topic_id = {station.topic_id: station for station in ownership.stations.values()}
    recorded = {entry.topic_id for entry in entries}
    for entry in entries:
        station = by_topic_id.get(entry.topic_id)
        if station is not None and station.uuid == entry.uuid:
            plugs = {
                uuid: topic_id
                for uuid, topic_id in entry.plugs.items()
                if station.plug_topic_id(uuid) == topic_id and not station.has_no_topic_for(uuid)
            }
            yield from replace(entry, plugs=plugs, locations=ownership.locations).all_topics()
    for topic in retained:
        parsed = ownership.topics.read(topic)
        if parsed is not None and parsed.station in by_topic_id and parsed.station not in recorded:
            yield topic
