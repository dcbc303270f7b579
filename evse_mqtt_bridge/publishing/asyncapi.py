"""Describes the topics of a configuration as an AsyncAPI 3.0 document, from the same tables as the messages.

Channels are the rows of the catalogue with parameters instead of ids. A payload is plain text unless the content type
of its message is JSON. The schema of plain text describes the value in the text: `7107` is a number, `true` a boolean.

Specification: AsyncAPI 3.0.0 and its MQTT bindings 0.2.0, https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue, symbolic
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION, Kind, TopicRow
from evse_mqtt_bridge.publishing.payload_schemas import examples, schema
from evse_mqtt_bridge.publishing.topics import BRIDGE
from evse_mqtt_bridge.support.net import host_and_port

__all__ = ["Broker", "document"]

_BINDING = {"bindingVersion": "0.2.0"}
_DESCRIPTION = """\
Charging stations of the CLEMAP cloud as MQTT topics. Every message is published when its payload changes, and retained,
except for `session_event`, which is published once per event. An empty payload removes a topic. A payload without a
content type is plain text: a number in its shortest decimal form, `true` or `false`, a time in UTC, or any other text.
A missing value is not published, and the topic keeps the previous value.

`info.version` is the version of the topic contract. It changes when a consumer of the topics could notice.
"""


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker as shown in the document, without secrets.

    Attributes:
        host: Host name or IP address.
        port: TCP port, 1 to 65535.
        protocol: "5" or "3.1.1".
        keepalive: Keep-alive interval in seconds.
        tls: Whether the connection uses TLS.
        login: Whether the broker requires a user name and a password.
        certificate: Whether the broker requires a client certificate.
    """

    host: str
    port: int
    protocol: str
    keepalive: int
    tls: bool = False
    login: bool = False
    certificate: bool = False


def document(inventory: Inventory, broker: Broker) -> dict[str, Any]:
    """Return the AsyncAPI document, ready for JSON."""
    parameters = _parameters(inventory)
    rows = tuple(_symbolic_rows(inventory))
    used = {name for row in rows for name in _names(row.topic)}
    security = _security(broker)
    payloads = examples()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "evse-mqtt-bridge",
            "version": f"{CONTRACT_VERSION}.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "text/plain",
        "servers": {"broker": _server(inventory, broker, security)},
        "channels": {row.channel: _channel(row) for row in rows},
        "operations": {f"publish.{row.channel}": _operation(row) for row in rows},
        "components": {
            "parameters": {name: parameter for name, parameter in parameters.items() if name in used},
            "messages": {
                row.channel: _message(row, payloads.get(row.channel), is_v5=broker.protocol == "5") for row in rows
            },
            "schemas": {row.channel: schema(row) for row in rows},
            **({"securitySchemes": security} if security else {}),
        },
    }


def _symbolic_rows(inventory: Inventory) -> Iterator[TopicRow]:
    """Yield a row per channel; shards are a parameter, and the shard of a station follows from its uuid."""
    rows = catalogue(symbolic(_without_braces(inventory)))
    if inventory.shards <= 1:
        yield from rows
        return
    with_parameter = f"/{BRIDGE}/{{shard}}/"
    by_channel = {row.channel: row for row in rows}  # the last one of each shard topic
    for row in by_channel.values():
        if row.channel.startswith("shard."):
            topic, quality = (re.sub(rf"/{BRIDGE}/\d+/", with_parameter, each) for each in (row.topic, row.quality))
            yield replace(row, topic=topic, quality=quality)
        elif row.channel.startswith("bridge.") or f"/{BRIDGE}/" not in row.quality:
            yield row
        else:
            yield replace(row, quality="")


def _server(inventory: Inventory, broker: Broker, security: Mapping[str, object]) -> dict[str, Any]:
    will = {"topic": inventory.topics.availability, "qos": min(1, inventory.qos), "message": "offline", "retain": True}
    server = {
        "host": host_and_port(broker.host, broker.port),
        "protocol": "mqtts" if broker.tls else "mqtt",
        "protocolVersion": {"5": "5.0"}.get(broker.protocol, broker.protocol),
        "description": "The broker that the bridge publishes to.",
        "bindings": {
            "mqtt": {
                "clientId": inventory.client_id,
                "cleanSession": True,
                "keepAlive": broker.keepalive,
                "lastWill": will,
                **_BINDING,
            }
        },
    }
    return server | (
        {"security": [_ref("components", "securitySchemes", name) for name in security]} if security else {}
    )


