"""Lists the topics that a configuration publishes: one row per topic, from the same tables as the messages.

Other topics report whether a value is valid and when it was measured. Each row names these topics:

- quality: the value is valid while this topic is `online`. Values from a response of the API depend on the
  `availability` of their plug. Values that the bridge itself determines depend on the bridge's `availability`, or on
  that of the shard of the station.
- time: when the value was measured. Values from a response have the `time` of their plug.

A plug whose ids are unknown appears as `{plug}` in plain topics, and as `{plug_uuid}` in discovery topics.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.domain.shards import shard_of
from evse_mqtt_bridge.publishing.contract import TopicRow
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Inventory", "catalogue", "symbolic"]

_PLUG, _PLUG_UUID = "{plug}", "{plug_uuid}"


@dataclass(frozen=True, slots=True)
class Inventory:
    """The inputs of the catalogue.

    Attributes:
        topics: The base topic.
        client_id: The bridge's MQTT client id.
        qos: 0 to 2.
        stations: In the order of the configuration.
        locations: The locations of the outputs, in the order of the rows.
        plugs: The known plug uuids, by station uuid.
        shards: The number of shards; 0: no fleet.
    """

    topics: Topics
    client_id: str
    qos: int
    stations: tuple[Station, ...] = ()
    locations: tuple[Location, ...] = ()
    plugs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shards: int = 0

    def plugs_of(self, station: Station) -> tuple[str, ...]:
        """Return the uuids of a station's plugs: the known ones, else those with an alias."""
        return self.plugs.get(station.uuid) or tuple(station.plugs)


def catalogue(inventory: Inventory) -> Iterator[TopicRow]:
    """Yield every topic that may be published: the bridge's, then for each station its own and those of its plugs."""
    for row in _rows(inventory):
        yield replace(row, qos=inventory.qos)


def _rows(inventory: Inventory) -> Iterator[TopicRow]:
    for location in inventory.locations:
        yield from location.bridge_rows(inventory.client_id)
    yield from _shard_rows(inventory)
    for station in inventory.stations:
        shard = shard_of(station.uuid, inventory.shards) if inventory.shards else 0
        locations = [location.of_shard(shard) for location in inventory.locations]
        for location in locations:
            yield from location.station_rows(station)
        for uuid in inventory.plugs_of(station) or (_PLUG_UUID,):
            topic_id = station.plugs.get(uuid, _PLUG if uuid == _PLUG_UUID else uuid)
            for location in locations:
                yield from location.plug_rows(station, uuid, topic_id)


def _shard_rows(inventory: Inventory) -> Iterator[TopicRow]:
    """Yield the topics of every shard but shard 0, which has those of the bridge."""
    for shard in range(1, inventory.shards):
        for location in inventory.locations:
            if not location.manifest_key:
                yield from location.of_shard(shard).bridge_rows(inventory.client_id)


def symbolic(inventory: Inventory) -> Inventory:
    """Return an inventory with `{evse}` and `{plug}` (discovery: `{evse_uuid}`, `{plug_uuid}`) for all stations."""
    if not inventory.stations:
        return inventory
    station = Station(uuid="{evse_uuid}", interval=1, alias="{evse}", plugs={_PLUG_UUID: _PLUG})
    return replace(inventory, stations=(station,), plugs={})
