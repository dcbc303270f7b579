"""Discovery messages match Home Assistant's schemas, the topic contract, and the documentation."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import Reason, Station
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.contract import METER_FIELDS, PLUG_FIELDS
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery as homeassistant
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery, Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import (
    BRIDGE_ENTITIES,
    PLUG_ENTITIES,
    STATION_ENTITIES,
    Entity,
)
from evse_mqtt_bridge.publishing.outputs.homeassistant.migration import placeholder, unload
from evse_mqtt_bridge.publishing.topics import Topics

DOCUMENT = (Path(__file__).parents[3] / "docs" / "home-assistant.md").read_text(encoding="utf-8")

EVSE, LEFT, RIGHT = (
    "25104c56d7f848af830af4300193efb3",
    "6bbf9fd56dc24f9697b078d5d8ccda84",
    "c99838f9eb5b423d98f8ba33389a255c",
)
BRIDGE_ID = "evse_bridge_evse-mqtt-bridge"

STATION = Station(EVSE, 30, name="Garage north", alias="garage-north", plugs={LEFT: "left", RIGHT: "right"})
PLAIN = Station(EVSE, 30)

TOPICS = Topics("evse")
ENTITY = Discovery(TOPICS, "homeassistant", "entity", 1, "evse-mqtt-bridge", "1.2.3")
DEVICE = replace(ENTITY, form="device")
BOTH = pytest.mark.parametrize("discovery", [ENTITY, DEVICE], ids=["entity", "device"])

# The discovery topics that Home Assistant accepts (its discovery.py, TOPIC_MATCHER).
TOPIC = re.compile(r"homeassistant/(sensor|binary_sensor|event)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")
DEVICE_TOPIC = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+/config")

# Keys of the schemas of Home Assistant 2025.4, and default_entity_id.
COMMON = {
    "availability",
    "availability_mode",
    "default_entity_id",
    "device_class",
    "enabled_by_default",
    "entity_category",
    "icon",
    "name",
    "qos",
    "state_topic",
    "unique_id",
}
KEYS = {
    "sensor": COMMON
    | {"options", "state_class", "suggested_display_precision", "unit_of_measurement", "value_template"},
    "binary_sensor": COMMON | {"payload_off", "payload_on"},
    "event": COMMON | {"event_types"},
}
DEVICE_KEYS = {
    "configuration_url",
    "identifiers",
    "manufacturer",
    "model",
    "name",
    "serial_number",
    "sw_version",
    "via_device",
}
ROOT_KEYS = {"availability", "availability_mode", "components", "device", "origin", "qos"}


def configs(messages: tuple[Message, ...]) -> dict[str, dict[str, Any]]:
    """Return the entities by unique id, as Home Assistant reads them: with inherited keys, key and device."""
    found: dict[str, dict[str, Any]] = {}
    for message in messages:
        assert message.content_type == JSON
        payload = json.loads(message.payload)
        levels = message.topic.split("/")
        if levels[1] == "device":
            assert payload.keys() <= ROOT_KEYS
            device_id, parts = levels[2], payload.pop("components")
        else:
            device_id, parts = levels[2], {levels[3]: {"platform": levels[1]}}
        for key, part in parts.items():
            config = {**payload, **part, "key": key, "device_id": device_id}
            assert config["unique_id"] not in found
            found[config["unique_id"]] = config
    return found


def everything(discovery: Discovery, station: Station = STATION, label: str | None = "Plug 1") -> tuple[Message, ...]:
    return (
        *homeassistant.bridge(discovery),
        *homeassistant.station(discovery, station),
        *homeassistant.plug(discovery, station, LEFT, label),
    )


def plug(discovery: Discovery, station: Station = STATION, label: str | None = "Plug 1") -> dict[str, dict[str, Any]]:
    """Return a plug's entities by key."""
    return {config["key"]: config for config in configs(homeassistant.plug(discovery, station, LEFT, label)).values()}


def device_name(messages: tuple[Message, ...]) -> str:
    names = {json.loads(message.payload)["device"]["name"] for message in messages}
    assert len(names) == 1
    return str(names.pop())


def test_both_forms_have_the_same_entities() -> None:
    assert configs(everything(ENTITY)) == configs(everything(DEVICE))
    assert len(configs(everything(ENTITY))) == 1 + 2 + 16


