"""Describes payloads: a JSON Schema and an example for every row of the catalogue.

A schema describes the value in a payload: the text `7107` is a number, `true` a boolean. Schemas are generated from the
tables of the messages, and examples from the messages themselves.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from evse_mqtt_bridge.domain.meter import Meter, published_meter
from evse_mqtt_bridge.domain.model import STATION_REASONS, PlugReading, PlugState, Reason, Station, StationState
from evse_mqtt_bridge.domain.sessions import Session, SessionChange, SessionEvent
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.contract import (
    CONTRACT_VERSION,
    METER_FIELDS,
    PLUG_FIELDS,
    READING_FIELDS,
    Field,
    Kind,
    TopicRow,
)
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import BridgeFacts, bridge_info, station_info
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation, PlainTopics, bridge_availability
from evse_mqtt_bridge.publishing.outputs.protocol import Part
from evse_mqtt_bridge.publishing.session_payloads import session_event_payload
from evse_mqtt_bridge.publishing.topics import PlugTopic, Topics

__all__ = ["Schema", "examples", "schema"]

Schema = dict[str, Any]

_AVAILABILITY = ("online", "offline")
_KINDS: Mapping[Kind, Schema] = {
    Kind.TEXT: {"type": "string"},
    Kind.NUMBER: {"type": "number"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.TIME: {"type": "string", "format": "date-time", "pattern": "Z$"},
    Kind.JSON: {"type": "object"},
}
_DISCOVERED = {
    "type": ["object", "null"],
    "description": "prefix and form of discovery; `null` if it is not published",
    "properties": {"prefix": {"type": "string"}, "form": {"enum": ["entity", "device"]}},
    "required": ["prefix", "form"],
}
_EXAMPLE_TIME = datetime(2024, 3, 25, 11, 12, 17, 851_000, UTC)


def schema(row: TopicRow) -> Schema:
    """Return the schema of a payload; objects may get further keys without a new contract version."""
    owner, _, name = row.channel.partition(".")
    match owner, name:
        case "bridge" | "shard", "info":
            return _object(row.description, _bridge_info(), previous=_bridge_entry())
        case "station", "info":
            return _object(row.description, _station_info(), previous=_station_entry())
        case "plug", "state":
            return _object(row.description, _state())
        case "plug", "session" | "last_session" | "session_event":
            return _object(row.description, _session(is_event=name == "session_event"))
        case "discovery", _:
            return {"type": "object", "description": f"{row.description}, in the form that Home Assistant documents"}
    return _value(Field(name, row.kind, row.description, row.unit), owner)


def examples() -> dict[str, bytes]:
    """Return a payload for each channel except discovery, from the messages of a station with one charging plug."""
    reading = PlugReading(
        "c99838f9eb5b423d98f8ba33389a255c",
        label="Plug 2",
        status="charging",
        power=7107.0,
        current_l1=10.3,
        current_l2=10.3,
        current_l3=10.3,
        dyn_current_limit=12.0,
        time=_EXAMPLE_TIME,
    )
    started = _EXAMPLE_TIME - timedelta(hours=1)
    session = Session(started, is_start_known=True, charged=6540.0, charging=3480.0, peak=7150.0, is_charging=True)
    last_session = session._replace(started=started - timedelta(hours=9), ended=started - timedelta(hours=8))
    meter = Meter(1_234_567.0, counted=reading, session=session, last_session=last_session)
    plug = PlugState(
        reading.plug_uuid,
        reading.label,
        reading,
        reason=Reason.ONLINE,
        meter=meter,
        last_published_meter=published_meter(meter),
    )
    state = StationState(Reason.ONLINE, plugs={plug.uuid: plug})
    station = Station("25104c56d7f848af830af4300193efb3", 30, "Garage north", "garage-north", {plug.uuid: "left"})
    topics, owner = Topics("evse"), "evse-mqtt-bridge"
    locations = (PlainLocation(topics), DiscoveryLocation("homeassistant", "entity"))
    payloads = {
        "bridge.availability": bridge_availability(topics, online=True).payload,
        "plug.session_event": session_event_payload(
            plug.uuid, SessionChange(SessionEvent.CHARGING, session), _EXAMPLE_TIME
        ),
        "bridge.info": bridge_info(
            BridgeEntry(topics, owner, locations), BridgeFacts("0.1.0", _EXAMPLE_TIME, 1)
        ).payload,
    }
    output = PlainTopics(topics)
    for message in (
        station_info(StationEntry.of(topics, station, state, locations), owner),
        *output.station(Part.VALUES, station, None, state),
        *output.station(Part.AVAILABILITY, station, None, state),
    ):
        parsed = topics.read(message.topic)
        if parsed is not None:
            payloads[f"{'plug' if isinstance(parsed, PlugTopic) else 'station'}.{parsed.field}"] = message.payload
    return payloads


def _value(each: Field, owner: str) -> Schema:
    enumerations: dict[str, Schema] = {
        "availability": {"enum": list(_AVAILABILITY)},
        "availability_reason": {"enum": [reason.value for reason in (Reason if owner == "plug" else STATION_REASONS)]},
        "status": {"examples": list(STATUSES)},  # the vendor may add others
    }
    unit = {"x-unit": each.unit} if each.unit else {}
    return {**_KINDS[each.kind], "description": each.description, **unit, **enumerations.get(each.name, {})}


def _state() -> dict[str, Schema]:
    values = {each.name: _nullable(_value(each, "plug")) for each in (*READING_FIELDS, *METER_FIELDS)}
    session = {"type": ["object", "null"], "description": "the open session, as in the topic `session`"}
    energy_time = {**_KINDS[Kind.TIME], "description": "time of the measurement up to which energy is counted"}
    availability = {each.name: _value(each, "plug") for each in PLUG_FIELDS if each.name.startswith("availability")}
    return values | {"session": session, "energy_time": _nullable(energy_time)} | availability


def _nullable(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def _session(*, is_event: bool) -> dict[str, Schema]:
    """Return the keys of a session; without one, all of them are `null`. An event always has one."""
    number, seconds = _KINDS[Kind.NUMBER], {"type": "integer", "minimum": 0, "x-unit": "s"}
    keys: dict[str, Schema] = {
        "id": {"type": "string", "description": "identifies the session: plug UUID and start"},
        "started": {**_KINDS[Kind.TIME], "description": "first measurement with the vehicle"},
        "started_known": {"type": "boolean", "description": "`false` if the vehicle may have been connected before"},
        "ended": {**_KINDS[Kind.TIME], "description": "first measurement without the vehicle; `null` if open"},
        "energy": {**number, "x-unit": "kWh", "description": "energy charged"},
        "energy_discharged": {**number, "x-unit": "kWh", "description": "energy discharged"},
        "gap": {**seconds, "description": "time for which the energy is unknown"},
        "connected": {**seconds, "description": "time since `started`, up to the last measurement or `ended`"},
        "charging": {**seconds, "description": "time in which the vehicle was charging"},
        "peak_power": {**number, "x-unit": "W", "description": "highest power"},
    }
    event_type = {"enum": [event.value for event in SessionEvent], "description": "what happened"}
    schemas = {name: value if is_event and name != "ended" else _nullable(value) for name, value in keys.items()}
    return {"event_type": event_type, **schemas} if is_event else schemas


def _bridge_info() -> dict[str, Schema]:
    return {
        "name": {"const": "evse-mqtt-bridge"},
        "version": {"type": "string", "description": "version of the bridge"},
        "contract": {"const": CONTRACT_VERSION, "description": "version of the topic contract"},
        **_bridge_entry(),
        "started": {**_KINDS[Kind.TIME], "description": "start time of the bridge"},
        "stations": {"type": "integer", "minimum": 0, "description": "number of configured stations"},
        "discovery": _DISCOVERED,
    }


def _bridge_entry() -> dict[str, Schema]:
    return {
        "client_id": {"type": "string", "description": "MQTT client id of the bridge"},
        "base_topic": {"type": "string", "description": "common prefix of all topics of the bridge"},
    }


def _station_info() -> dict[str, Schema]:
    return {
        **_station_entry(),
        "published_by": {"type": "string", "description": "MQTT client id of the bridge that publishes the station"},
        "contract": {"const": CONTRACT_VERSION, "description": "version of the topic contract"},
        "discovery": _DISCOVERED,
    }


def _station_entry() -> dict[str, Schema]:
    plug = {"topic": {"type": "string"}, "label": {"type": ["string", "null"]}}
    return {
        "uuid": {"type": "string", "description": "UUID of the station"},
        "name": {"type": "string", "description": "name of the station"},
        "plugs": {
            "type": "object",
            "description": "by plug UUID: the topic level and the label of the plug, at most 128 characters",
            "additionalProperties": {"type": "object", "properties": plug, "required": list(plug)},
        },
    }


def _object(
    description: str, properties: Mapping[str, Schema], *, previous: Mapping[str, Schema] | None = None
) -> Schema:
    """Return the schema of an object; with `previous`, also of its list of previous entries with these keys."""
    schema = {
        "type": "object",
        "description": description,
        "properties": dict(properties),
        "required": list(properties),
    }
    if previous is not None:
        keys = {**previous, "discovery": _DISCOVERED}
        text = "only for a short time after a change: what was published before and is not yet cleared"
        items = {"type": "object", "properties": keys, "required": list(keys)}
        schema["properties"] = {**properties, "previous": {"type": "array", "description": text, "items": items}}
    return schema
