"""Topics, types, entity ids, flows, files and lists on the pages for consumers match the bridge."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no stubs; it comes with the broker of the demo

from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reason, Station
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue
from evse_mqtt_bridge.publishing.contract import BRIDGE_FIELDS, PLUG_FIELDS, STATION_FIELDS, Field, Kind
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery as homeassistant
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery, Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import PLUG_ENTITIES
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.outputs.plug_values import plug_state
from evse_mqtt_bridge.publishing.topics import Topics, covers
from tests.harness import Mosquitto, Observer, run_command, write_config
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    name: (DOCS / f"{name}.md").read_text()
    for name in ("home-assistant", "node-red", "openhab", "iobroker", "scada", "evcc", "openwb")
}

TOPICS = Topics("evse")
STATION = Station(
    EXAMPLE_EVSE,
    30,
    name="Garage north",
    alias="garage-north",
    plugs=dict(zip(EXAMPLE_PLUGS, ("left", "right"), strict=True)),
)
FIELDS: dict[str, Field] = {
    **{f"evse/bridge/{field.name}": field for field in BRIDGE_FIELDS},
    **{TOPICS.station(STATION.topic_id, field.name): field for field in STATION_FIELDS},
    **{
        TOPICS.plug(STATION.topic_id, plug, field.name): field
        for plug in STATION.plugs.values()
        for field in PLUG_FIELDS
    },
}
"""Every topic of the example station on the pages."""

IOBROKER_TYPES = {
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.TEXT: "string",
    Kind.TIME: "string",
    Kind.JSON: "mixed",
}
NODE_RED_TYPES = {**IOBROKER_TYPES, Kind.JSON: "object"}

CORE_NODES = {
    *("tab", "comment", "debug", "function", "trigger", "rbe", "template", "inject"),
    *("mqtt in", "mqtt out", "mqtt-broker", "http in", "http response", "http request"),
}


def _block(page: str, language: str, containing: str = "") -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
    (found,) = (block for block in blocks if containing in block)
    return str(found)


def _rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table with this heading, without its first two lines."""
    table = text[text.index(heading) :].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- all pages


@pytest.mark.parametrize("page", PAGES)
def test_topics_on_page_are_in_the_contract(page: str) -> None:
    # A level alone, or with a trailing slash, is a prefix and does not match.
    named = set(re.findall(r"(?<![\w/.-])evse/[\w+#/-]*[\w+#]", PAGES[page]))
    assert named
    for topic in named:
        assert any(covers(topic, known) for known in FIELDS), topic


@pytest.mark.parametrize("page", PAGES)
def test_page_states_tested_version(page: str) -> None:
    assert re.search(r"^Tried with .* \d|not run ", PAGES[page], re.MULTILINE)


def test_images_are_small_and_used() -> None:
    images = list((DOCS / "images").iterdir())
    assert images
    for image in images:
        assert image.suffix == ".png"
        assert image.stat().st_size < 200_000
        assert any(f"](images/{image.name})" in page.read_text() for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", ["topics", "openhab", "scada"])
def test_texts_to_search_for_are_in_state_of_unknown_values(page: str) -> None:
    empty = plug_state(PlugState("p1", reading=PlugReading("p1"), reason=Reason.ONLINE)).decode()
    texts = set(re.findall(r'"[a-z_0-9]+":null', (DOCS / f"{page}.md").read_text()))
    assert texts
    assert {text for text in texts if text not in empty} == set()


# --- Home Assistant


def _entity_ids() -> Iterator[str]:
    discovery = Discovery(TOPICS, "homeassistant", "entity", 1, "evse-mqtt-bridge", "1")
    messages = [*homeassistant.station(discovery, STATION)]
    for plug in STATION.plugs:
        messages += homeassistant.plug(discovery, STATION, plug, "Plug 1")
    for message in messages:
        yield json.loads(message.payload)["default_entity_id"]
    (bridge,) = homeassistant.bridge(discovery)
    content = json.loads(bridge.payload)
    platform = bridge.topic.split("/")[1]
    yield f"{platform}.{re.sub(r'[^a-z0-9]+', '_', (content['device']['name'] + ' ' + content['name']).lower())}"


def _strings(content: object) -> Iterator[str]:
    match content:
        case str():
            yield content
        case dict():
            for value in content.values():
                yield from _strings(value)
        case list():
            for value in content:
                yield from _strings(value)


def test_home_assistant_yaml_uses_discovered_entity_ids() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGES["home-assistant"], re.DOTALL | re.MULTILINE)
    contents: list[Any] = [yaml.safe_load(block) for block in blocks]
    named = {text for text in _strings(contents) if re.match(r"(binary_)?sensor\.", text)}
    assert len(named) > 20
    assert named <= set(_entity_ids())


