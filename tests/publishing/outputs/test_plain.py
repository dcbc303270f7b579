"""Plain topics: every topic of the vendor's example, numbers, times, flags, changes, and omitted values."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import PlugReading, PlugState, Reading, Reason, Station, StationState
from evse_mqtt_bridge.publishing.contract import PLUG_FIELDS, READING_FIELDS, STATION_FIELDS, Kind
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import BridgeFacts, bridge_info, station_info
from evse_mqtt_bridge.publishing.message import JSON, Message, clear
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainTopics, bridge_availability
from evse_mqtt_bridge.publishing.outputs.protocol import Part
from evse_mqtt_bridge.publishing.payloads import number, timestamp
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW, at, failure, plug_reading, plug_readings, reading

_TOPICS = Topics("evse")
_STATION = Station("e1", 30, name="Garage", alias="garage", plugs={"p2": "left"})
_EXAMPLE = (Path(__file__).parents[2] / "fixtures" / "status-example.json").read_bytes()
_EVSE = "25104c56d7f848af830af4300193efb3"
_PLUG_1, _PLUG_2 = "6bbf9fd56dc24f9697b078d5d8ccda84", "c99838f9eb5b423d98f8ba33389a255c"


def _changes(station: Station, old: StationState | None, new: StationState) -> Iterator[Message]:
    """Yield the messages of the output, part by part."""
    for part in Part:
        yield from PlainTopics(_TOPICS).station(part, station, old, new)


def _tree(messages: Iterable[Message]) -> dict[str, str]:
    return {message.topic: message.payload.decode() for message in messages}


def _published(one: PlugReading) -> dict[str, str]:
    """Return the payloads that are published for a plug, by the last level of the topic."""
    state = advance(StationState(), reading(one), Rules(), at(0))
    tree = _tree(_changes(_STATION, StationState(), state))
    return {topic.rsplit("/", 1)[1]: payload for topic, payload in tree.items() if topic.startswith("evse/garage/p1/")}


def test_vendors_example_publishes_each_topic_of_the_contract() -> None:
    outcome = parse(_EXAMPLE, _EVSE)
    assert isinstance(outcome, Reading)
    state = advance(StationState(), outcome, Rules(), at(0))
    tree = _tree(_changes(Station(_EVSE, 30), StationState(), state))
    one, two = f"evse/{_EVSE}/{_PLUG_1}/", f"evse/{_EVSE}/{_PLUG_2}/"
    states = [json.loads(tree.pop(prefix + "state")) for prefix in (one, two)]
    assert tree == {
        one + "status": "idle",
        one + "power": "0",
        one + "current_l1": "0",
        one + "current_l2": "0",
        one + "current_l3": "0",
        one + "dyn_current_limit": "6",
        one + "time": "2024-03-25T11:12:17.851Z",
        one + "label": "Plug 1",
        one + "charging": "false",
        one + "vehicle_connected": "false",
        one + "problem": "false",
        one + "iec61851": "A",
        one + "availability": "online",
        one + "availability_reason": "online",
        two + "status": "charging",
        two + "power": "7107",
        two + "current_l1": "10.3",
        two + "current_l2": "10.3",
        two + "current_l3": "10.3",
        two + "dyn_current_limit": "12",
        two + "time": "2024-03-25T11:12:17.851Z",
        two + "label": "Plug 2",
        two + "charging": "true",
        two + "vehicle_connected": "true",
        two + "problem": "false",
        two + "iec61851": "C",
        two + "availability": "online",
        two + "availability_reason": "online",
        f"evse/{_EVSE}/availability": "online",
        f"evse/{_EVSE}/availability_reason": "online",
    }
    assert states[1] == {
        "status": "charging",
        "power": 7107,
        "current_l1": 10.3,
        "current_l2": 10.3,
        "current_l3": 10.3,
        "dyn_current_limit": 12,
        "time": "2024-03-25T11:12:17.851Z",
        "label": "Plug 2",
        "charging": True,
        "vehicle_connected": True,
        "problem": False,
        "iec61851": "C",
        **dict.fromkeys(("energy", "energy_discharged", "energy_gap", "session_energy", "session", "energy_time")),
        "availability_reason": "online",
        "availability": "online",
    }
    assert (states[0]["status"], states[0]["power"], states[0]["charging"]) == ("idle", 0, False)


_NOT_IN_STATE = {"state", "last_session", "session_event"}


def test_contract_has_no_other_topics() -> None:
    measured = {"status", "power", "current_l1", "current_l2", "current_l3", "dyn_current_limit", "time", "label"}
    derived = {"charging", "vehicle_connected", "problem", "iec61851", "availability", "availability_reason", "state"}
    metered = {"energy", "energy_discharged", "energy_gap", "session_energy"}
    sessions = {"session", "last_session", "session_event"}
    assert {field.name for field in PLUG_FIELDS} == measured | derived | metered | sessions
    assert {field.name for field in STATION_FIELDS} == {"availability", "availability_reason", "info"}


def test_json_objects_alone_have_a_content_type() -> None:
    state = advance(StationState(), reading(), Rules(), at(0))
    messages = [*_changes(_STATION, StationState(), state), *clear(["evse/a/b/state"])]
    messages.append(station_info(StationEntry.of(_TOPICS, _STATION, state, ()), "me"))
    assert {message.topic for message in messages if message.content_type == JSON} == {
        "evse/garage/p1/state",
        "evse/garage/info",
    }


@pytest.mark.parametrize("nothing", [None, ""])
def test_missing_value_is_null_in_state_and_not_published(nothing: str | None) -> None:
    published = _published(PlugReading("p1", status=nothing, label=nothing))
    state = json.loads(published.pop("state"))
    assert published == {"availability": "online", "availability_reason": "online"}
    assert state.pop("label") == state.pop("status") == nothing
    assert state.pop("availability") == state.pop("availability_reason") == "online"
    assert set(state.values()) == {None}


@pytest.mark.parametrize(
    ("status", "flags"), [("stopped", {"charging", "problem"}), ("offline", set()), ("new", set())]
)
def test_flag_is_published_only_where_the_status_decides(status: str, flags: set[str]) -> None:
    published = _published(plug_reading(status=status))
    assert published.keys() & {"charging", "vehicle_connected", "problem"} == flags
    assert published["status"] == status


@given(plug_readings("p1"))
def test_every_payload_is_of_its_kind(one: PlugReading) -> None:
    published = _published(one)
    state = json.loads(published["state"])
    assert state.keys() == {field.name for field in PLUG_FIELDS} - _NOT_IN_STATE | {"energy_time"}
    for field in READING_FIELDS:
        payload = published.get(field.name)
        if payload is None:
            assert state[field.name] in (None, "")
            continue
        match field.kind:
            case Kind.BOOLEAN:
                assert payload in ("true", "false")
                assert state[field.name] is (payload == "true")
            case Kind.NUMBER:
                assert float(payload) == state[field.name]
            case Kind.TIME:
                assert datetime.fromisoformat(payload) == one.time
                assert payload.endswith("Z")
                assert state[field.name] == payload
            case _:
                assert state[field.name] == payload != ""


# Numbers and times


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7107.0, "7107"),
        (10.3, "10.3"),
        (0.0, "0"),
        (-0.0, "0"),
        (-2300.5, "-2300.5"),
        (6, "6"),
        (1e9, "1000000000"),
        (1e22, "10000000000000000000000"),
        (1e-7, "0.0000001"),
        (-1.5e-10, "-0.00000000015"),
        (5e-324, "0." + "0" * 323 + "5"),
        (0.1 + 0.2, "0.30000000000000004"),
    ],
)
def test_number_has_its_shortest_decimal_form(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18))
def test_number_is_plain_and_exact(value: float) -> None:
    text = number(value)
    assert float(text) == float(value)
    integer, _, fraction = text.removeprefix("-").partition(".")
    assert integer.isdecimal()
    assert integer == "0" or not integer.startswith("0")
    assert "." not in text or (fraction.isdecimal() and not fraction.endswith("0"))
    assert text != "-0"
    assert len(text) <= len(format(Decimal(repr(value)), "f")), "no superfluous digit"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2024, 3, 25, 11, 12, 17, 851_000, UTC), "2024-03-25T11:12:17.851Z"),
        (datetime(2024, 3, 25, 11, 12, 17, 0, UTC), "2024-03-25T11:12:17.000Z"),
        (datetime(2024, 3, 25, 11, 12, 17, 851_234, UTC), "2024-03-25T11:12:17.851234Z"),
        (datetime(2024, 3, 25, 13, 12, 17, 0, timezone(timedelta(hours=2))), "2024-03-25T11:12:17.000Z"),
        (datetime(1, 1, 1, 0, 0, 0, 0, UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_timestamp_is_utc_to_the_millisecond_or_finer(time: datetime, text: str) -> None:
    assert timestamp(time) == text


# Changes


def _steps(*answers: Reading, every: float = 1) -> list[dict[str, str]]:
    """Return the messages that follow each of these polls."""
    state, published = StationState(), []
    for index, one in enumerate(answers):
        before, state = state, advance(state, one, Rules(), at(index * every))
        published.append(_tree(_changes(_STATION, before, state)))
    return published


def test_unchanged_answer_publishes_nothing() -> None:
    again = [_steps(reading(), reading(), reading(), every=seconds)[1:] for seconds in (1, 100)]
    assert again == [[{}, {}], [{}, {}]]


def test_changed_value_is_published_with_time_and_state() -> None:
    later = NOW + timedelta(seconds=1)
    published = _steps(reading(), reading(plug_reading(power=11.0, time=later)))[1]
    assert published.keys() == {"evse/garage/p1/power", "evse/garage/p1/time", "evse/garage/p1/state"}
    assert json.loads(published["evse/garage/p1/state"])["power"] == 11


def test_unchanged_time_is_not_published_again() -> None:
    published = _steps(reading(), reading(plug_reading(power=11.0)))[1]
    assert published.keys() == {"evse/garage/p1/power", "evse/garage/p1/state"}


def test_vanished_value_keeps_its_topic_and_is_null_in_state() -> None:
    published = _steps(reading(), reading(plug_reading(power=None)))[1]
    assert published.keys() == {"evse/garage/p1/state"}
    assert json.loads(published["evse/garage/p1/state"])["power"] is None


def test_topics_have_aliases_and_never_labels() -> None:
    label = "a/+/#\n" * 1000
    published = _steps(reading(plug_reading("p1", label=label), plug_reading("p2", label=label)))[0]
    assert {topic.rsplit("/", 1)[0] for topic in published} == {"evse/garage", "evse/garage/p1", "evse/garage/left"}
    assert published["evse/garage/left/label"] == label


def test_time_and_state_agree_when_a_failure_publishes_state() -> None:
    later = NOW + timedelta(seconds=5)
    first = advance(StationState(), reading(), Rules(), at(0))
    quiet = advance(first, reading(plug_reading(time=later)), Rules(heartbeat=3600), at(5))
    assert list(_changes(_STATION, first, quiet)) == [], "within a heartbeat"
    down = advance(quiet, failure(Reason.UNAUTHORIZED), Rules(), at(10))
    published = _tree(_changes(_STATION, quiet, down))
    assert json.loads(published["evse/garage/p1/state"])["time"] == timestamp(later)
    assert published["evse/garage/p1/time"] == timestamp(later)


def test_unknown_plug_publishes_nothing() -> None:
    state = StationState(plugs={"p1": PlugState("p1", "Plug 1")})
    assert list(_changes(_STATION, None, state)) == []


def test_station_without_answer_publishes_offline_alone() -> None:
    state = advance(StationState(), failure(Reason.UNAUTHORIZED), Rules(), at(0))
    assert _tree(_changes(_STATION, StationState(), state)) == {
        "evse/garage/availability_reason": "unauthorized",
        "evse/garage/availability": "offline",
    }


# Manifest entries


def test_station_info_names_station_plugs_and_owner() -> None:
    state = advance(StationState(), reading(plug_reading("p1"), plug_reading("p2", label=None)), Rules(), at(0))
    published = station_info(
        StationEntry.of(_TOPICS, _STATION, state, (DiscoveryLocation("homeassistant", "entity"),)), "me"
    )
    assert published.topic == "evse/garage/info"
    assert json.loads(published.payload) == {
        "uuid": "e1",
        "name": "Garage",
        "plugs": {"p1": {"topic": "p1", "label": "Plug 1"}, "p2": {"topic": "left", "label": None}},
        "published_by": "me",
        "contract": 1,
        "discovery": {"prefix": "homeassistant", "form": "entity"},
    }


def test_station_info_replaces_what_cannot_be_encoded() -> None:
    published = station_info(StationEntry.of(_TOPICS, Station("e1", 30, name="a\udcffb"), StationState(), ()), "me")
    assert json.loads(published.payload)["name"] == "a?b"


def test_bridge_info_and_availability() -> None:
    published = bridge_info(BridgeEntry(Topics("site/evse"), "me", ()), BridgeFacts("1.2.3", NOW, 5))
    assert published.topic == "site/evse/bridge/info"
    assert json.loads(published.payload) == {
        "name": "evse-mqtt-bridge",
        "version": "1.2.3",
        "contract": 1,
        "client_id": "me",
        "base_topic": "site/evse",
        "started": "2024-03-25T11:12:20.000Z",
        "stations": 5,
        "discovery": None,
    }
    assert [bridge_availability(_TOPICS, online=online) for online in (True, False)] == [
        Message("evse/bridge/availability", b"online"),
        Message("evse/bridge/availability", b"offline"),
    ]
