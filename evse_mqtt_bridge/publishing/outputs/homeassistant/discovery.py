"""Discovery messages for the bridge, a station and a plug, and the topics of these messages.

- Device ids, unique ids and topics consist of uuids and the client id only, and are the same in both forms. So an
  entity keeps its history when an alias, a name or the form changes. Only names contain text from outside, cleaned.
- Each plug is a device below its station's device, which is below the bridge's device (`via_device`). Publish from the
  top down and clear from the bottom up: Home Assistant creates a nameless stub for an unknown `via_device`.
- Entity form: every message has its own availability list, mode and qos (openHAB keeps one availability tracker per
  thing), device and origin. Home Assistant and openHAB ignore unknown root keys in this form, so `default_entity_id`
  (Home Assistant 2025.10) does no harm in older versions. `object_id`, which it replaces, is left out: Home Assistant
  warns about it since 2025.10 and ignores it since 2026.4. Both reject unknown keys in `device` and `origin`.
- Device form: the root has qos, and the availability and mode of entities that depend on the bridge only. Components
  without their own inherit them. Unknown root keys are rejected. Spelled-out and abbreviated keys are equivalent.
- The entity of an unknown value becomes unavailable, by an availability template for the plug's `state`. The topic of
  the value cannot express that: Home Assistant ignores an empty payload of a number, and other consumers expect
  numbers. In openHAB, the template has no effect: openHAB has one availability per thing, and one template per topic.
- `expire_after` is not used: a replay of retained topics would make an expired value valid again.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.outputs.homeassistant.device_ids import bridge_id, plug_id, station_id
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import (
    BRIDGE_ENTITIES,
    PLUG_ENTITIES,
    STATION_ENTITIES,
    Entity,
)
from evse_mqtt_bridge.publishing.payloads import json_inner_text, json_text, object_payload, text_members
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
"""The name of the publisher, as Home Assistant shows it."""

_MANUFACTURER = "CLEMAP"
"""The vendor of the API, which does not report who made a charging station."""

_END_OF_AVAILABILITY = '],"availability_mode":"all"'

_SHORT = 8
"""Number of characters of a uuid in the display name of a thing without any other name."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """The settings of discovery.

    Attributes:
        topics: The plain topics that the entities read.
        prefix: The discovery prefix.
        form: One message per entity, or one per device.
        qos: Quality of service with which consumers subscribe, 0 to 2.
        bridge_id: The bridge's MQTT client id.
        version: The bridge's version.
        page_url: The address of the status page, which ends in `/`; empty: none that others can reach.
    """

    topics: Topics
    prefix: str
    form: Form
    qos: int
    bridge_id: str
    version: str
    page_url: str = ""


class _Device(NamedTuple):
    """The data of one device, for both forms.

    Attributes:
        info: The details of the device in Home Assistant, beside its id.
        state_prefix: The prefix of its state topics.
        bridge_availability: Availability topics of the entities that stay available during an outage.
        full_availability: Availability topics of the entities that follow the availability of station and plug.
        entity_id_prefix: The start of the entity ids; empty: Home Assistant derives them from the names.
    """

    id: str
    info: Mapping[str, str]
    entities: tuple[Entity, ...]
    state_prefix: str
    bridge_availability: tuple[str, ...] = ()
    full_availability: tuple[str, ...] = ()
    entity_id_prefix: str = ""


def bridge(discovery: Discovery) -> tuple[Message, ...]:
    """Return the messages of the bridge's device. Publish them before those of stations."""
    device_id = bridge_id(discovery.bridge_id)
    name = clean(discovery.bridge_id) or ORIGIN
    info = {
        "name": "EVSE MQTT Bridge" if name == ORIGIN else name,
        "manufacturer": ORIGIN,
        "model": "Cloud to MQTT bridge",
        "sw_version": discovery.version,
        **_link(discovery),
    }
    state = discovery.topics.availability.removesuffix("availability")
    # No availability list: the only entity exists to show `offline`.
    return _messages(discovery, _Device(device_id, info, BRIDGE_ENTITIES, state))


def station(discovery: Discovery, station: Station) -> tuple[Message, ...]:
    """Return the messages of a station's device, without its plugs. Publish them before those of plugs."""
    device_id = station_id(station.uuid)
    info = {
        "name": _title(station),
        "manufacturer": _MANUFACTURER,
        "model": "Charging station",
        "serial_number": station.uuid,
        "via_device": bridge_id(discovery.bridge_id),
        **_link(discovery, station.uuid),
    }
    state = discovery.topics.station(station.topic_id)
    bridge = (discovery.topics.availability,)
    device = _Device(device_id, info, STATION_ENTITIES, state, bridge, bridge, station.alias)
    return _messages(discovery, device)


def plug(discovery: Discovery, station: Station, plug_uuid: str, label: str | None) -> tuple[Message, ...]:
    """Return the messages of a plug's device.

    Args:
        discovery: The settings of discovery.
        station: The station of the plug.
        plug_uuid: The plug's uuid.
        label: The vendor's name of the plug, which may have any content; `None`: none.
    """
    alias, name = station.plugs.get(plug_uuid, ""), clean(station.plug_names.get(plug_uuid, ""))
    device_id = plug_id(station.uuid, plug_uuid)
    info = {
        "name": f"{_title(station)} {name or clean(label or '') or alias or plug_uuid[:_SHORT]}",
        "manufacturer": _MANUFACTURER,
        "model": "Plug",
        "serial_number": plug_uuid,
        "via_device": station_id(station.uuid),
        **_link(discovery, plug_uuid),
    }
    topics = discovery.topics
    state = topics.plug(station.topic_id, alias or plug_uuid)
    bridge = (topics.availability,)
    full = (*bridge, topics.station(station.topic_id, "availability"), f"{state}availability")
    entity_id_prefix = f"{station.alias}_{alias}" if station.alias and alias else ""
    return _messages(discovery, _Device(device_id, info, PLUG_ENTITIES, state, bridge, full, entity_id_prefix))


