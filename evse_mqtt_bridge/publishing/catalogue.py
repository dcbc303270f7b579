"""Lists the topics that a configuration publishes: one row per topic, from the same tables as the messages.

Whether a value may be used, and when it was measured, stands on other topics, which each row names:

- quality: the value may be used while that topic reads `online`. Values from an answer of the API depend on the
  `availability` of their plug; what the bridge reports about itself, a station or a plug depends on the bridge's.
- time: when the value was measured. Values from an answer have the `time` of their plug.

A plug that is not known by name appears as `{plug}` in topics, and as `{plug_uuid}` in those of discovery.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.contract import TopicRow
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Inventory", "catalogue", "symbolic"]

_PLUG, _PLUG_UUID = "{plug}", "{plug_uuid}"


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a configuration publishes.

    Attributes:
        topics: the base topic.
        client_id: the bridge's MQTT client id.
        qos: 0 to 2.
        stations: in the order of the configuration.
        locations: where the outputs publish, in the order of the rows.
        plugs: the plug uuids that are certain, by station uuid.
    """

    topics: Topics
    client_id: str
    qos: int
    stations: tuple[Station, ...] = ()
    locations: tuple[Location, ...] = ()
    plugs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def plugs_of(self, station: Station) -> tuple[str, ...]:
        """Return the uuids of a station's plugs: the certain ones, else those with an alias."""
        return self.plugs.get(station.uuid) or tuple(station.plugs)


def catalogue(inventory: Inventory) -> Iterator[TopicRow]:
    """Yield every topic that may be published: the bridge's, then for each station its own and those of its plugs."""
    for row in _rows(inventory):
        yield replace(row, qos=inventory.qos)


def _rows(inventory: Inventory) -> Iterator[TopicRow]:
    for location in inventory.locations:
        yield from location.bridge_rows(inventory.client_id)
    for station in inventory.stations:
        for location in inventory.locations:
            yield from location.station_rows(station)
        for uuid in inventory.plugs_of(station) or (_PLUG_UUID,):
            topic_id = station.plugs.get(uuid, _PLUG if uuid == _PLUG_UUID else uuid)
            for location in inventory.locations:
                yield from location.plug_rows(station, uuid, topic_id)


def symbolic(inventory: Inventory) -> Inventory:
    """Return an inventory with `{evse}` and `{plug}` (discovery: `{evse_uuid}`, `{plug_uuid}`) for all stations."""
    if not inventory.stations:
        return inventory
    station = Station(uuid="{evse_uuid}", interval=1, alias="{evse}", plugs={_PLUG_UUID: _PLUG})
    return replace(inventory, stations=(station,), plugs={})
