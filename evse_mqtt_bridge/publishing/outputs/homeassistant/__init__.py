"""What Home Assistant is told: discovery messages, one per entity or one per device, and how to change between the two.

Sources of the rules: Home Assistant's MQTT integration (schemas.py, discovery.py, entity.py, sensor.py), tried with
2026.11.0, and openHAB's copy of its 2025.4 schemas.

- `entities`: which entities a bridge, a station and a plug have.
- `discovery`: the messages for them, and the topics that those stand on.
- `migration`: from one form to the other with entities, ids and power_series kept.
"""

from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import (
    Discovery,
    Form,
    bridge,
    bridge_topics,
    plug,
    plug_topics,
    station,
    station_topics,
)
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import (
    BRIDGE_ENTITIES,
    PLUG_ENTITIES,
    STATION_ENTITIES,
    Entity,
)
from evse_mqtt_bridge.publishing.outputs.homeassistant.migration import migration, placeholder

__all__ = [
    "BRIDGE_ENTITIES",
    "PLUG_ENTITIES",
    "STATION_ENTITIES",
    "Discovery",
    "Entity",
    "Form",
    "bridge",
    "bridge_topics",
    "migration",
    "placeholder",
    "plug",
    "plug_topics",
    "station",
    "station_topics",
]
