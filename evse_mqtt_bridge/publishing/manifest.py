"""The manifest: what the bridge published, as entries; retained `info` topics hold them on the broker.

The `info` of a station or of the bridge has one entry for what is published now. While topics of earlier entries are
not yet cleared, it lists those entries as well. The broker stores the manifest together with the topics that it
describes, so both are lost together, and the bridge needs no volume, no file and no second source of truth.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["BridgeEntry", "Entry", "StationEntry", "obsolete_topics"]


@dataclass(frozen=True, slots=True)
class StationEntry:
    """The manifest entry of one station.

    Attributes:
        topics: The base topic.
        topic_id: The station's level in topics.
        uuid: The station's uuid.
        plugs: Topic ids by plug uuid.
        labels: Labels by plug uuid.
        locations: The locations of the outputs, in the order of publishing.
        name: The display name of the station, which has no effect on topics.
    """

    topics: Topics
    topic_id: str
    uuid: str
    plugs: Mapping[str, str]
    labels: Mapping[str, str | None]
    locations: tuple[Location, ...]
    name: str = field(default="", compare=False)

    @classmethod
    def of(cls, topics: Topics, station: Station, state: StationState, locations: tuple[Location, ...]) -> Self:
        """Return the entry of a station.

        Args:
            topics: The base topic.
            station: The station.
            state: Its state, which determines the plugs and labels.
            locations: The locations of the outputs, in the order of publishing.
        """
        plugs = {uuid: station.plug_topic_id(uuid) for uuid in state.plugs}
        labels = {uuid: plug.label for uuid, plug in state.plugs.items()}
        return cls(topics, station.topic_id, station.uuid, plugs, labels, locations, station.title)

    @property
    def topic(self) -> str:
        """The topic of the entry itself."""
        return self.topics.station(self.topic_id, "info")

    def topics_at(self, location: Location) -> dict[str, str]:
        """Return the topics of one location, each with the uuid of its plug; empty for topics of no plug."""
        return location.station_topics(self.uuid, self.topic_id, self.plugs)

    def all_topics(self) -> dict[str, str]:
        """Return every topic, as `topics_at` does, in the order of clearing.

        Discovery goes first, so that entities are removed before their topics. The entry goes last, so that a later run
        can resume an interrupted clean-up.
        """
        return _in_order_of_clearing(self)

    def covers(self, other: "Entry") -> bool:
        """Return whether this entry has every topic of `other`, with the same plugs."""
        return (
            isinstance(other, StationEntry)
            and (self.topics, self.topic_id, self.uuid) == (other.topics, other.topic_id, other.uuid)
            and self.plugs.items() >= other.plugs.items()
            and set(self.locations) >= set(other.locations)
        )

    def joined(self, other: Self) -> Self | None:
        """Return one entry with the topics of both; `None` if no single entry has them."""
        is_same = (self.topic, self.uuid, self.locations) == (other.topic, other.uuid, other.locations)
        plugs = {**other.plugs, **self.plugs}
        if not is_same or not plugs.items() >= other.plugs.items():
            return None
        return replace(self, plugs=plugs, labels={**other.labels, **self.labels})


@dataclass(frozen=True, slots=True)
class BridgeEntry:
    """The manifest entry of the bridge itself, or of one of its shards; see `StationEntry`.

    Attributes:
        topics: The base topic and the shard.
        client_id: The MQTT client id of the bridge.
        locations: The locations of the outputs, in the order of publishing.
        shards: The number of shards, in the entry of shard 0, which has the topics of all of them; 0: no fleet.
    """

    topics: Topics
    client_id: str
    locations: tuple[Location, ...]
    shards: int = 0

    @property
    def topic(self) -> str:
        """The topic of the entry itself."""
        return self.topics.info

    def topics_at(self, location: Location) -> dict[str, str]:
        """Return the topics of one location; none of them belongs to a plug."""
        return dict.fromkeys(location.bridge_topics(self.client_id), "")

    def all_topics(self) -> dict[str, str]:
        """Return every topic in the order of clearing, the entry last."""
        others = (topic for shard in range(1, self.shards) for topic in self.topics.of_shard(shard).bridge)
        return dict.fromkeys(others, "") | _in_order_of_clearing(self)

    def covers(self, other: "Entry") -> bool:
        """Return whether this entry has every topic of `other`."""
        return (
            isinstance(other, BridgeEntry)
            and (self.topic, self.client_id) == (other.topic, other.client_id)
            and self.shards >= other.shards
            and set(self.locations) >= set(other.locations)
        )


Entry = StationEntry | BridgeEntry


def obsolete_topics(entry: Entry, successor: Entry | None) -> Iterator[str]:
    """Yield the topics that `successor` lacks, or assigns to another plug after an alias moved, in order of clearing.

    Args:
        entry: A previous entry.
        successor: The present entry of the same station, or of the bridge; `None` if the station was removed.
    """
    kept = successor.all_topics() if successor else {}
    return (topic for topic, plug in entry.all_topics().items() if kept.get(topic) != plug)


def _in_order_of_clearing(entry: Entry) -> dict[str, str]:
    """Return every topic of an entry: those of the output that is published last first, and the entry last."""
    topics: dict[str, str] = {}
    for location in reversed(entry.locations):
        topics.update(entry.topics_at(location))
    return topics | {entry.topic: ""}