def bridge_topics(prefix: str, form: Form, client_id: str) -> tuple[str, ...]:
    """Return the discovery topics of a bridge."""
    return _topics(prefix, form, bridge_id(client_id), BRIDGE_ENTITIES)


def station_topics(prefix: str, form: Form, station_uuid: str, *, is_legacy: bool = False) -> tuple[str, ...]:
    """Return the discovery topics of a station, without those of its plugs; `is_legacy`: those of version 0.1."""
    return _topics(prefix, form, station_id(station_uuid, is_legacy=is_legacy), STATION_ENTITIES)


def plug_topics(
    prefix: str, form: Form, station_uuid: str, plug_uuid: str, *, is_legacy: bool = False
) -> tuple[str, ...]:
    """Return the discovery topics of a plug; `is_legacy`: those of version 0.1."""
    return _topics(prefix, form, plug_id(station_uuid, plug_uuid, is_legacy=is_legacy), PLUG_ENTITIES)


def _messages(discovery: Discovery, device: _Device) -> tuple[Message, ...]:
    """Return the messages of a device.

    Half of the messages of a full republish are these, so their JSON is joined from parts: what entities or devices
    have in common is encoded once.
    """
    device_id = json_inner_text(device.id)
    info, origin = text_members(device.info), text_members({"name": ORIGIN, "sw_version": discovery.version})
    shared = f'"qos":{discovery.qos},"device":{{"identifiers":["{device_id}"],{info}}},"origin":{{{origin}}}'
    if discovery.form == "entity":
        payloads = [
            (f"{{{config},{availability},{shared}}}" if availability else f"{{{config},{shared}}}").encode(
                errors="replace"
            )
            for _, config, availability in _entities(device, device_id)
        ]
    else:
        inherited = _Availability.of(device.bridge_availability, "").alone
        components = f'"components":{{{",".join(_components(device, device_id, inherited))}}}'
        payloads = [object_payload((shared, inherited, components))]
    topics = _topics(discovery.prefix, discovery.form, device.id, device.entities)
    return tuple([Message(topic, payload, JSON) for topic, payload in zip(topics, payloads, strict=True)])


def _components(device: _Device, device_id: str, inherited: str) -> Iterator[str]:
    """Yield a member for each entity; the availability is left out if it is that of the device."""
    for entity, config, availability in _entities(device, device_id):
        own = f",{availability}" if availability and availability != inherited else ""
        yield f'"{entity.field}":{{"platform":"{entity.platform}",{config}{own}}}'


def _entities(device: _Device, device_id: str) -> Iterator[tuple[Entity, str, str]]:
    """Yield each entity with its configuration and its availability, as members of a JSON object.

    Args:
        device: The device.
        device_id: Its id as JSON, without quotes.
    """
    state_prefix = json_inner_text(device.state_prefix)
    bridge, full = (
        _Availability.of(topics, state_prefix) for topics in (device.bridge_availability, device.full_availability)
    )
    for entity in device.entities:
        encoded = entity.encoded
        config = f"{encoded.before_id}{device_id}{encoded.after_id}{state_prefix}{encoded.after_state_prefix}"
        # Without a prefix, Home Assistant derives the entity id from the names of the device and the entity.
        if device.entity_id_prefix:
            object_id = re.sub(r"\W+", "_", f"{device.entity_id_prefix}_{entity.name}".lower())
            config += f',"default_entity_id":{json_text(f"{entity.platform}.{object_id}")}'
        availability = full if entity.follows_availability else bridge
        if template := encoded.availability_template:
            yield entity, config, f"{availability.before_template}{template}}}{_END_OF_AVAILABILITY}"
        else:
            yield entity, config, availability.alone


class _Availability(NamedTuple):
    """The availability of entities as members of a JSON object.

    Attributes:
        alone: The members without a template; empty: always available.
        before_template: The text before the template of an entity.
    """

    alone: str
    before_template: str

    @classmethod
    def of(cls, topics: tuple[str, ...], state_prefix: str) -> "_Availability":
        """Return the availability by these topics and, with a template, by `state` below its prefix (as JSON)."""
        entries = "".join([f'{{"topic":{json_text(topic)}}},' for topic in topics])
        alone = f'"availability":[{entries[:-1]}{_END_OF_AVAILABILITY}' if entries else ""
        return cls(alone, f'"availability":[{entries}{{"topic":"{state_prefix}state","value_template":')


def _topics(prefix: str, form: Form, device_id: str, entities: tuple[Entity, ...]) -> tuple[str, ...]:
    if form == "device":
        return (f"{prefix}/device/{device_id}/config",)
    return tuple([f"{prefix}/{entity.platform}/{device_id}/{entity.field}/config" for entity in entities])


def _link(discovery: Discovery, uuid: str = "") -> dict[str, str]:
    """Return the link on a device's page: the status page, which searches for a uuid."""
    search = f"#q={uuid}" if uuid else ""
    return {"configuration_url": discovery.page_url + search} if discovery.page_url else {}


def _title(station: Station) -> str:
    return clean(station.name) or station.alias or f"EVSE {station.uuid[:_SHORT]}"