def _security(broker: Broker) -> dict[str, Any]:
    login = {"login": {"type": "userPassword", "description": "The broker requires a user name and a password."}}
    certificate = {"certificate": {"type": "X509", "description": "The broker requires a client certificate."}}
    return (login if broker.login else {}) | (certificate if broker.certificate else {})


def _channel(row: TopicRow) -> dict[str, Any]:
    names = _names(row.topic)
    channel: dict[str, Any] = {
        "address": row.topic,
        "description": row.description,
        "messages": {"value": _ref("components", "messages", row.channel)},
    }
    if names:
        channel["parameters"] = {name: _ref("components", "parameters", name) for name in names}
    beside = {"x-quality-topic": row.quality, "x-time-topic": row.time}
    return channel | {key: topic for key, topic in beside.items() if topic}


def _operation(row: TopicRow) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": _ref("channels", row.channel),
        "messages": [_ref("channels", row.channel, "messages", "value")],
        "bindings": {"mqtt": {"qos": row.qos, "retain": row.retained, **_BINDING}},
    }


def _message(row: TopicRow, example: bytes | None, *, is_v5: bool) -> dict[str, Any]:
    is_json = row.kind is Kind.JSON
    message: dict[str, Any] = {
        "name": row.channel,
        "summary": row.description,
        "contentType": "application/json" if is_json else "text/plain",
        "payload": _ref("components", "schemas", row.channel),
    }
    if is_json and is_v5:  # MQTT 5 sends it with the message; only JSON has one
        message["bindings"] = {"mqtt": {"contentType": "application/json", **_BINDING}}
    if example is not None:
        is_text = row.kind in (Kind.TEXT, Kind.TIME)
        message["examples"] = [{"payload": example.decode() if is_text else json.loads(example)}]
    return message


def _parameters(inventory: Inventory) -> dict[str, Any]:
    """Return the parameters of addresses: the ids of this configuration as `enum` if all are known, else `examples`."""
    stations = inventory.stations
    certain = all(inventory.plugs.get(station.uuid) for station in stations)
    uuids = {station.uuid: list(inventory.plugs_of(station)) for station in stations}
    ids = {station.topic_id: [station.plug_topic_id(uuid) for uuid in uuids[station.uuid]] for station in stations}
    return {
        **{
            name: {"description": description, "enum": [location.prefix]}
            for location in inventory.locations
            for name, description in (location.prefix_parameter,)
        },
        "shard": {
            "description": "A shard of the bridge, except shard 0, which has the topics without a number.",
            "enum": [str(shard) for shard in range(1, inventory.shards)],
        },
        "evse": {"description": "A station: its alias, else its uuid.", "enum": list(ids)},
        "plug": _plug_parameter("A plug: its alias, else its uuid.", ids, certain=certain),
        "evse_uuid": {"description": "A station's uuid.", "enum": list(uuids)},
        "plug_uuid": _plug_parameter("A plug's uuid.", uuids, certain=certain),
    }


def _plug_parameter(description: str, of_stations: Mapping[str, list[str]], *, certain: bool) -> dict[str, Any]:
    """Return a parameter for plugs; `x-plugs` lists the known plugs of each station."""
    known = {station: plugs for station, plugs in of_stations.items() if plugs}
    every = list(dict.fromkeys(plug for plugs in known.values() for plug in plugs))
    parameter: dict[str, Any] = {"description": description}
    if every:
        parameter |= {"enum" if certain else "examples": every, "x-plugs": known}
    return parameter


def _without_braces(inventory: Inventory) -> Inventory:
    """Return the inventory with a parameter for each prefix that has a brace, which addresses use for parameters."""
    locations = tuple(
        location.with_prefix(f"{{{location.prefix_parameter[0]}}}") if re.search("[{}]", location.prefix) else location
        for location in inventory.locations
    )
    return replace(inventory, locations=locations)


def _names(address: str) -> list[str]:
    """Return the names of the parameters in an address."""
    return re.findall(r"{(\w+)}", address)


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}