def test_one_message_per_entity_or_per_device() -> None:
    assert [len(homeassistant.plug(d, STATION, LEFT, None)) for d in (ENTITY, DEVICE)] == [16, 1]
    assert [len(homeassistant.station(d, STATION)) for d in (ENTITY, DEVICE)] == [2, 1]
    assert [len(homeassistant.bridge(d)) for d in (ENTITY, DEVICE)] == [1, 1]


@BOTH
def test_topics_to_clear_are_those_published(discovery: Discovery) -> None:
    prefix, form = discovery.prefix, discovery.form
    assert tuple(message.topic for message in everything(discovery)) == (
        *homeassistant.bridge_topics(prefix, form, discovery.bridge_id),
        *homeassistant.station_topics(prefix, form, EVSE),
        *homeassistant.plug_topics(prefix, form, EVSE, LEFT),
    )


@BOTH
def test_keys_are_accepted_by_home_assistant_and_openhab(discovery: Discovery) -> None:
    for config in configs(everything(discovery)).values():
        assert config.pop("device").keys() <= DEVICE_KEYS
        assert config.pop("origin") == {"name": "evse-mqtt-bridge", "sw_version": "1.2.3"}
        assert config.keys() - {"key", "device_id"} <= KEYS[config.pop("platform")] | {"platform"}
        assert config["qos"] == 1


@BOTH
def test_via_device_links_plug_station_and_bridge(discovery: Discovery) -> None:
    devices = {config["device_id"]: config["device"] for config in configs(everything(discovery)).values()}
    assert {key: (device["identifiers"], device.get("via_device")) for key, device in devices.items()} == {
        BRIDGE_ID: ([BRIDGE_ID], None),
        f"evse_{EVSE}": ([f"evse_{EVSE}"], BRIDGE_ID),
        f"evse_{EVSE}_{LEFT}": ([f"evse_{EVSE}_{LEFT}"], f"evse_{EVSE}"),
    }
    assert [device["name"] for device in devices.values()] == [
        "EVSE MQTT Bridge",
        "Garage north",
        "Garage north Plug 1",
    ]
    assert devices[BRIDGE_ID]["sw_version"] == "1.2.3"


@BOTH
def test_devices_have_a_manufacturer_and_a_link(discovery: Discovery) -> None:
    def devices(page_url: str) -> dict[str, dict[str, Any]]:
        messages = everything(replace(discovery, page_url=page_url))
        return {config["device_id"]: config["device"] for config in configs(messages).values()}

    found = devices("https://evse.example.com/")
    assert {key: (device["manufacturer"], device["configuration_url"]) for key, device in found.items()} == {
        BRIDGE_ID: ("evse-mqtt-bridge", "https://evse.example.com/"),
        f"evse_{EVSE}": ("CLEMAP", f"https://evse.example.com/#q={EVSE}"),
        f"evse_{EVSE}_{LEFT}": ("CLEMAP", f"https://evse.example.com/#q={LEFT}"),
    }
    assert not [device for device in devices("").values() if "configuration_url" in device]


@BOTH
def test_topics_are_those_of_the_contract(discovery: Discovery) -> None:
    contract = {*TOPICS.bridge}
    for config in configs(everything(discovery)).values():
        for topic in (config["state_topic"], *(entry["topic"] for entry in config.get("availability", []))):
            assert topic in contract or TOPICS.read(topic) is not None
        assert config["state_topic"].endswith(f"/{config['key']}")
        assert config["unique_id"] == f"{config['device_id']}_{config['key']}"


def test_every_plug_topic_has_an_entity() -> None:
    entities = {entity.field: entity for entity in PLUG_ENTITIES}
    assert {field.name for field in PLUG_FIELDS} - entities.keys() == {
        "label",
        "state",
        "availability",
        "iec61851",
        "session",
        "last_session",
    }
    counters = {field.name for field in METER_FIELDS}
    for field in PLUG_FIELDS:
        if field.unit:
            state_class = "total_increasing" if field.name in counters else "measurement"
            assert entities[field.name].options["unit_of_measurement"] == field.unit
            assert entities[field.name].options["state_class"] == state_class
            assert "suggested_display_precision" in entities[field.name].options


COUNTERS = ("energy", "energy_discharged", "energy_gap", "session_energy", "session_event")
BRIDGE_ALONE = ["evse/bridge/availability"]
STATE = "evse/garage-north/left/state"
EVERYTHING = [*BRIDGE_ALONE, "evse/garage-north/availability", "evse/garage-north/left/availability", STATE]


