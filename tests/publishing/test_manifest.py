"""The manifest: entries are read back as they were written, and forged ones are ignored."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import PlugState, Station, StationState
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.publishing.manifest import (
    ENTRY_LIMIT,
    BridgeEntry,
    BridgeInfo,
    StationEntry,
    bridge_info,
    read_bridge,
    read_station,
    station_info,
)
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW

if TYPE_CHECKING:
    from evse_mqtt_bridge.publishing.outputs.protocol import Location

_TOPICS = Topics("evse")
_TOPIC = "evse/garage/info"
_DISCOVERY = DiscoveryLocation("homeassistant", "entity")
_INFO: dict[str, Any] = {
    "uuid": "e1",
    "name": "Garage",
    "plugs": {"p1": {"topic": "left", "label": "Plug 1"}, "p2": {"topic": "p2", "label": None}},
    "published_by": "me",
    "contract": 1,
    "discovery": {"prefix": "homeassistant", "form": "entity"},
}
_BRIDGE: dict[str, Any] = {
    "name": "evse-mqtt-bridge",
    "client_id": "me",
    "base_topic": "evse",
    "discovery": {"prefix": "homeassistant", "form": "device"},
}


def _read(content: object, topic: str = _TOPIC) -> StationEntry | None:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_station(_TOPICS, topic, payload, "me")


@pytest.mark.parametrize("discovery", [_DISCOVERY, DiscoveryLocation("ha/x", "device"), None])
def test_entries_are_read_back_as_written(discovery: DiscoveryLocation | None) -> None:
    station = Station("e1", 30, name="Garage ⚡\n", alias="garage", plugs={"p1": "left"})
    state = StationState(plugs={"p1": PlugState("p1", "Plug \n 1"), "p2": PlugState("p2")})
    locations: tuple[Location, ...] = (PlainLocation(_TOPICS), *((discovery,) if discovery else ()))
    info = station_info(_TOPICS, station, state, "me", locations)
    entry = read_station(_TOPICS, info.topic, info.payload, "me")
    assert entry == StationEntry.of(_TOPICS, station, state, locations)


@pytest.mark.parametrize("character", ["x", "\x01", '"', "\U0001f697"])
def test_largest_entry_can_be_received(character: str) -> None:
    uuids = [f"{number:064}" for number in range(MAX_PLUGS)]
    station = Station("e" * 64, 30, name=character * 128, alias="a" * 64, plugs={uuid: uuid[::-1] for uuid in uuids})
    state = StationState(plugs={uuid: PlugState(uuid, character * 10_000) for uuid in uuids})
    locations = (PlainLocation(_TOPICS), DiscoveryLocation("h" * 200, "device"))
    info = station_info(Topics("b" * 200), station, state, "c" * 128, locations)
    assert len(info.topic) + len(info.payload) < ENTRY_LIMIT - 100
    bridge = bridge_info(_TOPICS, BridgeInfo("1", "me", NOW, 1, locations))
    assert read_bridge(bridge.topic, bridge.payload, "me") == BridgeEntry(_TOPICS, "me", locations)


def test_entry_has_every_topic_in_the_order_of_clearing() -> None:
    entry = _read(_INFO)
    assert entry is not None
    topics = list(entry.all_topics())
    assert {"evse/garage/left/power", "evse/garage/p2/state", "evse/garage/availability"} <= set(topics)
    assert topics[-1] == _TOPIC, "while it stands, an interrupted clean-up is resumed"
    assert [topic.startswith("homeassistant/") for topic in topics] == sorted(
        (topic.startswith("homeassistant/") for topic in topics), reverse=True
    ), "discovery goes before the topics that it refers to"
    assert {entry.all_topics()[topic] for topic in topics if topic.startswith("evse/garage/left/")} == {"p1"}
    assert entry.all_topics()["evse/garage/availability"] == ""
    bridge = read_bridge("evse/bridge/info", json.dumps(_BRIDGE).encode(), "me")
    assert bridge is not None
    assert list(bridge.all_topics())[-1] == "evse/bridge/info"


def _with(**changed: object) -> dict[str, Any]:
    return {**_INFO, **changed}


def _with_plug(uuid: str = "p1", **changed: object) -> dict[str, Any]:
    return _with(plugs={uuid: {"topic": "left", "label": None, **changed}})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        [],
        "info",
        None,
        {},
        _with(published_by="another"),
        _with(published_by=None),
        _with(published_by=["me"]),
        _with(uuid=5),
        _with(uuid="../x"),
        _with(uuid="e1\n"),
        _with(uuid="x" * 65),
        _with(uuid="{{ states() }}"),
        _with(plugs=None),
        _with(plugs=[["p1", "left"]]),
        _with(plugs={"p1": "left"}),
        _with(plugs={"p1": {}}),
        _with(plugs={f"p{index}": {"topic": f"p{index}", "label": None} for index in range(MAX_PLUGS + 1)}),
        _with_plug("#"),
        _with_plug("p1/power/x"),
        _with_plug(""),
        _with_plug(topic="+"),
        _with_plug(topic="#"),
        _with_plug(topic="a/b"),
        _with_plug(topic=""),
        _with_plug(topic="x" * 65),
        _with_plug(topic="a\x00b"),
        _with_plug(topic="a\x7fb"),
        _with_plug(topic="a\x85b"),
        _with_plug(topic="a\ud800b"),
        _with_plug(topic="a\uffffb"),
        _with_plug(topic="a b"),
        _with_plug(topic=7),
        _with_plug(label=7),
        _with_plug(label=["x"]),
        _with_plug(label="a\ud800b"),
    ],
)
def test_entry_that_no_bridge_can_write_is_ignored(content: object) -> None:
    assert _read(content) is None


@pytest.mark.parametrize(
    "topic",
    [
        "evse/bridge/info",
        "evse/garage/availability",
        "evse/garage/left/info",
        "other/garage/info",
        "evse/gar age/info",
        "evse/\u200bx/info",
        "evse/" + "x" * 65 + "/info",
        "evse//info",
    ],
)
def test_entry_on_a_topic_of_no_station_is_ignored(topic: str) -> None:
    assert _read(_INFO, topic) is None


@pytest.mark.parametrize(
    "location",
    [
        None,
        "homeassistant",
        [],
        {},
        {"prefix": "", "form": "entity"},
        {"prefix": 5, "form": "entity"},
        {"prefix": "homeassistant", "form": "both"},
        {"prefix": "homeassistant", "form": ["entity"]},
        {"prefix": "a/+", "form": "entity"},
        {"prefix": "#", "form": "entity"},
        {"prefix": "$SYS", "form": "entity"},
        {"prefix": "a\x00", "form": "entity"},
        {"prefix": "a\x01", "form": "entity"},
        {"prefix": "a\x7f", "form": "entity"},
        {"prefix": "a\ud800", "form": "entity"},
        {"prefix": "a\uffff", "form": "entity"},
        {"prefix": "a//b", "form": "entity"},
        {"prefix": "/a", "form": "entity"},
        {"prefix": "x" * 201, "form": "entity"},
    ],
)
def test_impossible_discovery_location_is_left_out(location: object) -> None:
    entry = _read(_with(discovery=location))
    assert entry is not None
    assert entry.locations == (PlainLocation(_TOPICS),)
    bridge = read_bridge("evse/bridge/info", json.dumps({**_BRIDGE, "discovery": location}).encode(), "me")
    assert bridge is not None
    assert bridge.locations == (PlainLocation(_TOPICS),)


@pytest.mark.parametrize("prefix", ["haus\xa0x", "a\u200bb", "a/b"])
def test_any_configurable_discovery_prefix_is_accepted(prefix: str) -> None:
    entry = _read(_with(discovery={"prefix": prefix, "form": "entity"}))
    assert entry is not None
    assert entry.locations == (PlainLocation(_TOPICS), DiscoveryLocation(prefix, "entity"))


@pytest.mark.parametrize(
    ("topic", "content"),
    [
        ("evse/bridge/info", {**_BRIDGE, "client_id": "another"}),
        ("evse/bridge/info", {**_BRIDGE, "client_id": None}),
        ("evse/bridge/info", {**_BRIDGE, "name": "zigbee2mqtt"}),
        ("evse/bridge/info", {**_BRIDGE, "base_topic": "other"}),
        ("evse/bridge/info", {**_BRIDGE, "base_topic": None}),
        ("evse/bridge/info", {**_BRIDGE, "base_topic": ["evse"]}),
        ("other/bridge/info", _BRIDGE),
        ("evse/bridge/availability", _BRIDGE),
        ("evse/garage/info", _BRIDGE),
        ("x" * 201 + "/bridge/info", {**_BRIDGE, "base_topic": "x" * 201}),
        ("evse/bridge/info", []),
    ],
)
def test_entry_of_another_bridge_is_ignored(topic: str, content: object) -> None:
    assert read_bridge(topic, json.dumps(content).encode(), "me") is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.fixed_dictionaries({}, optional={key: _json | st.just(value) for key, value in {**_INFO, **_BRIDGE}.items()}))
def test_topics_of_arbitrary_entries_can_be_published(content: dict[str, Any]) -> None:
    payload = json.dumps(content).encode()
    for entry in (_read(payload), read_bridge("evse/bridge/info", payload, "me")):
        for topic in entry.all_topics() if entry else ():
            assert not set(topic) & set("+#\x00")
            assert len(topic.encode()) < 2000
