"""The output that publishes discovery for Home Assistant."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.protocol import DISCOVERY, Part

__all__ = ["HomeAssistant"]


@dataclass(frozen=True, slots=True)
class HomeAssistant:
    """Renders discovery messages."""

    discovery: Discovery

    @property
    def location(self) -> DiscoveryLocation:
        """The prefix and the form."""
        return DiscoveryLocation(self.discovery.prefix, self.discovery.form)

    def bridge(self, part: Part) -> Iterable[Message]:
        """Return the messages of the bridge's device, which shard 0 publishes for all shards."""
        is_due = part is DISCOVERY and not self.discovery.topics.shard
        return discovery.bridge(self.discovery) if is_due else ()

    def station(self, part: Part, station: Station, old: StationState | None, new: StationState) -> Iterable[Message]:
        """Return the messages of the station's device if `old` is `None`, and of new and relabelled plugs."""
        return self._devices(station, old, new) if part is DISCOVERY else ()

    def _devices(self, station: Station, old: StationState | None, new: StationState) -> Iterator[Message]:
        if old is None:
            yield from discovery.station(self.discovery, station)
        for uuid, plug in new.plugs.items():
            before = old.plugs.get(uuid) if old else None
            if before is None or before.label != plug.label:
                yield from discovery.plug(self.discovery, station, uuid, plug.label)