@BOTH
def test_entities_that_explain_an_outage_stay_available(discovery: Discovery) -> None:
    found = {config["key"]: config for config in configs(homeassistant.plug(discovery, STATION, LEFT, None)).values()}
    visible = {
        "availability_reason": BRIDGE_ALONE,
        "status": [*BRIDGE_ALONE, STATE],
        "time": [*BRIDGE_ALONE, STATE],
        **dict.fromkeys(COUNTERS, BRIDGE_ALONE),
    }
    assert {key: [entry["topic"] for entry in config["availability"]] for key, config in found.items()} == {
        key: visible.get(key, EVERYTHING) for key in found
    }
    assert {config["availability_mode"] for config in found.values()} == {"all"}
    station = configs(homeassistant.station(discovery, STATION)).values()
    assert [[entry["topic"] for entry in config["availability"]] for config in station] == [BRIDGE_ALONE, BRIDGE_ALONE]
    (bridge,) = configs(homeassistant.bridge(discovery)).values()
    assert "availability" not in bridge


def test_device_form_has_shared_keys_once() -> None:
    (message,) = homeassistant.plug(DEVICE, STATION, LEFT, "Plug 1")
    payload = json.loads(message.payload)
    inherits = {key for key, part in payload["components"].items() if "availability" not in part}
    assert inherits == {"availability_reason", *COUNTERS}
    assert not any({"device", "origin", "qos"} & part.keys() for part in payload["components"].values())
    assert (
        len(message.payload) < 11_000 < sum(len(m.payload) for m in homeassistant.plug(ENTITY, STATION, LEFT, "Plug 1"))
    )


def test_status_is_an_enum_with_unknown_as_fallback() -> None:
    options = plug(ENTITY)["status"]
    assert options["options"] == list(STATUSES)
    assert "state_class" not in options
    assert "unit_of_measurement" not in options
    template = re.fullmatch(
        r"{% if value in \[(.*)] %}{{ value }}{% else %}unknown{% endif %}", options["value_template"]
    )
    assert template
    assert template[1] == ", ".join(f"'{status}'" for status in STATUSES)
    assert "unknown" in STATUSES


def test_reasons_are_those_of_the_contract() -> None:
    (station,) = (entity for entity in STATION_ENTITIES if entity.field == "availability_reason")
    assert station.options["options"] == [
        "online",
        "unreachable",
        "server_error",
        "rate_limited",
        "unauthorized",
        "not_found",
        "invalid_response",
    ]
    assert plug(ENTITY)["availability_reason"]["options"] == [reason.value for reason in Reason]


@pytest.mark.parametrize(
    ("key", "device_class", "category", "more"),
    [
        ("status", "enum", None, {}),
        ("power", "power", None, {"unit_of_measurement": "W", "suggested_display_precision": 0}),
        ("current_l1", "current", None, {"unit_of_measurement": "A", "suggested_display_precision": 1}),
        ("dyn_current_limit", "current", None, {"unit_of_measurement": "A", "suggested_display_precision": 1}),
        ("time", "timestamp", "diagnostic", {}),
        ("charging", "battery_charging", None, {"payload_on": "true", "payload_off": "false"}),
        ("vehicle_connected", "plug", None, {"payload_on": "true", "payload_off": "false"}),
        ("problem", "problem", None, {"payload_on": "true", "payload_off": "false"}),
        ("availability_reason", "enum", "diagnostic", {}),
    ],
)
def test_classes_and_units(key: str, device_class: str, category: str | None, more: Mapping[str, object]) -> None:
    config = plug(ENTITY)[key]
    assert (config["device_class"], config.get("entity_category")) == (device_class, category)
    assert more.items() <= config.items()
    assert ("state_class" in config) == ("unit_of_measurement" in more)


@pytest.mark.parametrize("entities", [BRIDGE_ENTITIES, STATION_ENTITIES])
def test_connection_entities_are_online_or_offline(entities: tuple[Entity, ...]) -> None:
    (connection,) = (entity for entity in entities if entity.field == "availability")
    assert connection.options == {
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "payload_on": "online",
        "payload_off": "offline",
    }