def test_home_assistant_messages_per_plug_are_documented() -> None:
    per_plug = sum(".garage_north_left_" in entity for entity in _entity_ids())
    assert f"| one per entity, {per_plug} per plug |" in PAGES["home-assistant"]


def _retained_topics(form: Form | None) -> int:
    plain = PlainLocation(TOPICS)
    locations = (plain, DiscoveryLocation("homeassistant", form)) if form else (plain,)
    rows = catalogue(Inventory(TOPICS, "evse-mqtt-bridge", 1, (STATION,), locations))
    return sum(row.retained and row.device != "bridge" for row in rows)


def test_number_of_topics_per_station_is_documented() -> None:
    plain, entity, device = map(_retained_topics, (None, "entity", "device"))
    text = f'{plain} retained topics, with discovery {entity} (`homeassistant.discovery = "entity"`) or {device} (`'
    assert text in " ".join((DOCS / "topics.md").read_text().split())
    assert f"{entity} retained topics" in (DOCS / "performance.md").read_text()
    assert f"Expect {entity} retained topics" in (DOCS / "operations.md").read_text()


def test_home_assistant_yaml_blocks_have_different_keys() -> None:
    """All blocks for configuration.yaml can be used together; the dashboard has its own file."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGES["home-assistant"], re.DOTALL | re.MULTILINE)
    keys = [key for block in blocks for key in yaml.safe_load(block) if not block.startswith("title:")]
    assert {"sensor", "automation"} <= set(keys)
    assert len(keys) == len(set(keys))


# --- Node-RED


def _flows() -> list[Path]:
    return sorted((DOCS / "node-red").glob("*.json"))


@pytest.mark.parametrize("file", _flows(), ids=lambda file: file.stem)
def test_flow_is_consistent_and_uses_core_nodes(file: Path) -> None:
    nodes: list[dict[str, Any]] = json.loads(file.read_text())
    by_id = {node["id"]: node for node in nodes}
    assert len(by_id) == len(nodes)
    assert {node["type"] for node in nodes} <= CORE_NODES
    (tab,) = (node["id"] for node in nodes if node["type"] == "tab")
    for node in nodes:
        assert node.get("z", tab) == tab
        if node["type"] in {"mqtt in", "mqtt out"}:
            assert by_id[node["broker"]]["type"] == "mqtt-broker"
        assert node["type"] != "mqtt in" or node["broker"] == "evse_broker"
        for output in node.get("wires", []):
            assert set(output) <= by_id.keys()
    assert any(f"](node-red/{file.name})" in page for page in PAGES.values())


@pytest.mark.parametrize("file", _flows(), ids=lambda file: file.stem)
def test_flow_only_reads_topics_of_the_contract(file: Path) -> None:
    nodes: list[dict[str, Any]] = json.loads(file.read_text())
    inputs = [node for node in nodes if node["type"] == "mqtt in"]
    assert inputs or file.stem == "monthly-report"  # it reads the history
    for node in inputs:
        assert node["datatype"] == "auto-detect"
        assert any(covers(node["topic"], topic) for topic in FIELDS), node["topic"]
    for node in nodes:
        if node["type"] == "mqtt out":
            assert node["d"]
            assert not node["topic"].startswith("evse/")
            if node["broker"] == "evse_broker":
                assert f"topic write {node['topic']}\n" in PAGES["node-red"]


def test_flows_share_one_broker_without_credentials() -> None:
    flows = [json.loads(file.read_text()) for file in _flows()]
    brokers = [node for flow in flows for node in flow if node["type"] == "mqtt-broker"]
    shared = [broker for broker in brokers if broker["id"] == "evse_broker"]
    assert len(shared) == sum(any(node["type"] == "mqtt in" for node in flow) for flow in flows)
    assert all(broker == shared[0] for broker in shared)
    assert not any({"credentials", "user", "password"} & broker.keys() for broker in brokers)


def test_flows_read_existing_keys_of_state() -> None:
    """Functions read a key as `plug.power`, or in a loop over a list of keys."""
    known = {field.name for field in PLUG_FIELDS} - {"state"}
    for file in _flows():
        for node in json.loads(file.read_text()):
            code = node.get("func", "")
            read = set(re.findall(r"\bplug\.([a-z_0-9]+)", code))
            if "for (const key of [" in code:
                read |= set(re.findall(r'"([a-z_0-9]+)"', code.split("for (const key of [")[1].split("]")[0]))
            assert read <= known, file.name


def test_openwb_flow_has_the_documented_messages() -> None:
    """The source of openWB demands exactly these (packages/modules/chargepoints/mqtt, reading without a default)."""
    demanded = {"power", "currents", "phases_in_use", "imported", "exported", "plug_state", "charge_state"}
    nodes = {node["id"]: node for node in json.loads((DOCS / "node-red" / "openwb.json").read_text())}
    values = nodes["evse_openwb_point"]["func"].split("const values = {")[1].split("};")[0]
    assert set(re.findall(r"^    (\w+)[:,]", values, re.MULTILINE)) == demanded
    heading = "| topic below `openWB/set/mqtt/chargepoint/4/get/` |"
    assert {_quoted(cells[0])[0] for cells in _rows(PAGES["openwb"], heading)} == demanded
    (tab,) = (node for node in nodes.values() if node["type"] == "tab")
    assert tab["env"][0]["value"] in PAGES["openwb"]


def test_node_red_types_match_the_contract() -> None:
    documented = {
        name: cells[1].split()[0]
        for cells in _rows(PAGES["node-red"], "| topic | `msg.payload`")
        for name in _quoted(cells[0])
    }
    assert documented == {field.name: NODE_RED_TYPES[field.kind] for field in FIELDS.values()}


# --- openHAB


def _channels() -> dict[str, tuple[str, dict[str, str]]]:
    """Return the type and the parameters of each channel, by its uid."""
    channels = {}
    thing = ""
    for line in _block("openhab", "java", "Bridge mqtt:broker").splitlines():
        if found := re.match(r'    Thing topic (\w+) "[^"]+" (\[.*] )?\{$', line):
            thing = f"mqtt:topic:home:{found[1]}"
        elif found := re.match(r'            Type (\w+) +: (\w+) +"[^"]+" +\[ (.*) ]$', line):
            channels[f"{thing}:{found[2]}"] = (found[1], dict(re.findall(r'(\w+)="([^"]*)"', found[3])))
        else:
            assert re.fullmatch(r"(Bridge .*\{)?|    \}|\}|        Channels:", line), line
    return channels


def test_openhab_channels_match_their_topics() -> None:
    channels = _channels()
    assert len(channels) == 1 + 2 + 13
    for kind, settings in channels.values():
        field = FIELDS[settings["stateTopic"]]
        if field.name == "availability":
            expected = "switch", {"on": "online", "off": "offline"}
        elif field.kind is Kind.BOOLEAN:
            expected = "switch", {"on": "true", "off": "false"}
        elif field.kind is Kind.NUMBER:
            expected = "number", {"unit": field.unit}
        else:
            expected = "datetime" if field.kind is Kind.TIME else "string", {}
        assert (kind, {key: value for key, value in settings.items() if key != "stateTopic"}) == expected


def test_openhab_things_have_an_availability_topic() -> None:
    things = re.findall(
        r'availabilityTopic="([^"]+)", payloadAvailable="([^"]+)", payloadNotAvailable="([^"]+)"', PAGES["openhab"]
    )
    assert len(things) == 2
    for topic, available, unavailable in things:
        assert (FIELDS[topic].name, available, unavailable) == ("availability", "online", "offline")


def test_openhab_items_match_their_channels() -> None:
    channels = _channels()
    kinds = {"string": "String", "switch": "Switch", "datetime": "DateTime"}
    dimensions = {"W": "Number:Power", "A": "Number:ElectricCurrent"}
    block = _block("openhab", "java", "Group GarageNorth_Left")
    items = re.findall(r'^(\S+) (\w+) .*\{ channel="([^"]+)"(?:, unit="(\w+)")? }$', block, re.MULTILINE)
    assert {channel for _, _, channel, _ in items} == channels.keys()
    for item_type, _, channel, unit in items:
        kind, settings = channels[channel]
        assert unit == settings.get("unit", "")
        assert item_type == (dimensions[unit] if unit else kinds[kind])
    groups = set(re.findall(r"^Group\S* (\w+)", block, re.MULTILINE))
    assert groups == {name.strip() for names in re.findall(r"\(([\w, ]+)\) \{", block) for name in names.split(",")}
    names = {name for _, name, _, _ in items}
    assert set(re.findall(r"\b(?:GarageNorth|EvseBridge)_\w+", _block("openhab", "java", "rule "))) <= names


def test_openhab_discovered_channels_match_the_entities() -> None:
    documented = {
        name: cells[1] for cells in _rows(PAGES["openhab"], "| channel | item |") for name in _quoted(cells[0])
    }
    units = {"W": "Number:Power", "A": "Number:ElectricCurrent", "kWh": "Number:Energy", "s": "Number:Time"}
    assert documented == {
        entity.field: "Switch"
        if entity.platform == "binary_sensor"
        else units.get(str(entity.options.get("unit_of_measurement")), "String")
        for entity in PLUG_ENTITIES
    }
    assert f"has {len(documented)} channels" in PAGES["openhab"]


# --- ioBroker


def test_iobroker_object_tree_matches_the_contract() -> None:
    documented = {_quoted(cells[0])[0]: cells[1] for cells in _rows(PAGES["iobroker"], "| object | type |")}
    assert documented == {
        topic.removeprefix("evse/").replace("/", "."): IOBROKER_TYPES[field.kind]
        for topic, field in FIELDS.items()
        if "/left/" not in topic
    }


def test_iobroker_objects_in_examples_exist() -> None:
    known = {"mqtt.0." + topic.replace("/", ".") for topic in FIELDS}
    shown = json.loads(_block("iobroker", "json"))
    assert shown["_id"] in known
    assert FIELDS[shown["native"]["topic"]].kind is Kind.NUMBER
    code = _block("iobroker", "javascript")
    (prefix,) = re.findall(r'const plug = "([^"]+)"', code)
    named = {prefix + field for field in re.findall(r'plug \+ "([^"]+)"', code)}
    assert len(named) == 1
    assert named | set(re.findall(r'getState\("([^"]+)"\)', code)) <= known
    keys = set(re.findall(r"\bstate\.([a-z_0-9]+)", code))
    assert keys == {"availability", "power"} <= {field.name for field in PLUG_FIELDS}


def test_iobroker_limit_of_object_ids_is_correct() -> None:
    uuid = "0" * 32
    longest = max(len(f"mqtt.0.evse.{uuid}.{uuid}.{field.name}") for field in PLUG_FIELDS)
    assert f"more than {len('evse') + 100 - longest} characters" in PAGES["iobroker"]


@pytest.mark.parametrize("allowed", ["read", "readwrite"])
def test_iobroker_access_rules_allow_only_reading(tmp_path: Path, allowed: str) -> None:
    power = "evse/garage-north/right/power"
    rules = _block("iobroker", "", "user iobroker")
    assert rules == "user iobroker\ntopic read evse/#\n"
    folder = tmp_path / "broker"
    folder.mkdir()
    markers = "topic readwrite observer-marker/#"  # topics of the test clients
    rules = rules.replace("topic read ", f"topic {allowed} ")
    (folder / "acl").write_text(f"{rules}{markers}\n\nuser bridge\ntopic readwrite #\n")
    with (
        Mosquitto(folder, extra=[f"acl_file {folder / 'acl'}"]) as broker,
        Observer(broker.port, username="bridge", password="any") as bridge,
    ):
        bridge.publish(power, "7107", retain=True)
        with Observer(broker.port, "evse/#", username="iobroker", password="any") as reader:
            assert reader.latest == {power: "7107"}
            reader.publish(power, "5")
            reader.sync()
        bridge.sync()
        assert bridge.latest[power] == ("7107" if allowed == "read" else "5")


# --- SCADA


def test_scada_tag_list_is_the_output_of_topics(tmp_path: Path) -> None:
    station = {
        "edge_device_id": "edge-1",
        "uuid": STATION.uuid,
        "token": "any",
        "name": STATION.name,
        "alias": STATION.alias,
        "plugs": dict(STATION.plugs),
    }
    config = write_config(tmp_path / "config.toml", {"mqtt": {"host": "localhost"}, "stations": [station]})
    printed = run_command("topics", "--config", config, "--csv")
    assert printed.returncode == 0, printed.stderr
    shown = _block("scada", "csv").splitlines()
    assert shown[0] == printed.stdout.splitlines()[0]
    assert set(shown) <= set(printed.stdout.splitlines())
    for row in csv.DictReader(shown):
        assert row["quality_topic"] in {"", *FIELDS}
        assert row["time_topic"] in {"", *FIELDS}


def test_scada_tags_match_their_topics() -> None:
    for topic, tag, kind in _rows(PAGES["scada"], "| topic | tag |"):
        (name,) = _quoted(topic)
        assert _quoted(tag) == [name.replace("evse/", "EVSE/", 1)]
        field = FIELDS[name]
        types = {Kind.NUMBER: f"floating point, {field.unit}", Kind.BOOLEAN: "Boolean", Kind.TIME: "date and time, UTC"}
        assert kind.startswith(types.get(field.kind, "string"))


def test_scada_subscriptions_cover_all_plain_values() -> None:
    filters = next(
        _quoted(cells[1]) for cells in _rows(PAGES["scada"], "| setting | value |") if cells[0] == "Subscriptions"
    )
    got = {topic for topic in FIELDS if any(covers(name, topic) for name in filters)}
    assert got == {topic for topic, field in FIELDS.items() if field.kind is not Kind.JSON}
    assert all(any(covers(name, topic) for topic in FIELDS) for name in filters)


def test_no_topic_is_a_parent_of_another() -> None:
    for topic in FIELDS:
        assert not any(other.startswith(f"{topic}/") for other in FIELDS)
