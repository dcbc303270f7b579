"""The entities of a bridge, a station and a plug in Home Assistant.

Entities that explain an outage (reason, connection, time of the last measurement) stay available during it, and depend
on the bridge only. Entities that would mislead (measurements, flags) are unavailable meanwhile. So is the status,
unless it is the outage itself. An entity of a plug is also unavailable while its value is unknown, because the topic of
the value keeps the last known one.

An entity has an icon if Home Assistant has no suitable one for the device class. `entity_category` is never `config`,
which Home Assistant rejects on sensors.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from evse_mqtt_bridge.domain.model import STATION_REASONS, Reason
from evse_mqtt_bridge.domain.sessions import SessionEvent
from evse_mqtt_bridge.domain.statuses import STATUSES, meaning
from evse_mqtt_bridge.publishing.payloads import json_members, json_text

__all__ = ["BRIDGE_ENTITIES", "PLUG_ENTITIES", "STATION_ENTITIES", "EncodedEntity", "Entity"]


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a device.

    Attributes:
        platform: Home Assistant's name of the platform, such as "sensor" or "binary_sensor".
        field: The last level of the state topic, and the key in ids.
        name: The display name in Home Assistant.
        options: Further keys of the platform's schema.
        follows_availability: Whether the entity becomes unavailable together with its station or plug.
        availability_template: A template that derives `online` or `offline` from the plug's `state`; empty: none.
        encoded: What all devices have in common, encoded once.
    """

    platform: str
    field: str
    name: str
    options: Mapping[str, object]
    follows_availability: bool = False
    availability_template: str = ""
    encoded: "EncodedEntity" = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        template = json_text(self.availability_template) if self.availability_template else ""
        options = f",{json_members(self.options)}" if self.options else ""
        encoded = EncodedEntity(
            before_id=f'"name":{json_text(self.name)},"unique_id":"',
            after_id=f'_{self.field}","state_topic":"',
            after_state_prefix=f'{self.field}"{options}',
            availability_template=template,
        )
        object.__setattr__(self, "encoded", encoded)


@dataclass(frozen=True, slots=True)
class EncodedEntity:
    """The configuration of an entity as JSON, without what differs between devices.

    Attributes:
        before_id: The text before the id of the device.
        after_id: The text between the id of the device and the prefix of its state topics.
        after_state_prefix: The text after this prefix, with the options.
        availability_template: The template; empty: none.
    """

    before_id: str
    after_id: str
    after_state_prefix: str
    availability_template: str


def _measurement(field: str, name: str, device_class: str, unit: str, precision: int) -> Entity:
    options = {
        "device_class": device_class,
        "state_class": "measurement",
        "unit_of_measurement": unit,
        "suggested_display_precision": precision,
    }
    return _live(Entity("sensor", field, name, options))


def _flag(field: str, name: str, device_class: str) -> Entity:
    options = {"device_class": device_class, "payload_on": "true", "payload_off": "false"}
    return _live(Entity("binary_sensor", field, name, options))


def _live(entity: Entity) -> Entity:
    template = _offline_if(f"value_json.{entity.field} is none")
    return replace(entity, follows_availability=True, availability_template=template)


def _offline_if(condition: str) -> str:
    """Return a template that yields `offline` if a condition on `value_json` is true.

    Only Home Assistant defines `entity_id`. openHAB uses the availability of one entity for all, so there the template
    yields `online`. `value_json` is undefined for the empty payload that clears `state`.
    """
    is_state = "entity_id is defined and value_json is defined"
    return f"{{% if {is_state} and ({condition}) %}}offline{{% else %}}online{{% endif %}}"


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
    # The reasons with which the status is current: an outage that the vendor reports is a status.
    reasons = [Reason.ONLINE.value, *(reason.value for word in statuses if (reason := meaning(word).unavailable))]
    template = _offline_if(f"not value_json.status or value_json.availability_reason not in {reasons}")
    return Entity("sensor", "status", "Status", options, availability_template=template)


def _time() -> Entity:
    # It changes once per heartbeat, so that Home Assistant would store 1,440 rows per plug and day.
    options = {"device_class": "timestamp", "entity_category": "diagnostic", "enabled_by_default": False}
    # After a restart during an outage, `state` has no time, but the topic still has the right one.
    template = _offline_if("value_json.time is none and value_json.availability == 'online'")
    return Entity("sensor", "time", "Last measurement", options, availability_template=template)


def _energy(field: str, name: str, *, is_enabled: bool = True) -> Entity:
    """Return a counter of energy. It stays available during an outage, because a count does not become wrong."""
    options: dict[str, object] = {
        "device_class": "energy",
        "state_class": "total_increasing",
        "unit_of_measurement": "kWh",
        "suggested_display_precision": 2,
    }
    return Entity("sensor", field, name, options if is_enabled else options | {"enabled_by_default": False})


def _energy_gap() -> Entity:
    options = {
        "device_class": "duration",
        "state_class": "total_increasing",
        "unit_of_measurement": "s",
        "suggested_display_precision": 0,
        "entity_category": "diagnostic",
        "enabled_by_default": False,
    }
    return Entity("sensor", "energy_gap", "Energy gap", options)


def _session_event() -> Entity:
    options = {"icon": "mdi:ev-plug-type2", "event_types": [event.value for event in SessionEvent]}
    return Entity("event", "session_event", "Session", options)


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
    _energy("energy", "Energy"),
    _energy("energy_discharged", "Energy discharged", is_enabled=False),
    _energy_gap(),
    _energy("session_energy", "Session energy"),
    _session_event(),
    _time(),
    _reason(Reason),
)
"""One plug of a station."""
