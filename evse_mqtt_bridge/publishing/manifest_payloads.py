"""Writes manifest entries to `info` payloads, and reads them.

An entry is one object. Previous entries, which have the same keys, follow in its list `previous`. Only entries that
name this bridge's client id count; the topics of other publishers are never touched.

Any client that may publish on these topics can forge an entry. So the bridge ignores entries that it cannot have
written, by the rules for ids, aliases and prefixes; every broker accepts a topic that is built from a valid entry.
"""

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from evse_mqtt_bridge.domain.identifiers import is_alias, is_id
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.domain.shards import MOST_SHARDS, Claim
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.outputs.registry import MANIFEST_KEYS, locations_from_manifest
from evse_mqtt_bridge.publishing.payloads import json_object, json_payload, timestamp
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics, is_prefix

__all__ = [
    "ENTRY_LIMIT",
    "LONGEST_LABEL",
    "MAX_PREVIOUS",
    "BridgeFacts",
    "bridge_info",
    "fits",
    "read_bridge",
    "read_claim",
    "read_discovery_digest",
    "read_station",
    "station_info",
]

ENTRY_LIMIT = 64 * 1024
"""Maximum size of an `info`, in bytes. The bridge publishes none that is larger, and receives nothing larger."""

MAX_PREVIOUS = 16
"""Maximum number of previous entries in one `info`."""

_NAME = "evse-mqtt-bridge"
LONGEST_LABEL = 128
"""Maximum number of characters of a label in an entry; `MAX_PLUGS` such labels stay below `ENTRY_LIMIT`."""

_TOPIC_RESERVE = 512
"""Bytes of `ENTRY_LIMIT` for the topic and the properties of a message."""

_SURELY_FIT = 24
"""Number of plugs, in all entries together, that fit into one `info` whatever their names are."""

_BRIDGE_INFO = re.compile(rf"/{BRIDGE}(/[1-9]\d?)?/info$")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class BridgeFacts:
    """The content of the bridge's `info` that is not part of its entry.

    Attributes:
        version: The bridge's version.
        started: When the bridge started, in UTC.
        stations: Number of configured stations, of the shard if there are shards.
        claim: Who holds the shard; `None`: there are no shards.
        discovery: Identifies the discovery of all stations, once it is complete on the broker; empty: it is not.
    """

    version: str
    started: datetime
    stations: int
    claim: Claim | None = None
    discovery: str = ""


def station_info(entry: StationEntry, client_id: str, previous: Iterable[StationEntry] = ()) -> Message:
    """Return the `info` of a station.

    Args:
        entry: The entry of the station.
        client_id: The MQTT client id of the bridge that publishes the station.
        previous: Entries on the same topic whose topics are not yet cleared.
    """
    content = {
        **_station_content(entry),
        "published_by": client_id,
        "contract": CONTRACT_VERSION,
        **_station_locations(entry),
    }
    return _info(entry.topic, content, [{**_station_content(each), **_station_locations(each)} for each in previous])


def fits(entry: StationEntry, previous: tuple[StationEntry, ...]) -> bool:
    """Return whether the `info` of a station can list all these previous entries."""
    if len(previous) > MAX_PREVIOUS:
        return False
    if len(entry.plugs) + sum(len(each.plugs) for each in previous) <= _SURELY_FIT:
        return True
    content = json_object(station_info(entry, "", previous).payload)
    return len(tuple(_objects(content.get("previous")))) == len(previous)


def bridge_info(entry: BridgeEntry, facts: BridgeFacts, previous: Iterable[BridgeEntry] = ()) -> Message:
    """Return the `info` of the bridge.

    Args:
        entry: The entry of the bridge.
        facts: The rest of the content.
        previous: Entries of this bridge, under any base topic, whose topics are not yet cleared.
    """
    content = {
        "name": _NAME,
        "version": facts.version,
        "contract": CONTRACT_VERSION,
        **_bridge_content(entry),
        "started": timestamp(facts.started),
        "stations": facts.stations,
        **_recorded(entry.locations),
        **_claim_content(facts.claim),
        **({"discovery_digest": facts.discovery} if facts.discovery else {}),
    }
    return _info(entry.topic, content, [{**_bridge_content(each), **_recorded(each.locations)} for each in previous])


def read_station(topics: Topics, topic: str, payload: bytes, client_ids: Container[object]) -> tuple[StationEntry, ...]:
    """Return the entries in a retained `info` of a station, the previous ones last.

    Args:
        topics: The base topic.
        topic: The topic of the message.
        payload: The payload of the message.
        client_ids: The MQTT client ids of this bridge.

    Returns:
        The entries; none if this bridge did not publish the message.
    """
    parsed = topics.read(topic)
    if parsed is None or parsed.field != "info" or not is_alias(parsed.station):
        return ()
    content = json_object(payload)
    if not _is_among(content.get("published_by"), client_ids):
        return ()
    entry = _station_entry(topics, parsed.station, content)
    if entry is None:
        return ()
    previous = (_station_entry(topics, parsed.station, each) for each in _objects(content.get("previous")))
    return (entry, *(each for each in previous if each is not None))


def read_bridge(topic: str, payload: bytes, client_ids: Container[object]) -> tuple[BridgeEntry, ...]:
    """Return the entries in a retained `bridge/info`, or in that of a shard, under any base topic.

    Args:
        topic: The topic of the message.
        payload: The payload of the message.
        client_ids: The MQTT client ids of this bridge.

    Returns:
        The entries, the previous ones last; none if this bridge did not publish the message.
    """
    if not _BRIDGE_INFO.search(topic):  # most belong to stations, and parsing 20,000 of them is slow
        return ()
    content = json_object(payload)
    entry = _bridge_entry(content)
    is_own = content.get("name") == _NAME and _is_among(content.get("client_id"), client_ids)
    if not is_own or entry is None or entry.topic != topic:
        return ()
    previous = (_bridge_entry(each) for each in _objects(content.get("previous")))
    return (entry, *(each for each in previous if each is not None))


