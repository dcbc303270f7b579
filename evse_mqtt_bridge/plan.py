"""What a configuration asks of the bridge: the stations, by which rules they are judged, and where all is said."""

from collections.abc import Mapping
from dataclasses import dataclass

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.core.homeassistant import Discovery
from evse_mqtt_bridge.core.ledger import DiscoveryPlace
from evse_mqtt_bridge.core.model import Station
from evse_mqtt_bridge.core.station import Rules
from evse_mqtt_bridge.core.topics import Topics

__all__ = ["Plan", "plan_of"]


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


def plan_of(config: Config) -> Plan:
    """The plan of a configuration."""
    topics = Topics(config.mqtt.base_topic)
    settings = config.homeassistant
    discovery = Discovery(
        topics=topics,
        prefix=settings.discovery_prefix,
        form=settings.discovery,
        qos=config.mqtt.qos,
        bridge_id=config.mqtt.client_id,
        version=__version__,
    )
    return Plan(
        topics=topics,
        client_id=config.mqtt.client_id,
        stations={entry.uuid: entry.station(config.polling) for entry in config.stations},
        rules=Rules(config.polling.offline_after, config.polling.stale_after, config.polling.heartbeat),
        discovery=discovery if settings.enabled else None,
        birth_topic=settings.status_topic if settings.enabled else "",
    )
