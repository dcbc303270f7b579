"""Identifies parts of a configuration, so that members of a fleet can compare theirs."""

import hashlib
import json

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.schema import Config

__all__ = ["configuration_digest", "discovery_digest"]


def configuration_digest(config: Config) -> str:
    """Return a digest of stations, topics and discovery.

    Members of a fleet with the same digest publish and clear the same topics. Connections, secrets and settings of the
    machine are not part of it.
    """
    return _digest(
        {
            "base_topic": config.mqtt.base_topic,
            "client_id": config.mqtt.client_id,
            "homeassistant": config.homeassistant.model_dump(mode="json"),
            "stations": sorted(
                (entry.uuid, entry.alias, entry.name, sorted(entry.plugs.items()), sorted(entry.plug_names.items()))
                for entry in config.stations
            ),
        }
    )


def discovery_digest(config: Config) -> str:
    """Return a digest of everything that the discovery messages of a station contain, beside the station itself."""
    return _digest(
        {
            "version": __version__,
            "base_topic": config.mqtt.base_topic,
            "client_id": config.mqtt.client_id,
            "qos": config.mqtt.qos,
            "homeassistant": config.homeassistant.model_dump(mode="json"),
            "page": config.http.page_url,
        }
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
