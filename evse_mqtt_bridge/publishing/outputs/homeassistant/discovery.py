"""Discovery messages for the bridge, a station and a plug, and the topics that they stand on.

- Device ids, unique ids and topics are made of uuids and the client id alone, and are the same in both forms, so that
  neither an alias, a name nor the form costs an entity its history. Text from outside stands in names only, cleaned.
- Each plug is a device below its station's, which is one below the bridge's (`via_device`). Publish from the top down
  and clear from the bottom up: Home Assistant makes a nameless stub of a `via_device` that it does not know.
- Entity form: every message has its own availability list, mode and qos (openHAB keeps one availability tracker per
  thing), device and origin. Home Assistant and openHAB ignore root keys that they do not know there, so
  `default_entity_id` (Home Assistant 2025.10) does no harm in older ones; `object_id`, which it replaces, has been
  complained about since 2025.10 and without effect since 2026.4, so it is left out. Unknown keys in `device` and
  `origin` are refused by both.
- Device form: availability, mode and qos stand once, at the root, and are inherited by every component that has none
  of its own. Unknown root keys are refused. Spelled-out and abbreviated keys mean the same.
- No `expire_after`: with retained topics a replay would revive the value.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evse_mqtt_bridge.domain.model import Message, Station
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import (
    BRIDGE_ENTITIES,
    PLUG_ENTITIES,
    STATION_ENTITIES,
    Entity,
)
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.support.text import clean

__all__ = [
    "ORIGIN",
    "Discovery",
    "Form",
    "bridge",
    "bridge_topics",
    "plug",
    "plug_topics",
    "station",
    "station_topics",
]

Form = Literal["entity", "device"]
"""One message per entity, or one per device."""

ORIGIN = "evse-mqtt-bridge"
"""Who publishes, as Home Assistant shows it."""

_SHORT = 8  # characters of a uuid in a name, where there is nothing better to call a thing


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where and how discovery is published.

    `prefix` is the discovery prefix, `qos` (0 to 2) what consumers are to subscribe with, `bridge_id` the MQTT client
    id, `version` the bridge's.
    """

    topics: Topics
    prefix: str
    form: Form
    qos: int
    bridge_id: str
    version: str


@dataclass(frozen=True, slots=True)
class _Device:
    """One device as both forms need it.

    `info` is what Home Assistant shows of it, `state` the prefix of its state topics. `always` and `live` are the
    availability topics of its entities. `handle`, where there is one, begins their entity ids.
    """

    id: str
    info: Mapping[str, object]
    entities: tuple[Entity, ...]
    state: str
    always: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    handle: str = ""


def bridge(discovery: Discovery) -> tuple[Message, ...]:
    """The bridge's device; to be published before the stations'."""
    device_id = _bridge_id(discovery.bridge_id)
    name = clean(discovery.bridge_id) or ORIGIN
    info = {
        "identifiers": [device_id],
        "name": "EVSE MQTT Bridge" if name == ORIGIN else name,
        "model": "Cloud to MQTT bridge",
        "sw_version": discovery.version,
    }
    state = discovery.topics.availability.removesuffix("availability")
    # no availability list: its one entity is there to say `offline`
    return _messages(discovery, _Device(device_id, info, BRIDGE_ENTITIES, state))


def station(discovery: Discovery, station: Station) -> tuple[Message, ...]:
    """A station's device, without its plugs; to be published before theirs."""
    device_id = _station_id(station.uuid)
    info = {
        "identifiers": [device_id],
        "name": _title(station),
        "model": "Charging station",
        "serial_number": station.uuid,
        "via_device": _bridge_id(discovery.bridge_id),
    }
    state = discovery.topics.station(station.topic_id)
    always = (discovery.topics.availability,)
    device = _Device(device_id, info, STATION_ENTITIES, state, always=always, live=always, handle=station.alias)
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
    live = (*always, topics.station(station.topic_id, "availability"), f"{state}availability")
    handle = f"{station.alias}_{alias}" if station.alias and alias else ""
    return _messages(discovery, _Device(device_id, info, PLUG_ENTITIES, state, always=always, live=live, handle=handle))


def bridge_topics(prefix: str, form: Form, bridge_id: str) -> tuple[str, ...]:
    """The discovery topics of a bridge; `bridge_id` is its client id."""
    return _topics(prefix, form, _bridge_id(bridge_id), BRIDGE_ENTITIES)


def station_topics(prefix: str, form: Form, station_uuid: str) -> tuple[str, ...]:
    """The discovery topics of a station, without its plugs'."""
    return _topics(prefix, form, _station_id(station_uuid), STATION_ENTITIES)


def plug_topics(prefix: str, form: Form, station_uuid: str, plug_uuid: str) -> tuple[str, ...]:
    """The discovery topics of a plug."""
    return _topics(prefix, form, _plug_id(station_uuid, plug_uuid), PLUG_ENTITIES)


def _messages(discovery: Discovery, device: _Device) -> tuple[Message, ...]:
    origin = {"name": ORIGIN, "sw_version": discovery.version}
    shared = {"qos": discovery.qos, "device": device.info, "origin": origin}
    if discovery.form == "entity":
        payloads = [
            {**_config(device, entity), **_availability(device.live if entity.live else device.always), **shared}
            for entity in device.entities
        ]
    else:
        payloads = [{**shared, **_availability(device.live), "components": _components(device)}]
    topics = _topics(discovery.prefix, discovery.form, device.id, device.entities)
    return tuple(Message(topic, _dump(payload), json=True) for topic, payload in zip(topics, payloads, strict=True))


def _components(device: _Device) -> dict[str, object]:
    return {
        entity.field: {
            "platform": entity.platform,
            **_config(device, entity),
            # its own, where the root's list is not for it
            **({} if entity.live else _availability(device.always)),
        }
        for entity in device.entities
    }


def _config(device: _Device, entity: Entity) -> dict[str, object]:
    config = {
        "name": entity.name,
        "unique_id": f"{device.id}_{entity.field}",
        "state_topic": device.state + entity.field,
        **entity.options,
    }
    # without a handle Home Assistant makes the entity id of the device's and the entity's name
    if device.handle:
        object_id = re.sub(r"\W+", "_", f"{device.handle}_{entity.name}".lower())
        config["default_entity_id"] = f"{entity.platform}.{object_id}"
    return config


def _availability(topics: tuple[str, ...]) -> dict[str, object]:
    return {"availability": [{"topic": topic} for topic in topics], "availability_mode": "all"} if topics else {}


def _topics(prefix: str, form: Form, device_id: str, entities: tuple[Entity, ...]) -> tuple[str, ...]:
    if form == "device":
        return (f"{prefix}/device/{device_id}/config",)
    return tuple(f"{prefix}/{entity.platform}/{device_id}/{entity.field}/config" for entity in entities)


def _title(station: Station) -> str:
    return clean(station.name) or station.alias or f"EVSE {station.uuid[:_SHORT]}"


def _bridge_id(client_id: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", client_id)
    if cleaned != client_id:  # two client ids must not end up as one device
        cleaned += "_" + hashlib.sha256(client_id.encode(errors="replace")).hexdigest()[:_SHORT]
    return f"evse_bridge_{cleaned}"


def _station_id(uuid: str) -> str:
    return f"evse_{uuid}"


def _plug_id(station_uuid: str, plug_uuid: str) -> str:
    return f"evse_{station_uuid}_{plug_uuid}"


def _dump(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
