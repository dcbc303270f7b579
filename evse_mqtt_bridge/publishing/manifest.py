"""What the bridge published in an earlier life, read back from the broker, and what of it must go.

The retained `info` of each station and of the bridge are its memory: they live where the retained topics live, so
they are lost exactly when there is nothing left to clear, and they need no volume, no file and no second truth. Only
entries that name this bridge's client id count; what anybody else published is never touched.

Whoever may publish there can forge an entry. So what the bridge cannot have written, by the rules for ids, aliases and
prefixes, is not believed; a topic that is made of an entry is one that every broker takes.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from evse_mqtt_bridge.domain.availability import MAX_PLUGS
from evse_mqtt_bridge.domain.identifiers import is_alias, is_id
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing.contract import PLUG_FIELDS, STATION_FIELDS
from evse_mqtt_bridge.publishing.outputs import homeassistant
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics

__all__ = ["BridgeEntry", "DiscoveryPlace", "StationEntry", "json_object", "read_bridge", "read_station"]

Form = Literal["entity", "device"]

_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What no broker takes in a topic; all else may have stood in a configuration."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LONGEST_PREFIX = 200


@dataclass(frozen=True, slots=True)
class DiscoveryPlace:
    """Where and in which form discovery was published."""

    prefix: str
    form: Form

    def as_dict(self) -> dict[str, str]:
        """As it stands in `info`."""
        return {"prefix": self.prefix, "form": self.form}


@dataclass(frozen=True, slots=True)
class StationEntry:
    """What is, or was, published for one station; `plugs` maps plug uuids to topic ids, `labels` to labels."""

    topics: Topics
    topic_id: str
    uuid: str
    plugs: Mapping[str, str]
    labels: Mapping[str, str | None]
    discovery: DiscoveryPlace | None

    @classmethod
    def of(
        cls, topics: Topics, station: Station, state: StationState, discovery: DiscoveryPlace | None
    ) -> "StationEntry":
        """What is published for `station` in this state."""
        plugs = {uuid: station.plugs.get(uuid, uuid) for uuid in state.plugs}
        labels = {uuid: plug.label for uuid, plug in state.plugs.items()}
        return cls(topics, station.topic_id, station.uuid, plugs, labels, discovery)

    @property
    def record(self) -> str:
        """The topic of the `info` that tells of all this."""
        return self.topics.station(self.topic_id, "info")

    def discovery_topics(self) -> list[str]:
        """Its discovery topics."""
        if self.discovery is None:
            return []
        prefix, form = self.discovery.prefix, self.discovery.form
        topics = [topic for plug in self.plugs for topic in homeassistant.plug_topics(prefix, form, self.uuid, plug)]
        return [*topics, *homeassistant.station_topics(prefix, form, self.uuid)]

    def all_topics(self) -> dict[str, str]:
        """Every topic of it and the plug that it speaks of, by uuid (empty: the station), in the order of clearing.

        Discovery goes first, so that entities go before their topics do; `info` last: while it stands, an interrupted
        clean-up is taken up again.
        """
        topics = dict.fromkeys(self.discovery_topics(), "")
        for uuid, topic_id in self.plugs.items():
            topics.update((self.topics.plug(self.topic_id, topic_id, field.name), uuid) for field in PLUG_FIELDS)
        names = [field.name for field in STATION_FIELDS if field.name != "info"]
        return topics | {self.topics.station(self.topic_id, name): "" for name in names} | {self.record: ""}


@dataclass(frozen=True, slots=True)
class BridgeEntry:
    """What is, or was, published for the bridge itself."""

    topics: Topics
    client_id: str
    discovery: DiscoveryPlace | None

    @property
    def record(self) -> str:
        """The topic of the `info` that tells of all this."""
        return self.topics.info

    def discovery_topics(self) -> list[str]:
        """Its discovery topics."""
        if self.discovery is None:
            return []
        return list(homeassistant.bridge_topics(self.discovery.prefix, self.discovery.form, self.client_id))

    def all_topics(self) -> dict[str, str]:
        """Every topic of it, `info` last, each with an empty text, for it speaks of no plug."""
        return dict.fromkeys((*self.discovery_topics(), *self.topics.bridge), "")


def read_station(topics: Topics, topic: str, payload: bytes, owner: str) -> StationEntry | None:
    """The entry that a retained `info` of a station holds; `None` where it is not one that `owner` published."""
    place = topics.read(topic)
    if place is None or place.field != "info":
        return None
    content = json_object(payload)
    if content.get("published_by") != owner:
        return None
    uuid, plugs = content.get("uuid"), content.get("plugs")
    if not is_alias(place.station) or not is_id(uuid) or not isinstance(plugs, dict) or len(plugs) > MAX_PLUGS:
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
    return StationEntry(topics, place.station, cast("str", uuid), topic_ids, labels, _discovery(content))


def read_bridge(topic: str, payload: bytes, owner: str) -> BridgeEntry | None:
    """The entry that a retained `bridge/info` holds, under whatever base; `None` where it is not `owner`'s."""
    if not topic.endswith(f"/{BRIDGE}/info"):  # most are a station's, and twenty thousand of them take a while to read
        return None
    content = json_object(payload)
    if content.get("name") != "evse-mqtt-bridge" or content.get("client_id") != owner:
        return None
    base = content.get("base_topic")
    if not isinstance(base, str) or len(base) > _LONGEST_PREFIX or Topics(base).info != topic:
        return None
    return BridgeEntry(Topics(base), owner, _discovery(content))


def _discovery(content: Mapping[str, object]) -> DiscoveryPlace | None:
    match content.get("discovery"):
        case {"prefix": str(prefix), "form": "entity" | "device" as form} if _is_prefix(prefix):
            return DiscoveryPlace(prefix, form)
    return None


def _is_prefix(text: str) -> bool:
    plain = not _UNFIT.search(text) and not set(text) & set("+#") and not text.startswith("$")
    return plain and all(text.split("/")) and len(text) <= _LONGEST_PREFIX


def json_object(payload: bytes) -> dict[str, object]:
    """The JSON object that a payload is; an empty one where it is none."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
