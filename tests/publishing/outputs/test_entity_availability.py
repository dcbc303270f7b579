"""An entity of Home Assistant is available only while its topic has the current value of its plug."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import Outcome, PlugReading, Reason, Station, StationState
from evse_mqtt_bridge.domain.plugs import restore_plugs
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing.contract import READING_FIELDS
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery as homeassistant
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery, Form
from evse_mqtt_bridge.publishing.outputs.plain import PlainTopics
from evse_mqtt_bridge.publishing.outputs.protocol import Part
from evse_mqtt_bridge.publishing.payloads import plain
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import at, failure, outcomes, plug_reading, reading

_TOPICS = Topics("evse")
_STATION = Station("e1", 30, alias="garage")
_RULES = Rules(offline_after=1, heartbeat=0)
_UNREACHABLE = failure(Reason.UNREACHABLE)
_VALUES = {field.name for field in READING_FIELDS} - {"label", "iec61851"}
_compiled = cache(ImmutableSandboxedEnvironment().from_string)
FORMS = pytest.mark.parametrize("form", ["entity", "device"])


def _entities(form: Form, plug: str) -> dict[str, dict[str, Any]]:
    """Return the configuration of each entity of a plug, with inherited keys, by field."""
    entities = {}
    for message in homeassistant.plug(Discovery(_TOPICS, "ha", form, 1, "bridge", "1"), _STATION, plug, None):
        root = json.loads(message.payload)
        for part in root.pop("components", {"": {}}).values():
            entities[{**root, **part}["state_topic"].rsplit("/")[-1]] = {**root, **part}
    return entities


def _render(template: str, payload: str, **names: object) -> str:
    """Render a template as consumers do: `value_json` is undefined unless the payload is JSON."""
    with suppress(ValueError):
        names["value_json"] = json.loads(payload)
    return _compiled(template).render(value=payload, **names)


class _Consumer:
    """A broker with the messages of one station, and the entities of the plug `p1`."""

    def __init__(self, form: Form = "entity", *polls: Outcome) -> None:
        self.retained = {_TOPICS.availability: "online"}
        self.state = StationState()
        self.seconds = 0
        self.entities = _entities(form, "p1")
        for outcome in polls:
            self.poll(outcome)

    def poll(self, outcome: Outcome) -> None:
        """Publish the changes of a poll, one second after the one before."""
        self.seconds += 1
        self._publish(self.state, advance(self.state, outcome, _RULES, at(self.seconds)))

    def restart(self) -> None:
        """Start the bridge again; it restores the plugs, but not their values."""
        self._publish(None, restore_plugs(StationState(), dict.fromkeys(self.state.plugs)))

    def _publish(self, old: StationState | None, new: StationState) -> None:
        for part in Part:
            for message in PlainTopics(_TOPICS).station(part, _STATION, old, new):
                self.retained[message.topic] = message.payload.decode()
        self.state = new

    def is_available(self, config: Mapping[str, Any]) -> bool:
        """Return whether Home Assistant shows the state of an entity."""
        assert config["availability_mode"] == "all"
        return all(
            _render(each.get("value_template", "{{ value }}"), self.retained[each["topic"]], entity_id="any")
            == "online"
            if each["topic"] in self.retained
            else False
            for each in config["availability"]
        )

    @property
    def shown(self) -> dict[str, str]:
        """The payload of each available entity that has one, by field."""
        return {
            field: self.retained[config["state_topic"]]
            for field, config in self.entities.items()
            if config["state_topic"] in self.retained and self.is_available(config)
        }


def _current(one: PlugReading | None) -> dict[str, str]:
    """Return the payload of each known value, by field."""
    values = {field.name: field.read(one) for field in READING_FIELDS} if one else {}
    return {name: plain(value) for name, value in values.items() if value not in (None, "")}


@FORMS
def test_value_that_becomes_null_makes_its_entity_unavailable(form: Form) -> None:
    consumer = _Consumer(form, reading())
    before = consumer.shown
    assert before["power"] == "7107"
    consumer.poll(reading(plug_reading(power=None)))
    assert consumer.shown == {field: value for field, value in before.items() if field != "power"}
    assert consumer.retained["evse/garage/p1/power"] == "7107", "the topic keeps the last value"
    consumer.poll(reading())
    assert consumer.shown == before


@FORMS
@given(st.lists(outcomes, max_size=6))
def test_entity_never_shows_an_old_value(form: Form, polls: list[Outcome]) -> None:
    consumer = _Consumer(form)
    for outcome in polls:
        consumer.poll(outcome)
        plug = consumer.state.plugs.get("p1")
        current = _current(plug.reading if plug else None)
        shown = {field: value for field, value in consumer.shown.items() if field in _VALUES}
        if plug is not None and plug.reason is Reason.ONLINE:
            assert shown == {field: value for field, value in current.items() if field in _VALUES}
        elif plug is not None and plug.reason in (Reason.OFFLINE, Reason.CLOUD_OFFLINE):
            assert {**shown, "time": ""} == {"status": plug.reason.value, "time": ""}
        else:
            assert shown.keys() <= {"time"}  # how old the values are


@pytest.mark.parametrize("status", STATUSES)
def test_status_is_shown_during_outages_that_it_reports(status: str) -> None:
    consumer = _Consumer("entity", reading(plug_reading(status=status)))
    assert consumer.shown["status"] == status
    consumer.poll(_UNREACHABLE)
    assert "status" not in consumer.shown
    assert consumer.shown["availability_reason"] == "unreachable"


@pytest.mark.parametrize("status", [None, ""])
def test_missing_status_hides_status_and_flags(status: str | None) -> None:
    consumer = _Consumer("entity", reading(), reading(plug_reading(status=status)))
    assert not consumer.shown.keys() & {"status", "charging", "vehicle_connected", "problem"}
    assert consumer.shown["power"] == "7107"


def test_last_measurement_survives_restart_during_an_outage() -> None:
    consumer = _Consumer("entity", reading())
    measured = consumer.shown["time"]
    consumer.restart()
    consumer.poll(_UNREACHABLE)
    assert json.loads(consumer.retained["evse/garage/p1/state"])["time"] is None
    assert consumer.shown == {"time": measured, "availability_reason": "unreachable"}


def test_cleared_state_causes_no_template_error() -> None:
    consumer = _Consumer("entity", reading())
    before = consumer.shown
    consumer.retained["evse/garage/p1/state"] = ""
    assert consumer.shown == before


@FORMS
def test_openhab_things_ignore_unknown_values(form: Form) -> None:
    """A thing of openHAB has one availability for all entities, and its templates have no `entity_id`."""
    state = _Consumer("entity", reading(plug_reading(status=None, power=None, time=None))).retained[
        "evse/garage/p1/state"
    ]
    assert json.loads(state)["power"] is None
    for config in _entities(form, "p1").values():
        templates = [each["value_template"] for each in config["availability"] if "value_template" in each]
        assert [_render(template, state) for template in templates] == ["online"] * len(templates)
