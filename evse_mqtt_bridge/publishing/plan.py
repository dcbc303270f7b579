"""The publishing plan: which stations are published, by which rules, and by which outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.domain.shards import ALL, Claim, Share
from evse_mqtt_bridge.publishing.outputs.protocol import Location, Output
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """The publishing part of a configuration.

    Attributes:
        topics: The base topic.
        client_id: The bridge's MQTT client id, which owns the manifest entries.
        stations: The stations, by uuid.
        rules: The rules for availability.
        outputs: The outputs, in the order of publishing.
        birth_topic: The topic on which consumers announce their start; empty: none.
        share: The shard that the plan is for; its stations are those of the shard.
        uuids: The uuids of the stations of every shard by topic id; empty if there is one shard only.
        claim: Who holds the shard; `None`: there are no shards.
        discovery_digest: Identifies all that the discovery of a station follows from beside its entry; empty: the shard
            has no successor that could use it.
    """

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    rules: Rules
    outputs: tuple[Output, ...]
    birth_topic: str = ""
    share: Share = ALL
    uuids: Mapping[str, str] = field(default_factory=dict)
    claim: Claim | None = None
    discovery_digest: str = ""

    @cached_property
    def locations(self) -> tuple[Location, ...]:
        """The locations of the outputs."""
        return tuple(output.location for output in self.outputs)

    @property
    def bridge_locations(self) -> tuple[Location, ...]:
        """The locations of the bridge's own topics; shard 0 alone describes the bridge to consumers of discovery."""
        return tuple(each for each in self.locations if not self.share.number or not each.manifest_key)

    def is_configured(self, uuid: str) -> bool:
        """Return whether a station belongs to any shard; rarely needed, as it may take a while."""
        return uuid in self.stations or uuid in self.uuids.values()

    def is_published(self, topic: str) -> bool:
        """Return whether a plain topic belongs to the bridge itself, or to a station of any shard."""
        parsed = self.topics.read(topic)
        if parsed is None:
            return topic in self.topics.bridge
        return parsed.station in self.by_topic_id or parsed.station in self.uuids

    @cached_property
    def by_topic_id(self) -> Mapping[str, Station]:
        """The stations, by their level in topics."""
        return {station.topic_id: station for station in self.stations.values()}
