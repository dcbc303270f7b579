"""The publishing plan: which stations the bridge publishes, by which rules, and under which topics."""

from collections.abc import Mapping
from dataclasses import dataclass

from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.manifest import DiscoveryPlace
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration asks of the bridge; `stations` by uuid."""

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    rules: Rules
    discovery: Discovery | None = None
    birth_topic: str = ""

    @property
    def place(self) -> DiscoveryPlace | None:
        """Where discovery is published."""
        return DiscoveryPlace(self.discovery.prefix, self.discovery.form) if self.discovery else None