@pytest.mark.parametrize(
    ("name", "alias", "plug_alias", "label", "station_name", "plug_name"),
    [
        ("Garage north", "gn", "left", "Plug 1", "Garage north", "Garage north Plug 1"),
        ("", "gn", "left", "Plug 1", "gn", "gn Plug 1"),
        ("", "", "left", "Plug 1", "EVSE 25104c56", "EVSE 25104c56 Plug 1"),
        ("Garage north", "", "left", None, "Garage north", "Garage north left"),
        ("Garage north", "", "left", "", "Garage north", "Garage north left"),
        ("Garage north", "", "left", " \t\u200b", "Garage north", "Garage north left"),
        ("Garage north", "", "", None, "Garage north", "Garage north 6bbf9fd5"),
        ("A\r\n  B\x00", "", "", "\x1b[31mred\x1b[0m", "A B", "A B [31mred [0m"),
        ("n" * 100, "", "", "l" * 10_000, "n" * 63 + "…", "n" * 63 + "… " + "l" * 63 + "…"),
        ("{{ 1/0 }}", "", "", "{% if %}", "{{ 1/0 }}", "{{ 1/0 }} {% if %}"),
    ],
)
def test_names(name: str, alias: str, plug_alias: str, label: str | None, station_name: str, plug_name: str) -> None:
    station = Station(EVSE, 30, name=name, alias=alias, plugs={LEFT: plug_alias} if plug_alias else {})
    assert device_name(homeassistant.station(ENTITY, station)) == station_name
    assert device_name(homeassistant.plug(ENTITY, station, LEFT, label)) == plug_name


@pytest.mark.parametrize(
    ("own_name", "shown"),
    [("Bay 1", "Bay 1"), ("A\r\n B\x00", "A B"), ("", "Plug 1"), (" \u200b", "Plug 1"), ("n" * 100, "n" * 63 + "…")],
)
def test_name_of_a_plug_replaces_its_label(own_name: str, shown: str) -> None:
    station = replace(STATION, plug_names={LEFT: own_name, RIGHT: "Other"})
    assert device_name(homeassistant.plug(ENTITY, station, LEFT, "Plug 1")) == f"Garage north {shown}"
    assert plug(ENTITY, station)["power"]["default_entity_id"] == "sensor.garage_north_left_power"


@BOTH
def test_entities_for_few_users_are_disabled_by_default(discovery: Discovery) -> None:
    found = configs(everything(discovery)).values()
    disabled = {config["key"] for config in found if not config.get("enabled_by_default", True)}
    assert disabled == {"time", "energy_discharged", "energy_gap"}


@pytest.mark.parametrize(
    ("alias", "plug_alias", "expected"),
    [
        ("garage-north", "left", "sensor.garage_north_left_current_limit"),
        ("Halle_2", "P1", "sensor.halle_2_p1_current_limit"),
        ("süd", "1", "sensor.süd_1_current_limit"),  # Home Assistant turns it into sud
        ("garage-north", "", None),
        ("", "left", None),
    ],
)
def test_entity_ids_are_made_of_aliases_alone(alias: str, plug_alias: str, expected: str | None) -> None:
    station = Station(EVSE, 30, name="Any", alias=alias, plugs={LEFT: plug_alias} if plug_alias else {})
    assert plug(ENTITY, station)["dyn_current_limit"].get("default_entity_id") == expected


def test_entity_ids_name_their_platform() -> None:
    for config in configs(everything(ENTITY)).values():
        if config["device_id"] != BRIDGE_ID:
            assert config["default_entity_id"].startswith(f"{config['platform']}.garage_north_")


def test_without_aliases_state_topics_have_uuids() -> None:
    assert plug(ENTITY, PLAIN)["power"]["state_topic"] == f"evse/{EVSE}/{LEFT}/power"
    assert plug(ENTITY)["power"]["state_topic"] == "evse/garage-north/left/power"


@BOTH
@given(name=st.text(), label=st.none() | st.text())
def test_foreign_text_changes_device_names_alone(discovery: Discovery, name: str, label: str | None) -> None:
    def nameless(messages: tuple[Message, ...]) -> list[tuple[str, dict[str, Any]]]:
        contents = [(message.topic, json.loads(message.payload)) for message in messages]
        for _, content in contents:
            text = content["device"].pop("name")
            assert text
            assert text == text.strip()
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", text)
        return contents

    assert nameless(everything(discovery, replace(PLAIN, name=name), label)) == nameless(everything(discovery, PLAIN))


@given(client_id=st.text(min_size=1, max_size=128), other=st.text(min_size=1, max_size=128))
def test_each_client_id_has_its_own_device_id(client_id: str, other: str) -> None:
    messages = homeassistant.bridge(replace(ENTITY, bridge_id=client_id))
    (entity,) = homeassistant.bridge_topics("homeassistant", "entity", client_id)
    (device,) = homeassistant.bridge_topics("homeassistant", "device", client_id)
    assert [message.topic for message in messages] == [entity]
    assert TOPIC.fullmatch(entity)
    assert DEVICE_TOPIC.fullmatch(device)
    assert (client_id == other) == (homeassistant.bridge_topics("homeassistant", "entity", other) == (entity,))


