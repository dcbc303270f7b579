"""What Home Assistant is told: one discovery message per entity, or one per device.

Sources of the rules: Home Assistant's MQTT integration (schemas.py, sensor.py, discovery.py, entity.py) and openHAB's
copy of its 2025.4 schemas.

- Devices are the bridge, each station (`via_device` the bridge) and each plug (`via_device` its station). Device ids,
  unique ids and discovery topics are made of uuids and the client id alone, and are the same in both forms, so that
  neither an alias, a name nor the form costs an entity its history.
- Text from outside only ever stands in device names. No template contains any.
- `live` entities are unavailable unless bridge, station and plug are available. What explains an outage (status,
  reason, connection, time of the last measurement) depends on the bridge alone.
- Entity form: every message has its own availability list, mode, qos, device and origin, since openHAB keeps one
  availability tracker per thing and older consumers know nothing else. Both consumers drop root keys that they do not
  know there, so `default_entity_id` (Home Assistant 2025.10) does no harm; `object_id`, which it replaces, makes Home
  Assistant log a complaint from 2025.10 and is ignored from 2026.4, so it is left out. Keys unknown to `device` and
  `origin` are refused by both.
- Device form: availability, mode and qos stand once at the root and are inherited; unknown root keys are refused.

Changing the form
-----------------
The two forms of one device must never be retained at once while Home Assistant has loaded the other one. For each
bridge, station and plug, in any order, with a pause after each step so that Home Assistant has finished it:

1. `migration(old topics)`: Home Assistant unloads the entities and keeps their registry entries.
2. `placeholder(old topics)`: nothing for topics of the entity form; see the function for the device form.
3. An empty payload on each of the old topics.
4. The new form's messages.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from evse_mqtt_bridge.core.model import Message, Reason, Station
from evse_mqtt_bridge.core.status import STATUSES
from evse_mqtt_bridge.core.text import clean
from evse_mqtt_bridge.core.topics import Topics

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

Form = Literal["entity", "device"]
"""One message per entity, or one per device."""

_ORIGIN = "evse-mqtt-bridge"
_SHORT = 8
"""How many characters of a uuid stand in a name where there is nothing better."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where and how discovery is published.

    `prefix` is the discovery prefix, `qos` the one that Home Assistant subscribes with, `bridge_id` the MQTT client id,
    `version` the bridge's.
    """

    topics: Topics
    prefix: str
    form: Form
    qos: int
    bridge_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a device.

    `component` is Home Assistant's platform, `field` the last level of the state topic and the key in ids, `options`
    what else the platform's schema takes. `live` entities are unavailable when their device is.
    """

    component: str
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
    # a word that is not among the options would be refused with a warning and leave the old state standing
    words = list(STATUSES)
    options = {
        "device_class": "enum",
        "icon": "mdi:ev-station",
        "options": words,
        "value_template": f"{{% if value in {words} %}}{{{{ value }}}}{{% else %}}unknown{{% endif %}}",
    }
    return Entity("sensor", "status", "Status", options)


_PLUG_REASONS = (Reason.OFFLINE, Reason.CLOUD_OFFLINE, Reason.STALE, Reason.MISSING)
"""What never stands on a station's topic."""

BRIDGE_ENTITIES = (_connection(),)

STATION_ENTITIES = (
    _connection(),
    _reason(reason for reason in Reason if reason not in _PLUG_REASONS),
)

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
    Entity(
        "sensor", "time", "Last measurement", {"device_class": "timestamp", "entity_category": "diagnostic"}, live=False
    ),
    _reason(Reason),
)


@dataclass(frozen=True, slots=True)
class _Device:
    """One device: `info` is what Home Assistant shows of it, `handle` begins its entity ids where it is not empty.

    `state` is the prefix of its state topics; `always` and `live` are the availability topics of its entities.
    """

    id: str
    info: Mapping[str, object]
    entities: tuple[Entity, ...]
    state: str
    always: tuple[str, ...]
    live: tuple[str, ...]
    handle: str


def bridge(discovery: Discovery) -> tuple[Message, ...]:
    """The bridge's device; to be published before the stations'."""
    device_id = _bridge_id(discovery.bridge_id)
    name = clean(discovery.bridge_id) or _ORIGIN
    info = {
        "identifiers": [device_id],
        "name": "EVSE MQTT Bridge" if name == _ORIGIN else name,
        "model": "Cloud to MQTT bridge",
        "sw_version": discovery.version,
    }
    state = discovery.topics.availability.removesuffix("availability")
    # no availability list: its only entity says itself whether the bridge is there
    return _messages(discovery, _Device(device_id, info, BRIDGE_ENTITIES, state, (), (), ""))


def station(discovery: Discovery, station: Station) -> tuple[Message, ...]:
    """A station's device; to be published before its plugs'."""
    info = {
        "identifiers": [_station_id(station.uuid)],
        "name": _title(station),
        "model": "Charging station",
        "serial_number": station.uuid,
        "via_device": _bridge_id(discovery.bridge_id),
    }
    state = discovery.topics.station(station.topic_id)
    always = (discovery.topics.availability,)
    device = _Device(_station_id(station.uuid), info, STATION_ENTITIES, state, always, always, station.alias)
    return _messages(discovery, device)


