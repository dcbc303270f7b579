"""From what was published to what is wanted: what is said before the picture, what after it, and what tells of it."""

from dataclasses import replace

import pytest

from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, DiscoveryPlace, StationEntry
from evse_mqtt_bridge.publishing.migration import Change, Transition, transition
from evse_mqtt_bridge.publishing.topics import Topics

_ENTITY, _DEVICE = DiscoveryPlace("ha", "entity"), DiscoveryPlace("ha", "device")
_WAS = StationEntry(Topics("evse"), "north", "e1", {"p1": "left"}, {"p1": None}, _ENTITY)
_MIGRATION = b'{"migrate_discovery":true}'


def _topics(messages: tuple[Message, ...]) -> list[str]:
    return [message.topic for message in messages]


def test_what_stays_the_same_says_nothing() -> None:
    assert transition([Change(_WAS, _WAS), Change(_WAS, replace(_WAS, labels={"p1": "Left"}))]) == Transition((), ())


def test_what_went_is_cleared_last_discovery_first_and_its_record_at_the_end() -> None:
    way = transition([Change(_WAS, None)])
    assert way.steps == ()
    assert all(message.payload == b"" for message in way.last)
    assert _topics(way.last) == list(_WAS.all_topics())
    assert way.records == {"evse/north/info"}


def test_another_form_moves_in_steps_that_home_assistant_can_follow() -> None:
    to_device = transition([Change(_WAS, replace(_WAS, discovery=_DEVICE))])
    assert [{message.payload for message in step} for step in to_device.steps] == [{_MIGRATION}, {b""}]
    assert _topics(to_device.steps[0]) == _topics(to_device.steps[1]) == _WAS.discovery_topics()
    assert (to_device.last, to_device.records) == ((), frozenset())
    to_entity = transition([Change(replace(_WAS, discovery=_DEVICE), _WAS)])
    assert [len(step) for step in to_entity.steps] == [2, 2, 2]
    assert {message.payload for message in to_entity.steps[0]} == {_MIGRATION}
    assert all(b'"tag"' in message.payload for message in to_entity.steps[1]), "a placeholder that leaves no trace"
    assert {message.payload for message in to_entity.steps[2]} == {b""}


@pytest.mark.parametrize("place", [None, DiscoveryPlace("elsewhere", "entity")])
def test_discovery_that_ends_or_goes_elsewhere_is_cleared_before_the_picture(place: DiscoveryPlace | None) -> None:
    way = transition([Change(_WAS, replace(_WAS, discovery=place))])
    assert [_topics(step) for step in way.steps] == [_WAS.discovery_topics()]
    assert way.last == ()


def test_an_alias_that_goes_to_another_plug_takes_no_value_along() -> None:
    was = replace(_WAS, plugs={"p1": "left", "p2": "p2"})
    way = transition([Change(was, replace(was, plugs={"p1": "p1", "p2": "left"}))])
    assert {topic.rsplit("/", 1)[0] for topic in _topics(way.last)} == {"evse/north/left", "evse/north/p2"}
    assert way.steps == (), "devices are called by uuid"
    assert way.records == {"evse/north/info"}


def test_a_bridge_under_another_base_leaves_the_old_one() -> None:
    was = BridgeEntry(Topics("evse"), "me", _ENTITY)
    way = transition([Change(was, replace(was, topics=Topics("site/evse")))])
    assert way.steps == ()
    assert _topics(way.last) == ["evse/bridge/availability", "evse/bridge/info"]
    assert way.records == {"evse/bridge/info"}
