"""Migrations: the stages before the full republish, and what remains to be cleared after it."""

from dataclasses import replace

import pytest

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.migration import Migration, plan_migration
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.previous_entries import PreviousEntries
from evse_mqtt_bridge.publishing.topics import Topics

_PLAIN, _ENTITY, _DEVICE = (
    PlainLocation(Topics("evse")),
    DiscoveryLocation("ha", "entity"),
    DiscoveryLocation("ha", "device"),
)
_OLD = StationEntry(Topics("evse"), "north", "e1", {"p1": "left"}, {"p1": None}, (_PLAIN, _ENTITY))
_DISCOVERY_TOPICS = list(_OLD.topics_at(_ENTITY))
_MIGRATION = b'{"migrate_discovery":true}'


def _plan(old: Entry, new: Entry | None, *, has_room: bool = True) -> Migration:
    previous = PreviousEntries()
    previous.add(old)
    return plan_migration(previous, lambda _: new, lambda _: has_room)


def _topics(messages: tuple[Message, ...]) -> list[str]:
    return [message.topic for message in messages]


def test_unchanged_entry_needs_no_migration() -> None:
    for new in (_OLD, replace(_OLD, labels={"p1": "Left"}), replace(_OLD, plugs={"p1": "left", "p2": "p2"})):
        result = _plan(_OLD, new)
        assert result.stages == ()
        assert not result.remaining


def test_removed_station_is_cleared_after_the_republish() -> None:
    result = _plan(_OLD, None)
    assert result.stages == ()
    assert list(result.remaining) == [_OLD]


def test_another_form_moves_in_stages() -> None:
    to_device = _plan(_OLD, replace(_OLD, locations=(_PLAIN, _DEVICE)))
    assert [{message.payload for message in stage} for stage in to_device.stages] == [{_MIGRATION}, {b""}]
    assert _topics(to_device.stages[0]) == _topics(to_device.stages[1]) == _DISCOVERY_TOPICS
    assert not to_device.remaining
    to_entity = _plan(replace(_OLD, locations=(_PLAIN, _DEVICE)), _OLD)
    assert [len(stage) for stage in to_entity.stages] == [2, 2, 2]
    assert {message.payload for message in to_entity.stages[0]} == {_MIGRATION}
    assert all(b'"tag"' in message.payload for message in to_entity.stages[1]), "a placeholder that leaves no trace"
    assert {message.payload for message in to_entity.stages[2]} == {b""}


@pytest.mark.parametrize("discovery", [(), (DiscoveryLocation("elsewhere", "entity"),)])
def test_moved_or_disabled_discovery_is_cleared_first(discovery: tuple[DiscoveryLocation, ...]) -> None:
    result = _plan(_OLD, replace(_OLD, locations=(_PLAIN, *discovery)))
    assert [_topics(stage) for stage in result.stages] == [_DISCOVERY_TOPICS]
    assert not result.remaining


def test_changed_alias_has_no_stage() -> None:
    old = replace(_OLD, plugs={"p1": "left", "p2": "p2"})
    result = _plan(old, replace(old, plugs={"p1": "p1", "p2": "left"}))
    assert result.stages == (), "device ids are made of uuids"
    assert list(result.remaining) == [old]


def test_changed_alias_and_form_leave_plain_topics_for_later() -> None:
    result = _plan(_OLD, replace(_OLD, plugs={"p1": "right"}, locations=(_PLAIN, _DEVICE)))
    assert {topic for stage in result.stages for topic in _topics(stage)} == set(_DISCOVERY_TOPICS)
    assert list(result.remaining) == [replace(_OLD, locations=(_PLAIN,))]


def test_stages_of_several_entries_have_each_topic_once() -> None:
    previous = PreviousEntries()
    for entry in (_OLD, replace(_OLD, topic_id="south")):
        previous.add(entry)
    result = plan_migration(previous, lambda _: replace(_OLD, locations=(_PLAIN, _DEVICE)), lambda _: True)
    assert [_topics(stage) for stage in result.stages] == [_DISCOVERY_TOPICS, _DISCOVERY_TOPICS]
    assert list(result.remaining) == [replace(_OLD, topic_id="south", locations=(_PLAIN,))]


def test_entry_without_room_is_cleared_first() -> None:
    result = _plan(_OLD, replace(_OLD, plugs={"p1": "right"}), has_room=False)
    (stage,) = result.stages
    assert {message.payload for message in stage} == {b""}
    assert all(topic.startswith("evse/north/left/") for topic in _topics(stage))
    assert not result.remaining


def test_bridge_under_another_base_leaves_the_old_one() -> None:
    old = BridgeEntry(Topics("evse"), "me", (_PLAIN, _ENTITY))
    site = Topics("site/evse")
    result = _plan(old, BridgeEntry(site, "me", (PlainLocation(site), _ENTITY)))
    assert result.stages == ()
    assert list(result.remaining) == [old]
