"""The AsyncAPI document is valid, has the catalogue's topics, and describes the messages of the bridge."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import STATION_REASONS, Outcome, Station
from evse_mqtt_bridge.publishing.asyncapi import Broker, document
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION
from evse_mqtt_bridge.publishing.message import JSON
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import STATION_ENTITIES
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.payload_schemas import examples
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.asyncapi import channel_by_topic, document_errors, payload_errors
from tests.harness.samples import PLUGS, at, outcomes
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_NORTH = Station("n" * 32, 30, "Garage north", "garage-north", {"p1": "left"})
_SOUTH = Station("s" * 32, 30)
_BROKER = Broker("broker.example.com", 1883, "5", 30)
_CERTAIN = {_NORTH.uuid: ("p1", "p2"), _SOUTH.uuid: ("p3",)}


def _locations(base: str, prefix: str, form: Form | None) -> tuple[Location, ...]:
    plain = PlainLocation(Topics(base))
    return (plain, DiscoveryLocation(prefix, form)) if form else (plain,)


def _inventory(form: Form | None = "entity", **changed: object) -> Inventory:
    locations = _locations("evse", "homeassistant", form)
    inventory = Inventory(Topics("evse"), "evse-mqtt-bridge", 1, (_NORTH, _SOUTH), locations, _CERTAIN)
    return replace(inventory, **changed)  # type: ignore[arg-type]  # as the tests name them


_INVENTORIES = {
    "entity form": _inventory(),
    "device form": _inventory("device"),
    "no discovery": _inventory(None),
    "aliases alone": _inventory(plugs={}),
    "some plugs unknown": _inventory(plugs={_NORTH.uuid: ("p1",)}),
    "no alias": _inventory(stations=(_SOUTH,), plugs={}),
    "no station": _inventory(stations=()),
    "braces in prefixes": _inventory(topics=Topics("site {1}"), locations=_locations("site {1}", "ha{}", "entity")),
    "shards": _inventory(shards=3),
    "slashes in prefixes": _inventory(topics=Topics("a/b"), locations=_locations("a/b", "c/d", "device")),
}
_BROKERS = {
    "plain": _BROKER,
    "3.1.1": replace(_BROKER, protocol="3.1.1"),
    "TLS, login, certificate": replace(_BROKER, port=8883, tls=True, login=True, certificate=True),
    "IPv6": replace(_BROKER, host="fd00::1"),
}


@pytest.mark.parametrize("inventory", _INVENTORIES.values(), ids=_INVENTORIES)
def test_document_is_valid(inventory: Inventory) -> None:
    assert document_errors(document(inventory, _BROKER)) == []


@pytest.mark.parametrize("broker", _BROKERS.values(), ids=_BROKERS)
def test_server_is_valid(broker: Broker) -> None:
    assert document_errors(document(_inventory(), broker)) == []


def _misspell(content: dict[str, Any]) -> None:
    channel = content["channels"]["plug.power"]
    channel["adress"] = channel.pop("address")


def _wrong_qos(content: dict[str, Any]) -> None:
    content["operations"]["publish.plug.power"]["bindings"]["mqtt"]["qos"] = 3


def _wrong_schema(content: dict[str, Any]) -> None:
    content["components"]["schemas"]["plug.power"]["type"] = "decimal"


def _wrong_parameter(content: dict[str, Any]) -> None:
    content["components"]["parameters"]["evse"]["enum"] = [1]


def _dangling(content: dict[str, Any]) -> None:
    del content["components"]["messages"]["plug.power"]


@pytest.mark.parametrize("damage", [_misspell, _wrong_qos, _wrong_schema, _wrong_parameter, _dangling])
def test_damaged_document_is_not_valid(damage: Callable[[dict[str, Any]], None]) -> None:
    damaged = deepcopy(document(_inventory(), _BROKER))
    damage(damaged)
    assert document_errors(damaged)


@pytest.mark.parametrize(
    "name", ["entity form", "device form", "no discovery", "no station", "braces in prefixes", "slashes in prefixes"]
)
def test_topics_are_those_of_the_catalogue(name: str) -> None:
    inventory = _INVENTORIES[name]
    assert channel_by_topic(document(inventory, _BROKER)) == {row.topic: row.channel for row in catalogue(inventory)}


def test_ids_are_an_enum_where_certain_else_examples() -> None:
    def parameters(inventory: Inventory) -> dict[str, Any]:
        found: dict[str, Any] = document(inventory, _BROKER)["components"]["parameters"]
        return found

    certain = parameters(_inventory())
    assert certain["evse"]["enum"] == ["garage-north", _SOUTH.uuid]
    assert certain["plug"]["enum"] == ["left", "p2", "p3"]
    assert certain["plug"]["x-plugs"] == {"garage-north": ["left", "p2"], _SOUTH.uuid: ["p3"]}
    assert certain["plug_uuid"]["x-plugs"] == {_NORTH.uuid: ["p1", "p2"], _SOUTH.uuid: ["p3"]}
    uncertain = parameters(_inventory(plugs={}))
    assert uncertain["plug"]["examples"] == ["left"]
    assert uncertain["plug"]["x-plugs"] == {"garage-north": ["left"]}
    assert "enum" not in uncertain["plug"]
    assert parameters(_inventory(None)).keys() == {"evse", "plug"}
    assert parameters(_inventory(None, stations=())) == {}


def test_server_has_address_and_settings_but_no_secret() -> None:
    broker = Broker("fd00::1", 8883, "5", 25, tls=True, login=True, certificate=True)
    content = document(_inventory(qos=2), broker)
    assert content["servers"]["broker"] == {
        "host": "[fd00::1]:8883",
        "protocol": "mqtts",
        "protocolVersion": "5.0",
        "description": "The broker that the bridge publishes to.",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("login", "certificate")],
        "bindings": {
            "mqtt": {
                "clientId": "evse-mqtt-bridge",
                "cleanSession": True,
                "keepAlive": 25,
                "lastWill": {"topic": "evse/bridge/availability", "qos": 1, "message": "offline", "retain": True},
                "bindingVersion": "0.2.0",
            }
        },
    }
    assert content["info"]["version"] == f"{CONTRACT_VERSION}.0.0"


def test_messages_have_qos_unit_and_content_type() -> None:
    content = document(_inventory(qos=2), _BROKER)
    for operation in content["operations"].values():
        assert operation["action"] == "send"
        is_retained = operation["channel"]["$ref"] != "#/channels/plug.session_event"
        assert operation["bindings"]["mqtt"] == {"qos": 2, "retain": is_retained, "bindingVersion": "0.2.0"}
    messages, schemas = content["components"]["messages"], content["components"]["schemas"]
    assert messages["plug.power"]["contentType"] == "text/plain"
    assert messages["plug.power"]["examples"] == [{"payload": 7107}]
    assert schemas["plug.power"]["x-unit"] == "W"
    assert messages["plug.state"]["contentType"] == "application/json"
    assert messages["plug.state"]["bindings"]["mqtt"]["contentType"] == "application/json"
    assert content["channels"]["plug.power"]["x-quality-topic"] == "evse/{evse}/{plug}/availability"
    assert content["channels"]["plug.power"]["x-time-topic"] == "evse/{evse}/{plug}/time"
    old = document(_inventory(), replace(_BROKER, protocol="3.1.1"))  # which knows no content types
    assert "bindings" not in old["components"]["messages"]["plug.state"]


def test_description_names_the_messages_that_are_not_retained() -> None:
    content = document(_inventory(), _BROKER)
    names = {name for name, operation in content["operations"].items() if not operation["bindings"]["mqtt"]["retain"]}
    assert names == {"publish.plug.session_event"}
    assert "`session_event`" in content["info"]["description"]


def test_every_value_has_a_valid_example() -> None:
    content = document(_inventory(None), _BROKER)
    assert examples().keys() == content["channels"].keys()
    for channel, payload in examples().items():
        assert payload_errors(content, channel, payload.decode()) == []


@pytest.mark.parametrize("channel", ["bridge.info", "station.info", "plug.state"])
def test_objects_have_the_keys_that_their_schema_requires(channel: str) -> None:
    schema = document(_inventory(), _BROKER)["components"]["schemas"][channel]
    keys = list(json.loads(examples()[channel]))
    optional = [] if channel == "plug.state" else ["previous"]
    assert keys == schema["required"]
    assert [*keys, *optional] == list(schema["properties"])


def test_station_reasons_are_those_of_discovery() -> None:
    offered = {entity.field: entity.options.get("options") for entity in STATION_ENTITIES}
    assert offered["availability_reason"] == [reason.value for reason in STATION_REASONS]


@pytest.mark.parametrize(
    ("channel", "payload"),
    [
        ("plug.power", '"7107"'),
        ("plug.power", "null"),
        ("plug.charging", "1"),
        ("plug.time", "2024-03-25T11:12:17.851+00:00"),
        ("plug.availability", "ONLINE"),
        ("station.availability_reason", "stale"),
        ("plug.availability_reason", "unknown"),
        ("plug.state", "{}"),
        ("plug.state", examples()["plug.state"].decode().replace("7107", '"7107"')),
        ("plug.state", examples()["plug.state"].decode().replace('"online"', "null")),
        ("bridge.info", examples()["bridge.info"].decode().replace('"contract":', '"contracts":')),
        ("station.info", examples()["station.info"].decode().replace('"label":', '"name":')),
        ("discovery.plug.power", "[]"),
    ],
)
def test_invalid_payload_is_rejected(channel: str, payload: str) -> None:
    assert payload_errors(document(_inventory(), _BROKER), channel, payload)


@given(st.lists(outcomes, min_size=1, max_size=6), st.sampled_from(["entity", "device"]))
def test_every_published_message_fits_the_document(polled: list[Outcome], form: Form) -> None:
    inventory = _inventory(form, stations=(_NORTH,), plugs={_NORTH.uuid: PLUGS})
    content = document(inventory, _BROKER)
    channels = channel_by_topic(content)
    bridge = Bridge(plan(_NORTH, form=form, prefix="homeassistant", client_id=inventory.client_id))
    broker = ModelBroker()
    broker.connect(bridge.publication)
    messages = broker.deliver()
    for number, outcome in enumerate(polled):
        bridge.poll(_NORTH.uuid, outcome, at(30 * number))
        messages += broker.deliver()
    bridge.publication.republish()
    for message in (*messages, *broker.deliver(), bridge.publication.will()):
        channel = channels[message.topic]
        assert payload_errors(content, channel, message.payload.decode()) == []
        is_json = content["components"]["messages"][channel]["contentType"] == JSON
        assert (message.content_type == JSON) is is_json
