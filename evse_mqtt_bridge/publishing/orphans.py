"""Which retained topics are this bridge's and not of its configuration: what `purge` shows and clears.

Three things prove that a topic is the bridge's: an `info` that names its client id; a plug's `state` whose keys are
exactly the contract's; a discovery payload of its origin that names its availability topic. Nothing else is touched.
A base topic is one bridge's, whatever its client id was; another bridge may stand below it, with a base of its own.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.contract import PLUG_FIELDS, STATION_FIELDS
from evse_mqtt_bridge.publishing.manifest import (
    BridgeEntry,
    DiscoveryPlace,
    StationEntry,
    json_object,
    read_bridge,
    read_station,
)
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import ORIGIN
from evse_mqtt_bridge.publishing.topics import PlugPlace, Topics

__all__ = ["Holding", "is_online", "orphans"]

_STATE_KEYS = frozenset(field.name for field in PLUG_FIELDS) - {"state"}


@dataclass(frozen=True, slots=True)
class Holding:
    """What a configuration says is the bridge's; `stations` by uuid."""

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    discovery: DiscoveryPlace | None
    discovery_prefix: str

    @property
    def filters(self) -> list[str]:
        """The subscriptions that yield whatever may be left."""
        return [f"{self.topics.base}/#", f"{self.discovery_prefix}/+/+/config", f"{self.discovery_prefix}/+/+/+/config"]


def orphans(retained: Mapping[str, bytes], holding: Holding, *, everything: bool = False) -> list[str]:
    """The topics to clear, sorted; with `everything` also what the configuration has, for a bridge that is given up."""
    entries = [entry for item in retained.items() if (entry := read_station(holding.topics, *item, holding.client_id))]
    bridges = [bridge for item in retained.items() if (bridge := read_bridge(*item, holding.client_id))]
    ours = {topic for entry in entries for topic in entry.all_topics()}
    ours.update(topic for bridge in bridges for topic in bridge.all_topics())
    if not _is_anothers(retained, holding):
        ours.update(_proven_by_state(retained, holding.topics))
        ours.update(_proven_by_discovery(retained, holding.topics))
        ours.update(BridgeEntry(holding.topics, holding.client_id, holding.discovery).all_topics())
    kept = () if everything else _kept(entries, retained, holding)
    return sorted(((ours & retained.keys()) | _unseen((*entries, *bridges), retained)) - set(kept))


def _unseen(entries: Iterable[StationEntry | BridgeEntry], retained: Mapping[str, bytes]) -> set[str]:
    """Discovery that an `info` tells of, and of which nothing is seen: a user may be allowed to write there alone."""
    told = (set(entry.discovery_topics()) for entry in entries)
    return {topic for topics in told if not topics & retained.keys() for topic in topics}


def is_online(retained: Mapping[str, bytes], holding: Holding) -> bool:
    """Whether the broker says that the bridge of this configuration is online; it says so until the will comes."""
    return not _is_anothers(retained, holding) and retained.get(holding.topics.availability) == b"online"


def _is_anothers(retained: Mapping[str, bytes], holding: Holding) -> bool:
    """Whether a bridge with another client id is at this base, or was last: what looks like ours may be its."""
    told = json_object(retained.get(holding.topics.info, b"")).get("client_id")
    return told not in (None, holding.client_id)


def _kept(entries: list[StationEntry], retained: Mapping[str, bytes], holding: Holding) -> Iterator[str]:
    """What has its place in the configuration; which plugs a station has, only the broker tells here."""
    yield from BridgeEntry(holding.topics, holding.client_id, holding.discovery).all_topics()
    by_id = {station.topic_id: station for station in holding.stations.values()}
    told = {entry.topic_id for entry in entries}
    for entry in entries:
        station = by_id.get(entry.topic_id)
        if station is not None and station.uuid == entry.uuid:
            plugs = {
                uuid: topic
                for uuid, topic in entry.plugs.items()
                if station.plugs.get(uuid, uuid) == topic and not station.has_no_topic_for(uuid)
            }
            yield from replace(entry, plugs=plugs, discovery=holding.discovery).all_topics()
    for topic in retained:
        place = holding.topics.read(topic)
        if place is not None and place.station in by_id and place.station not in told:
            yield topic


def _proven_by_state(retained: Mapping[str, bytes], topics: Topics) -> Iterator[str]:
    for topic, payload in retained.items():
        place = topics.read(topic)
        if isinstance(place, PlugPlace) and place.field == "state" and json_object(payload).keys() == _STATE_KEYS:
            yield from (topics.plug(place.station, place.plug, field.name) for field in PLUG_FIELDS)
            yield from (topics.station(place.station, field.name) for field in STATION_FIELDS)


def _proven_by_discovery(retained: Mapping[str, bytes], topics: Topics) -> Iterator[str]:
    named = json.dumps(topics.availability, ensure_ascii=False).encode()
    for topic, payload in retained.items():
        if topic.endswith("/config") and named in payload:
            match json_object(payload):
                case {"origin": {"name": str(name)}} if name == ORIGIN:
                    yield topic