@pytest.mark.parametrize("client_id", ["a.b", "a b", "a/b", "a+b", "ä", "a\ud800"])
def test_client_ids_that_clean_alike_have_own_device_ids(client_id: str) -> None:
    assert homeassistant.bridge_topics("p", "device", client_id) != homeassistant.bridge_topics("p", "device", "a_b")
    assert device_name(homeassistant.bridge(replace(ENTITY, bridge_id=client_id)))


uuids = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=64)


@given(evse=uuids, plug_uuid=uuids)
def test_any_uuid_makes_topics_that_home_assistant_reads(evse: str, plug_uuid: str) -> None:
    for topic in (
        *homeassistant.station_topics("homeassistant", "entity", evse),
        *homeassistant.plug_topics("homeassistant", "entity", evse, plug_uuid),
    ):
        assert TOPIC.fullmatch(topic)
    for topic in (
        *homeassistant.station_topics("homeassistant", "device", evse),
        *homeassistant.plug_topics("homeassistant", "device", evse, plug_uuid),
    ):
        assert DEVICE_TOPIC.fullmatch(topic)


def test_name_that_cannot_be_encoded_is_replaced() -> None:
    assert device_name(homeassistant.station(ENTITY, replace(STATION, name="a\ud800b"))) == "a b"


@pytest.mark.parametrize("form", ["entity", "device"])
@pytest.mark.parametrize("prefix", ["homeassistant", "site/device", "device"])
def test_migration_unloads_every_old_topic(prefix: str, form: Form) -> None:
    topics = homeassistant.plug_topics(prefix, form, EVSE, LEFT)
    assert unload(topics) == tuple(Message(topic, b'{"migrate_discovery":true}', JSON) for topic in topics)
    placeholders = placeholder(topics)
    if form == "entity":
        assert placeholders == ()
        return
    (message,) = placeholders
    assert (message.topic, message.content_type) == (f"{prefix}/device/evse_{EVSE}_{LEFT}/config", JSON)
    assert json.loads(message.payload) == {
        "device": {"identifiers": [f"evse_{EVSE}_{LEFT}"]},
        "origin": {"name": "evse-mqtt-bridge"},
        "components": {
            "migration": {"platform": "tag", "topic": f"{prefix}/device/evse_{EVSE}_{LEFT}/migration"},
        },
    }


# --- the documentation


def documented_station() -> Station:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    (table,) = (table for block in blocks for table in tomllib.loads(block).get("stations", []))
    return Station(table["uuid"], 30, name=table["name"], alias=table["alias"], plugs=table["plugs"])


def slug(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower())


def test_documented_entity_ids_are_real() -> None:
    station = documented_station()
    real = set()
    for messages in (
        homeassistant.bridge(ENTITY),
        homeassistant.station(ENTITY, station),
        *(homeassistant.plug(ENTITY, station, uuid, f"Plug {number}") for number, uuid in enumerate(station.plugs, 1)),
    ):
        for config in configs(messages).values():
            by_name = f"{config['platform']}.{slug(config['device']['name'] + ' ' + config['name'])}"
            real |= {config.get("default_entity_id", by_name), by_name}
    mentioned = set(re.findall(r"\b(?:binary_)?sensor\.[a-z0-9_]+", DOCUMENT))
    assert len(mentioned) > 20
    assert mentioned <= real


def test_documented_table_lists_the_entities() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DOCUMENT.splitlines() if line[:1] == "|"]
    documented = [
        (device, name, kind.split(",")[0], needs)
        for device, names, kind, _, needs in (row for row in rows if len(row) == 5)
        if device in ("bridge", "station", "plug")
        for name in names.split(", ")
    ]
    status = "bridge, plug, except while the status is `offline` or `cloud_offline`"
    needs: dict[str, Callable[[Entity], str]] = {
        "bridge": lambda _: "nothing",
        "station": lambda _: "bridge",
        "plug": lambda entity: (
            "bridge, station, plug" if entity.follows_availability else {"status": status}.get(entity.field, "bridge")
        ),
    }
    tables = {"bridge": BRIDGE_ENTITIES, "station": STATION_ENTITIES, "plug": PLUG_ENTITIES}
    assert documented == [
        (device, entity.name, entity.platform.replace("_", " "), needs[device](entity))
        for device, entities in tables.items()
        for entity in entities
    ]
