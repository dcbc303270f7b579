"""Which entities a bridge, a station and a plug have in Home Assistant.

What explains an outage (status, reason, connection, time of the last measurement) stays visible through it and
depends on the bridge alone; what would mislead (measurements, flags) is unavailable meanwhile. Icons stand where Home
Assistant has no fitting one for the device class. `entity_category` is never `config`, which it refuses on sensors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason
from evse_mqtt_bridge.domain.statuses import STATUSES

__all__ = ["BRIDGE_ENTITIES", "PLUG_ENTITIES", "STATION_ENTITIES", "Entity"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a device.

    `platform` is Home Assistant's ("sensor", "binary_sensor"); `field` is the last level of the state topic and the
    key in ids; `options` is what else the platform's schema takes. A `live` entity is unavailable when its station or
    plug is.
    """

    platform: str
    field: str
    name: str
    options: Mapping[str, object]
    live: bool = False


def _measurement(field: str, name: str, device_class: str, unit: str, precision: int) -> Entity:
    options = {
        "device_class": device_class,
        "state_class": "measurement",
        "unit_of_measurement": unit,
        "suggested_display_precision": precision,
    }
    return Entity("sensor", field, name, options, live=True)


def _flag(field: str, name: str, device_class: str) -> Entity:
    options = {"device_class": device_class, "payload_on": "true", "payload_off": "false"}
    return Entity("binary_sensor", field, name, options, live=True)


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
    # Home Assistant refuses a word that is not among the options, with a warning, and goes on showing the one before;
    # statements instead of an inline `if`, which not every consumer's template engine knows
    words = list(STATUSES)
    options = {
        "device_class": "enum",
        "icon": "mdi:ev-station",
        "options": words,
        "value_template": f"{{% if value in {words} %}}{{{{ value }}}}{{% else %}}unknown{{% endif %}}",
    }
    return Entity("sensor", "status", "Status", options)


_TIME = Entity("sensor", "time", "Last measurement", {"device_class": "timestamp", "entity_category": "diagnostic"})


BRIDGE_ENTITIES = (_connection(),)
"""The bridge itself."""

STATION_ENTITIES = (
    _connection(),
    _reason(STATION_REASONS),
)
"""A charging station: whether and why not the cloud answers for it."""

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
