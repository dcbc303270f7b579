"""Identifies the part of a configuration that determines on which topics the bridge publishes."""

import hashlib
import json

from evse_mqtt_bridge.config.schema import Config

__all__ = ["configuration_digest"]


def configuration_digest(config: Config) -> str:
    """Return a digest of stations, topics and discovery.

    Members of a fleet with the same digest publish and clear the same topics. Connections, secrets and settings of the
    machine are not part of it.
    """
    content = {
        "base_topic": config.mqtt.base_topic,
        "client_id": config.mqtt.client_id,
        "homeassistant": config.homeassistant.model_dump(mode="json"),
        "stations": sorted(
            (entry.uuid, entry.alias, entry.name, sorted(entry.plugs.items()), sorted(entry.plug_names.items()))
            for entry in config.stations
        ),
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
