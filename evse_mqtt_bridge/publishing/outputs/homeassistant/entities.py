"""The entities of a bridge, a station and a plug in Home Assistant.

Entities that explain an outage (status, reason, connection, time of the last measurement) stay available during it and
depend on the bridge only. Entities that would mislead (measurements, flags) are unavailable meanwhile. An entity has an
icon if Home Assistant has no suitable one for the device class. `entity_category` is never `config`, which Home
Assistant rejects on sensors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES

__all__ = ["BRIDGE_ENTITIES", "PLUG_ENTITIES", "STATION_ENTITIES", "Entity"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a device.

    Attributes:
        platform: Home Assistant's name of the platform, such as "sensor" or "binary_sensor".
        field: The last level of the state topic, and the key in ids.
        name: The display name in Home Assistant.
        options: Further keys of the platform's schema.
        follows_availability: Whether the entity becomes unavailable together with its station or plug.
    """

    platform: str
    field: str
    name: str
    options: Mapping[str, object]
    follows_availability: bool = False


def _measurement(field: str, name: str, device_class: str, unit: str, precision: int) -> Entity:
    options = {
        "device_class": device_class,
        "state_class": "measurement",
        "unit_of_measurement": unit,
        "suggested_display_precision": precision,
    }
    return Entity("sensor", field, name, options, follows_availability=True)


def _flag(field: str, name: str, device_class: str) -> Entity:
    options = {"device_class": device_class, "payload_on": "true", "payload_off": "false"}
    return Entity("binary_sensor", field, name, options, follows_availability=True)


def _connection() -> Entity:
    options = {
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "payload_on": "online",
        "payload_off": "offline",
    }
    return Entity("binary_sensor", "availability", "Connection", options)


def _reason(reasons: Iterable[Reason]) -> Entity:
    options = {
        "device_class": "enum",
        "entity_category": "diagnostic",
        "icon": "mdi:information-outline",
        "options": [reason.value for reason in reasons],
    }
    return Entity("sensor", "availability_reason", "Availability reason", options)


def _status() -> Entity:
    # Home Assistant rejects a value that is not among the options, with a warning, and keeps the previous one.
    # The template has statements instead of an inline `if`, because not every consumer's template engine has one.
    statuses = list(STATUSES)
    options = {
        "device_class": "enum",
        "icon": "mdi:ev-station",
        "options": statuses,
        "value_template": f"{{% if value in {statuses} %}}{{{{ value }}}}{{% else %}}unknown{{% endif %}}",
    }
    return Entity("sensor", "status", "Status", options)


_TIME = Entity("sensor", "time", "Last measurement", {"device_class": "timestamp", "entity_category": "diagnostic"})


BRIDGE_ENTITIES = (_connection(),)
"""The bridge itself."""

STATION_ENTITIES = (
    _connection(),
    _reason(STATION_REASONS),
)
"""A charging station: whether it is available, and why it is not."""

PLUG_ENTITIES = (
    _status(),
    _measurement("power", "Power", "power", "W", 0),
    _measurement("current_l1", "Current L1", "current", "A", 1),
    _measurement("current_l2", "Current L2", "current", "A", 1),
    _measurement("current_l3", "Current L3", "current", "A", 1),
    _measurement("dyn_current_limit", "Current limit", "current", "A", 1),
    _flag("charging", "Charging", "battery_charging"),
    _flag("vehicle_connected", "Vehicle connected", "plug"),
    _flag("problem", "Problem", "problem"),
    _TIME,
    _reason(Reason),
)
"""One plug of a station."""
