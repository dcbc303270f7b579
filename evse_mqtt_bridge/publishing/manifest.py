"""The manifest: retained `info` topics that list what the bridge published, so that a later run can clear it.

The `info` of each station and of the bridge are entries of the manifest. The broker stores them together with the
topics that they describe, so both are lost together, and the bridge needs no volume, no file and no second source of
truth. Only entries that name this bridge's client id count; the topics of other publishers are never touched.

Any client that may publish on these topics can forge an entry. So the bridge ignores entries that it cannot have
written, by the rules for ids, aliases and prefixes; every broker accepts a topic that is built from a valid entry.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from evse_mqtt_bridge.domain.identifiers import is_alias, is_id
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.outputs.registry import MANIFEST_KEYS, locations_from_manifest
from evse_mqtt_bridge.publishing.payloads import json_object, json_payload, timestamp
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics

__all__ = [
    "ENTRY_LIMIT",
    "BridgeEntry",
    "BridgeInfo",
    "Entry",
    "StationEntry",
    "bridge_info",
    "read_bridge",
    "read_station",
    "station_info",
]

ENTRY_LIMIT = 64 * 1024
"""Maximum size of a manifest entry, in bytes. The bridge publishes none that is larger, and receives nothing larger."""

_LONGEST_LABEL = 128
"""Maximum number of characters of a label in an entry; `MAX_PLUGS` such labels stay below `ENTRY_LIMIT`."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LONGEST_BASE = 200


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
    """

    topics: Topics
    topic_id: str
    uuid: str
    plugs: Mapping[str, str]
    labels: Mapping[str, str | None]
    locations: tuple[Location, ...]

    @classmethod
    def of(
        cls, topics: Topics, station: Station, state: StationState, locations: tuple[Location, ...]
    ) -> "StationEntry":
        """Return the entry of a station.

        Args:
            topics: The base topic.
            station: The station.
            state: Its state, which determines the plugs and labels.
            locations: The locations of the outputs, in the order of publishing.
        """
        plugs = {uuid: station.plug_topic_id(uuid) for uuid in state.plugs}
        labels = {uuid: plug.label for uuid, plug in state.plugs.items()}
        return cls(topics, station.topic_id, station.uuid, plugs, labels, locations)

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


@dataclass(frozen=True, slots=True)
class BridgeEntry:
    """The manifest entry of the bridge itself; see `StationEntry`."""

    topics: Topics
    client_id: str
    locations: tuple[Location, ...]

    @property
    def topic(self) -> str:
        """The topic of the entry itself."""
        return self.topics.info

    def topics_at(self, location: Location) -> dict[str, str]:
        """Return the topics of one location; none of them belongs to a plug."""
        return dict.fromkeys(location.bridge_topics(self.client_id), "")

    def all_topics(self) -> dict[str, str]:
        """Return every topic in the order of clearing, the entry last."""
        return _in_order_of_clearing(self)


Entry = StationEntry | BridgeEntry


def _in_order_of_clearing(entry: Entry) -> dict[str, str]:
    """Return every topic of an entry: those of the output that is published last first, and the entry last."""
    topics: dict[str, str] = {}
    for location in reversed(entry.locations):
        topics.update(entry.topics_at(location))
    return topics | {entry.topic: ""}


@dataclass(frozen=True, slots=True)
class BridgeInfo:
    """The content of the bridge's entry.

    Attributes:
        version: The bridge's version.
        client_id: Its MQTT client id.
        started: When the bridge started, in UTC.
        stations: Number of configured stations.
        locations: The locations of the outputs.
    """

    version: str
    client_id: str
    started: datetime
    stations: int
    locations: tuple[Location, ...]


def station_info(
    topics: Topics, station: Station, state: StationState, client_id: str, locations: tuple[Location, ...]
) -> Message:
    """Return the entry of a station as a message.

    Args:
        topics: The base topic.
        station: The station.
        state: Its state, which determines the plugs and labels.
        client_id: The MQTT client id of the bridge that publishes the station.
        locations: The locations of the outputs, in the order of publishing.
    """
    content = {
        "uuid": station.uuid,
        "name": station.title,
        "plugs": {
            uuid: {"topic": station.plug_topic_id(uuid), "label": plug.label and plug.label[:_LONGEST_LABEL]}
            for uuid, plug in state.plugs.items()
        },
        "published_by": client_id,
        "contract": CONTRACT_VERSION,
        **_recorded(locations),
    }
    return Message(topics.station(station.topic_id, "info"), json_payload(content), JSON)


def bridge_info(topics: Topics, info: BridgeInfo) -> Message:
    """Return the bridge's entry as a message."""
    content = {
        "name": "evse-mqtt-bridge",
        "version": info.version,
        "contract": CONTRACT_VERSION,
        "client_id": info.client_id,
        "base_topic": topics.base,
        "started": timestamp(info.started),
        "stations": info.stations,
        **_recorded(info.locations),
    }
    return Message(topics.info, json_payload(content), JSON)


def read_station(topics: Topics, topic: str, payload: bytes, client_id: str) -> StationEntry | None:
    """Return the entry in a retained `info` of a station.

    Args:
        topics: The base topic.
        topic: The topic of the message.
        payload: The payload of the message.
        client_id: The MQTT client id of this bridge.

    Returns:
        The entry; `None` if this bridge did not publish it.
    """
    parsed = topics.read(topic)
    if parsed is None or parsed.field != "info":
        return None
    content = json_object(payload)
    if content.get("published_by") != client_id:
        return None
    uuid, plugs = content.get("uuid"), content.get("plugs")
    if not is_alias(parsed.station) or not is_id(uuid) or not isinstance(plugs, dict) or len(plugs) > MAX_PLUGS:
        return None
    topic_ids: dict[str, str] = {}
    labels: dict[str, str | None] = {}
    for plug, about in plugs.items():
        match about:
            case {"topic": topic_id, "label": None | str() as label} if (
                is_id(plug) and is_alias(topic_id) and not _SURROGATE.search(label or "")
            ):
                topic_ids[plug], labels[plug] = topic_id, label
            case _:
                return None
    locations = locations_from_manifest(topics, content)
    return StationEntry(topics, parsed.station, cast("str", uuid), topic_ids, labels, locations)


def read_bridge(topic: str, payload: bytes, client_id: str) -> BridgeEntry | None:
    """Return the entry in a retained `bridge/info` under any base topic; `None` if `client_id` did not publish it."""
    if not topic.endswith(f"/{BRIDGE}/info"):  # most belong to stations, and parsing 20,000 of them is slow
        return None
    content = json_object(payload)
    if content.get("name") != "evse-mqtt-bridge" or content.get("client_id") != client_id:
        return None
    base = content.get("base_topic")
    if not isinstance(base, str) or len(base) > _LONGEST_BASE or Topics(base).info != topic:
        return None
    return BridgeEntry(Topics(base), client_id, locations_from_manifest(Topics(base), content))


def _recorded(locations: tuple[Location, ...]) -> dict[str, dict[str, str] | None]:
    """Return the keys of an entry that record the locations; `null` if an output is disabled."""
    recorded = {location.manifest_key: dict(location.manifest_value()) for location in locations}
    return {key: recorded.get(key) for key in MANIFEST_KEYS}
