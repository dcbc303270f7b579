"""The manifest: entries are read back as they were written, and forged ones are ignored."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import PlugState, Station, StationState
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry, obsolete_topics
from evse_mqtt_bridge.publishing.manifest_payloads import (
    ENTRY_LIMIT,
    MAX_PREVIOUS,
    BridgeFacts,
    bridge_info,
    fits,
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
_LOCATIONS = (PlainLocation(_TOPICS),)
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
    return next(iter(read_station(_TOPICS, topic, payload, {"me"})), None)


def _read_bridge(content: object, topic: str = "evse/bridge/info") -> BridgeEntry | None:
    return next(iter(read_bridge(topic, json.dumps(content).encode(), {"me"})), None)


@pytest.mark.parametrize("discovery", [_DISCOVERY, DiscoveryLocation("ha/x", "device"), None])
def test_entries_are_read_back_as_written(discovery: DiscoveryLocation | None) -> None:
    station = Station("e1", 30, name="Garage ⚡\n", alias="garage", plugs={"p1": "left"})
    state = StationState(plugs={"p1": PlugState("p1", "Plug \n 1"), "p2": PlugState("p2")})
    locations: tuple[Location, ...] = (PlainLocation(_TOPICS), *((discovery,) if discovery else ()))
    entry = StationEntry.of(_TOPICS, station, state, locations)
    info = station_info(entry, "me")
    assert read_station(_TOPICS, info.topic, info.payload, {"me"}) == (entry,)
    bridge = BridgeEntry(_TOPICS, "me", locations)
    info = bridge_info(bridge, BridgeFacts("1", NOW, 1))
    assert read_bridge(info.topic, info.payload, {"me"}) == (bridge,)


def _entry(*plugs: str, uuid: str = "e1", locations: "tuple[Location, ...]" = _LOCATIONS) -> StationEntry:
    """Return an entry whose plugs p1, p2, ... have these topic ids."""
    topic_ids = {f"p{number}": plug for number, plug in enumerate(plugs, 1)}
    return StationEntry(_TOPICS, "garage", uuid, topic_ids, dict.fromkeys(topic_ids, "A"), locations)


def test_previous_entries_are_read_back_as_written() -> None:
    entry, previous = _entry("left"), (_entry("right", "p2"), _entry("left", uuid="e2"))
    info = station_info(entry, "me", previous)
    assert read_station(_TOPICS, info.topic, info.payload, {"me"}) == (entry, *previous)
    bridge = BridgeEntry(_TOPICS, "me", (PlainLocation(_TOPICS),))
    elsewhere = BridgeEntry(Topics("site"), "another", (PlainLocation(Topics("site")), _DISCOVERY))
    info = bridge_info(bridge, BridgeFacts("1", NOW, 1), [elsewhere])
    assert read_bridge(info.topic, info.payload, {"me"}) == (bridge, elsewhere)


@pytest.mark.parametrize("previous", [None, 5, {}, [5, None, [], {}, {"uuid": "#"}, {"uuid": "e2", "plugs": 5}]])
def test_impossible_previous_entries_are_left_out(previous: object) -> None:
    content = json.dumps({**_INFO, "previous": previous}).encode()
    assert len(read_station(_TOPICS, _TOPIC, content, {"me"})) == 1
    content = json.dumps({**_BRIDGE, "previous": previous}).encode()
    assert len(read_bridge("evse/bridge/info", content, {"me"})) == 1


@pytest.mark.parametrize("base", [5, "", "#", "a/+", "/a", "a//b", "$SYS", "a\x00", "x" * 201])
def test_impossible_previous_base_topic_is_left_out(base: object) -> None:
    content = {**_BRIDGE, "previous": [{"client_id": "me", "base_topic": base}]}
    assert len(read_bridge("evse/bridge/info", json.dumps(content).encode(), {"me"})) == 1


def test_previous_entries_are_limited_in_number_and_size() -> None:
    many = tuple(_entry(f"x{number}") for number in range(MAX_PREVIOUS + 1))
    assert fits(_entry("left"), many[1:])
    assert not fits(_entry("left"), many)
    content = json.dumps({**_INFO, "previous": [_INFO] * 100}).encode()
    assert len(read_station(_TOPICS, _TOPIC, content, {"me"})) == 1 + MAX_PREVIOUS
    large = tuple(_entry(*(f"{name}{number}".ljust(64, "ä") for number in range(MAX_PLUGS))) for name in "abcdefgh")
    assert fits(large[0], large[1:2])
    assert not fits(large[0], large[1:])
    info = station_info(large[0], "me", large[1:])
    assert len(info.payload) < ENTRY_LIMIT
    assert read_station(_TOPICS, info.topic, info.payload, {"me"})[:2] == large[:2], "the oldest ones are kept"


def test_entry_covers_and_joins_by_topics() -> None:
    one, two, other = _entry("left"), _entry("left", "right"), _entry("right")
    moved = _entry("left", locations=(PlainLocation(_TOPICS), _DISCOVERY))
    assert two.covers(one)
    assert moved.covers(one)
    assert not one.covers(two)
    assert not one.covers(moved)
    assert not one.covers(other)
    assert not one.covers(_entry("left", uuid="e2"))
    assert one.joined(two) == two.joined(one) == two
    assert one.joined(other) is None
    assert one.joined(moved) is None
    assert one.joined(_entry("left", uuid="e2")) is None
    bridge = BridgeEntry(_TOPICS, "me", (_DISCOVERY,))
    assert bridge.covers(BridgeEntry(_TOPICS, "me", ()))
    assert not bridge.covers(BridgeEntry(_TOPICS, "you", ()))
    assert not bridge.covers(one)


def test_obsolete_topics_are_those_without_the_same_plug() -> None:
    old = _entry("left", "p2", locations=(PlainLocation(_TOPICS), _DISCOVERY))
    assert list(obsolete_topics(old, None)) == list(old.all_topics())
    assert list(obsolete_topics(old, old)) == []
    new = _entry("p1", "left", locations=old.locations)
    assert {topic.rsplit("/", 1)[0] for topic in obsolete_topics(old, new)} == {"evse/garage/left", "evse/garage/p2"}


@pytest.mark.parametrize("character", ["x", "\x01", '"', "\U0001f697"])
def test_largest_entry_can_be_received(character: str) -> None:
    uuids = [f"{number:064}" for number in range(MAX_PLUGS)]
    station = Station("e" * 64, 30, name=character * 128, alias="a" * 64, plugs={uuid: uuid[::-1] for uuid in uuids})
    state = StationState(plugs={uuid: PlugState(uuid, character * 10_000) for uuid in uuids})
    locations = (PlainLocation(_TOPICS), DiscoveryLocation("h" * 200, "device"))
    info = station_info(StationEntry.of(Topics("b" * 200), station, state, locations), "c" * 128)
    assert len(info.topic) + len(info.payload) < ENTRY_LIMIT - 100


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
    bridge = _read_bridge(_BRIDGE)
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
    bridge = _read_bridge({**_BRIDGE, "discovery": location})
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
    assert _read_bridge(content, topic) is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


_info = st.fixed_dictionaries(
    {},
    optional={key: _json | st.just(value) for key, value in {**_INFO, **_BRIDGE, "previous": [_INFO, _BRIDGE]}.items()},
)


@given(_info)
def test_topics_of_arbitrary_entries_can_be_published(content: dict[str, Any]) -> None:
    payload = json.dumps(content).encode()
    entries: tuple[Entry, ...] = (
        *read_station(_TOPICS, _TOPIC, payload, {"me"}),
        *read_bridge("evse/bridge/info", payload, {"me"}),
    )
    for entry in entries:
        for topic in entry.all_topics():
            assert not set(topic) & set("+#\x00")
            assert len(topic.encode()) < 2000
