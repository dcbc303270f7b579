"""Orphans: retained topics of this bridge that its configuration does not have; `purge` lists and clears them.

Three things prove that a topic belongs to the bridge: a manifest entry that names its client id; a plug's `state` whose
keys are exactly those of the contract; a discovery payload of its origin that names its availability topic. Nothing
else is touched. A base topic belongs to one bridge, whatever its client id was; another bridge may have one below it.
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
    """What belongs to the bridge of a configuration.

    Attributes:
        topics: the base topic.
        client_id: the bridge's MQTT client id.
        stations: by station uuid.
        locations: where the outputs publish.
        searched: locations where orphans may be, also of outputs that are off.
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
        retained: payloads by topic, as the subscriptions to `ownership.filters` yield them.
        ownership: the configuration.
        everything: include what the configuration has, for a bridge that is decommissioned.
    """
    entries = [
        entry for item in retained.items() if (entry := read_station(ownership.topics, *item, ownership.client_id))
    ]
    bridges = [bridge for item in retained.items() if (bridge := read_bridge(*item, ownership.client_id))]
    found: tuple[Entry, ...] = (*entries, *bridges)
    own = {topic for entry in found for topic in entry.all_topics()}
    if not _belongs_to_another_bridge(retained, ownership):
        own.update(topic for parsed in ownership.searched for topic in parsed.recognized(retained, ownership.topics))
        own.update(ownership.bridge_entry.all_topics())
    kept = () if everything else _kept(entries, retained, ownership)
    return sorted(((own & retained.keys()) | _unreadable(found, retained)) - set(kept))


def _unreadable(entries: Iterable[Entry], retained: Mapping[str, bytes]) -> set[str]:
    """Return recorded topics of a location of which none was received: the user may be allowed to write there alone.

    The location of the entry itself is readable, because the entry was read.
    """
    recorded = (
        set(entry.topics_at(location)) for entry in entries for location in entry.locations if location.manifest_key
    )
    return {topic for topics in recorded if not topics & retained.keys() for topic in topics}


def is_online(retained: Mapping[str, bytes], ownership: Ownership) -> bool:
    """Return whether the bridge is online according to the broker, which reports a dead one when the will is due."""
    is_own = not _belongs_to_another_bridge(retained, ownership)
    return is_own and retained.get(ownership.topics.availability) == b"online"


def _belongs_to_another_bridge(retained: Mapping[str, bytes], ownership: Ownership) -> bool:
    """Return whether a bridge with another client id publishes, or published last, at this base topic."""
    client_id = json_object(retained.get(ownership.topics.info, b"")).get("client_id")
    return client_id not in (None, ownership.client_id)


def _kept(entries: list[StationEntry], retained: Mapping[str, bytes], ownership: Ownership) -> Iterator[str]:
    """Yield the topics that the configuration has. Which plugs a station has, only the broker knows here."""
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