def read_claim(topic: str, payload: bytes, client_id: str) -> tuple[int, Claim | None]:
    """Return the number of the shard to which an `info` of the bridge belongs, and the claim in it.

    Args:
        topic: The topic of the message.
        payload: The payload of the message.
        client_id: The MQTT client id of this bridge.

    Returns:
        The number, -1 if it is another topic, and the claim. `None`: the message has none, or another bridge published
        it.
    """
    match = _BRIDGE_INFO.search(topic)
    if match is None:
        return -1, None
    shard = int(match[1][1:]) if match[1] else 0
    content = json_object(payload)
    member, number, engine = (content.get(key) for key in ("holder", "claim", "engine"))
    if content.get("client_id") != client_id or not isinstance(member, str) or type(number) is not int:
        return shard, None
    return shard, Claim(shard, member, number, engine if isinstance(engine, str) else "")


def read_discovery_digest(payload: bytes) -> str:
    """Return what identifies the discovery of all stations of a shard, from its `info`; empty if it is incomplete."""
    digest = json_object(payload).get("discovery_digest")
    return digest if isinstance(digest, str) else ""


def _is_among(client_id: object, client_ids: Container[object]) -> bool:
    return isinstance(client_id, str) and client_id in client_ids


def _objects(content: object) -> Iterator[Mapping[str, object]]:
    """Yield the objects in a list of previous entries."""
    entries = content if isinstance(content, list) else []
    return (each for each in entries[:MAX_PREVIOUS] if isinstance(each, dict))


def _station_content(entry: StationEntry) -> dict[str, object]:
    labels = {uuid: label and label[:LONGEST_LABEL] for uuid, label in entry.labels.items()}
    plugs = {uuid: {"topic": topic_id, "label": labels[uuid]} for uuid, topic_id in entry.plugs.items()}
    return {"uuid": entry.uuid, "name": entry.name, "plugs": plugs}


def _station_locations(entry: StationEntry) -> dict[str, dict[str, str] | None]:
    return _recorded(entry.locations, (entry.uuid, *entry.plugs))


def _station_entry(topics: Topics, topic_id: str, content: Mapping[str, object]) -> StationEntry | None:
    uuid, plugs, name = content.get("uuid"), content.get("plugs"), content.get("name")
    if not isinstance(uuid, str) or not is_id(uuid) or not isinstance(plugs, dict) or len(plugs) > MAX_PLUGS:
        return None
    topic_ids: dict[str, str] = {}
    labels: dict[str, str | None] = {}
    for plug, about in plugs.items():
        match about:
            case {"topic": plug_topic_id, "label": None | str() as label} if (
                is_id(plug) and is_alias(plug_topic_id) and not _SURROGATE.search(label or "")
            ):
                topic_ids[plug], labels[plug] = plug_topic_id, label and label[:LONGEST_LABEL]
            case _:
                return None
    locations = locations_from_manifest(topics, content, (uuid, *topic_ids))
    return StationEntry(topics, topic_id, uuid, topic_ids, labels, locations, _name(name))


def _name(value: object) -> str:
    """Return the name of a station, cut, so that forged entries take little memory: nothing follows from it."""
    return value[:LONGEST_LABEL] if isinstance(value, str) else ""


def _bridge_content(entry: BridgeEntry) -> dict[str, object]:
    content: dict[str, object] = {"client_id": entry.client_id, "base_topic": entry.topics.base}
    return content | ({"shards": entry.shards} if entry.shards else {}) | _shard_content(entry.topics.shard)


def _shard_content(shard: int) -> dict[str, object]:
    return {"shard": shard} if shard else {}


def _claim_content(claim: Claim | None) -> dict[str, object]:
    if claim is None:
        return {}
    engine = {"engine": claim.engine} if claim.engine else {}
    return {"holder": claim.member, "claim": claim.number, **engine}


def _bridge_entry(content: Mapping[str, object]) -> BridgeEntry | None:
    client_id, base = content.get("client_id"), content.get("base_topic")
    if not isinstance(client_id, str) or not isinstance(base, str) or not is_prefix(base):
        return None
    shard, shards = (_number(content.get(key), MOST_SHARDS) for key in ("shard", "shards"))
    topics = Topics(base, shard)
    return BridgeEntry(topics, client_id, locations_from_manifest(topics, content), shards)


def _number(value: object, most: int) -> int:
    """Return a number from 0 to `most`; 0 for any other value."""
    return value if type(value) is int and 0 <= value <= most else 0


def _info(topic: str, content: dict[str, object], previous: list[dict[str, object]]) -> Message:
    """Return an `info`. Without previous entries, as most of the time, it has no key for them.

    The oldest ones come first, and only as many as fit: the others were published last, if at all.
    """
    del previous[MAX_PREVIOUS:]
    payload = json_payload({**content, "previous": previous} if previous else content)
    while previous and len(payload) > ENTRY_LIMIT - _TOPIC_RESERVE:
        previous.pop()
        payload = json_payload({**content, "previous": previous} if previous else content)
    return Message(topic, payload, JSON)


def _recorded(locations: tuple[Location, ...], uuids: Collection[str] = ()) -> dict[str, dict[str, str] | None]:
    """Return the keys of an entry that record the locations; `null` if an output is disabled."""
    recorded = {location.manifest_key: dict(location.manifest_value(uuids)) for location in locations}
    return {key: recorded.get(key) for key in MANIFEST_KEYS}