def plug(discovery: Discovery, station: Station, plug_uuid: str, label: str | None) -> tuple[Message, ...]:
    """A plug's device; `label` is the vendor's, of any content."""
    alias = station.plugs.get(plug_uuid, "")
    device_id = _plug_id(station.uuid, plug_uuid)
    info = {
        "identifiers": [device_id],
        "name": f"{_title(station)} {clean(label or '') or alias or plug_uuid[:_SHORT]}",
        "model": "Plug",
        "serial_number": plug_uuid,
        "via_device": _station_id(station.uuid),
    }
    topics = discovery.topics
    state = topics.plug(station.topic_id, alias or plug_uuid)
    always = (topics.availability,)
    live = (topics.availability, topics.station(station.topic_id, "availability"), f"{state}availability")
    handle = f"{station.alias}_{alias}" if station.alias and alias else ""
    return _messages(discovery, _Device(device_id, info, PLUG_ENTITIES, state, always, live, handle))


def bridge_topics(prefix: str, form: Form, bridge_id: str) -> tuple[str, ...]:
    """The discovery topics of a bridge; `bridge_id` is its client id."""
    return _topics(prefix, form, _bridge_id(bridge_id), BRIDGE_ENTITIES)


def station_topics(prefix: str, form: Form, station_uuid: str) -> tuple[str, ...]:
    """The discovery topics of a station, without its plugs'."""
    return _topics(prefix, form, _station_id(station_uuid), STATION_ENTITIES)


def plug_topics(prefix: str, form: Form, station_uuid: str, plug_uuid: str) -> tuple[str, ...]:
    """The discovery topics of a plug."""
    return _topics(prefix, form, _plug_id(station_uuid, plug_uuid), PLUG_ENTITIES)


def migration(topics: Iterable[str]) -> tuple[Message, ...]:
    """Step 1 of changing the form: unloads what was discovered on `topics`, and keeps its registry entries."""
    return tuple(Message(topic, b'{"migrate_discovery":true}', json=True) for topic in topics)


def placeholder(topics: Iterable[str]) -> tuple[Message, ...]:
    """Step 2 of changing the form: makes topics of the device form fit to be cleared; nothing for the entity form's.

    Home Assistant warns when a device topic is cleared under which it knows no component, and again, for each entity,
    when it is cleared after the entity form has been loaded. So the emptied topic gets one component that leaves no
    trace, a tag scanner on a topic that nobody publishes, and it is this that clearing removes.
    """
    return tuple(_placeholder(topic) for topic in topics if topic.split("/")[-3] == "device")


def _placeholder(topic: str) -> Message:
    content = {
        "device": {"identifiers": [topic.split("/")[-2]]},
        "origin": {"name": _ORIGIN},
        "components": {"migration": {"platform": "tag", "topic": f"{topic.removesuffix('config')}migration"}},
    }
    return Message(topic, _dump(content), json=True)


def _messages(discovery: Discovery, device: _Device) -> tuple[Message, ...]:
    origin = {"name": _ORIGIN, "sw_version": discovery.version}
    shared = {"qos": discovery.qos, "device": device.info, "origin": origin}
    topics = _topics(discovery.prefix, discovery.form, device.id, device.entities)
    if discovery.form == "entity":
        payloads = [
            {**_config(device, entity), **_availability(device.live if entity.live else device.always), **shared}
            for entity in device.entities
        ]
    else:
        components = {
            entity.field: {
                "platform": entity.component,
                **_config(device, entity),
                # what is not live must not inherit the root's list
                **({} if entity.live else _availability(device.always)),
            }
            for entity in device.entities
        }
        payloads = [{**shared, **_availability(device.live), "components": components}]
    return tuple(Message(topic, _dump(payload), json=True) for topic, payload in zip(topics, payloads, strict=True))


def _config(device: _Device, entity: Entity) -> dict[str, object]:
    config = {
        "name": entity.name,
        "unique_id": f"{device.id}_{entity.field}",
        "state_topic": device.state + entity.field,
        **entity.options,
    }
    if device.handle:  # without aliases Home Assistant makes the entity id of device and entity name
        config["default_entity_id"] = f"{entity.component}.{re.sub('[ -]', '_', f'{device.handle}_{entity.name}'.lower())}"
    return config


def _availability(topics: tuple[str, ...]) -> dict[str, object]:
    if not topics:
        return {}
    return {"availability": [{"topic": topic} for topic in topics], "availability_mode": "all"}


def _topics(prefix: str, form: Form, device_id: str, entities: tuple[Entity, ...]) -> tuple[str, ...]:
    if form == "device":
        return (f"{prefix}/device/{device_id}/config",)
    return tuple(f"{prefix}/{entity.component}/{device_id}/{entity.field}/config" for entity in entities)


def _title(station: Station) -> str:
    return clean(station.name) or station.alias or f"EVSE {station.uuid[:_SHORT]}"


def _bridge_id(client_id: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", client_id)
    if cleaned != client_id:  # two client ids must never share a device
        cleaned += "_" + hashlib.sha256(client_id.encode(errors="replace")).hexdigest()[:_SHORT]
    return f"evse_bridge_{cleaned}"


def _station_id(uuid: str) -> str:
    return f"evse_{uuid}"


def _plug_id(station_uuid: str, plug_uuid: str) -> str:
    return f"evse_{station_uuid}_{plug_uuid}"


def _dump(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
