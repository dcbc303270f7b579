"""Which topics a configuration publishes: one row a topic, made from the same tables as the messages.

What a value is worth stands on other topics, which each row names:

- quality: use the value while that topic says `online`. What comes from an answer of the API depends on its plug's
  `availability`; what the bridge says of itself, of a station or of a plug depends on the bridge's.
- time: when the value was measured. What comes from an answer has its plug's `time`.

A plug that neither the configuration nor anybody else names stands as `{plug}` in topics, and as `{plug_uuid}` in
those of discovery.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.contract import BRIDGE_FIELDS, PLUG_FIELDS, READING_FIELDS, STATION_FIELDS, Field, Kind
from evse_mqtt_bridge.publishing.manifest import DiscoveryPlace
from evse_mqtt_bridge.publishing.outputs import homeassistant
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Inventory", "Owner", "Row", "catalogue", "symbolic"]

Owner = Literal["bridge", "station", "plug"]
"""What a topic tells something of."""

_PLUG, _PLUG_UUID = "{plug}", "{plug_uuid}"
_FROM_ANSWER = frozenset(field.name for field in READING_FIELDS)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a configuration has to publish; `plugs` maps station uuids to the plug uuids that are known for certain."""

    topics: Topics
    client_id: str
    qos: int
    stations: tuple[Station, ...] = ()
    discovery: DiscoveryPlace | None = None
    plugs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def plugs_of(self, station: Station) -> tuple[str, ...]:
        """The uuids of a station's plugs: those that are certain, else those that have an alias."""
        return self.plugs.get(station.uuid) or tuple(station.plugs)


@dataclass(frozen=True, slots=True)
class Row:
    """One retained topic.

    `channel` names its place in the contract (`plug.power`), the same for every plug; `device` says in words whose it
    is. `unit` is empty where there is none, as are `quality` and `time`, which are topics. `qos` is 0 to 2.
    """

    channel: str
    topic: str
    kind: Kind
    unit: str
    description: str
    device: str
    quality: str
    time: str
    qos: int
    retained: bool = True


def catalogue(inventory: Inventory) -> Iterator[Row]:
    """Every topic that may be published: the bridge's, then each station's with its plugs', discovery last of each."""
    yield from _bridge_rows(inventory)
    for station in inventory.stations:
        yield from _station_rows(inventory, station)
        for uuid in inventory.plugs_of(station) or (_PLUG_UUID,):
            topic_id = station.plugs.get(uuid, _PLUG if uuid == _PLUG_UUID else uuid)
            yield from _plug_rows(inventory, station, uuid, topic_id)


def symbolic(inventory: Inventory) -> Inventory:
    """The same with `{evse}` and `{plug}` (in discovery `{evse_uuid}` and `{plug_uuid}`) for all stations and plugs."""
    if not inventory.stations:
        return inventory
    one = Station(uuid="{evse_uuid}", interval=1, alias="{evse}", plugs={_PLUG_UUID: _PLUG})
    return replace(inventory, stations=(one,), plugs={})


def _bridge_rows(inventory: Inventory) -> Iterator[Row]:
    bridge = inventory.topics.availability.removesuffix("availability")
    for each in BRIDGE_FIELDS:
        yield _row(inventory, "bridge", bridge, each, "bridge")
    if (place := inventory.discovery) is not None:
        topics = homeassistant.bridge_topics(place.prefix, place.form, inventory.client_id)
        yield from _discovery_rows(inventory, "bridge", topics, "bridge")


def _station_rows(inventory: Inventory, station: Station) -> Iterator[Row]:
    for each in STATION_FIELDS:
        yield _row(inventory, "station", inventory.topics.station(station.topic_id), each, station.title)
    if (place := inventory.discovery) is not None:
        topics = homeassistant.station_topics(place.prefix, place.form, station.uuid)
        yield from _discovery_rows(inventory, "station", topics, station.title)


def _plug_rows(inventory: Inventory, station: Station, uuid: str, topic_id: str) -> Iterator[Row]:
    device = f"{station.title} {topic_id}"
    for each in PLUG_FIELDS:
        yield _row(inventory, "plug", inventory.topics.plug(station.topic_id, topic_id), each, device)
    if (place := inventory.discovery) is not None:
        topics = homeassistant.plug_topics(place.prefix, place.form, station.uuid, uuid)
        yield from _discovery_rows(inventory, "plug", topics, device)


def _row(inventory: Inventory, owner: Owner, prefix: str, each: Field, device: str) -> Row:
    topic = prefix + each.name
    measured = owner == "plug" and each.name in _FROM_ANSWER
    quality = f"{prefix}availability" if measured else inventory.topics.availability
    return Row(
        channel=f"{owner}.{each.name}",
        topic=topic,
        kind=each.kind,
        unit=each.unit,
        description=each.description,
        device=device,
        quality="" if topic == quality else quality,
        time=f"{prefix}time" if measured and each.kind is not Kind.TIME else "",
        qos=inventory.qos,
    )


def _discovery_rows(inventory: Inventory, owner: Owner, topics: tuple[str, ...], device: str) -> Iterator[Row]:
    """Channels `discovery.plug.power` in the entity form, `discovery.plug` in the device form."""
    for topic in topics:
        entity = inventory.discovery is not None and inventory.discovery.form == "entity"
        name = topic.split("/")[-2] if entity else ""
        yield Row(
            channel=f"discovery.{owner}.{name}" if entity else f"discovery.{owner}",
            topic=topic,
            kind=Kind.JSON,
            unit="",
            description=f"Home Assistant discovery of `{name}`"
            if entity
            else f"Home Assistant discovery of the {owner}",
            device=device,
            quality="",
            time="",
            qos=inventory.qos,
        )
