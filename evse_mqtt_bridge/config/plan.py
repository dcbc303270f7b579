"""Derives the publishing plan from a configuration."""

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["publishing_plan"]


def publishing_plan(config: Config) -> Plan:
    """Return the stations, topics and rules of a configuration, without connections and secrets."""
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
