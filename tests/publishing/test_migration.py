"""Migrations: the messages before and after the full republish, and the deferred entries."""

from dataclasses import replace

import pytest

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.migration import EntryChange, Migration, plan_migration
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.topics import Topics

_PLAIN, _ENTITY, _DEVICE = (
    PlainLocation(Topics("evse")),
    DiscoveryLocation("ha", "entity"),
    DiscoveryLocation("ha", "device"),
)
_OLD = StationEntry(Topics("evse"), "north", "e1", {"p1": "left"}, {"p1": None}, (_PLAIN, _ENTITY))
_DISCOVERY_TOPICS = list(_OLD.topics_at(_ENTITY))
_MIGRATION = b'{"migrate_discovery":true}'


def _topics(messages: tuple[Message, ...]) -> list[str]:
    return [message.topic for message in messages]


def test_unchanged_entry_needs_no_migration() -> None:
    assert plan_migration(
        [EntryChange(_OLD, _OLD), EntryChange(_OLD, replace(_OLD, labels={"p1": "Left"}))]
    ) == Migration((), ())


def test_removed_station_is_cleared_last_entry_at_the_end() -> None:
    result = plan_migration([EntryChange(_OLD, None)])
    assert result.stages == ()
    assert all(message.payload == b"" for message in result.last)
    assert _topics(result.last) == list(_OLD.all_topics())
    assert result.deferred_entry_topics == {"evse/north/info"}


def test_another_form_moves_in_stages() -> None:
    to_device = plan_migration([EntryChange(_OLD, replace(_OLD, locations=(_PLAIN, _DEVICE)))])
    assert [{message.payload for message in stage} for stage in to_device.stages] == [{_MIGRATION}, {b""}]
    assert _topics(to_device.stages[0]) == _topics(to_device.stages[1]) == _DISCOVERY_TOPICS
    assert (to_device.last, to_device.deferred_entry_topics) == ((), frozenset())
    to_entity = plan_migration([EntryChange(replace(_OLD, locations=(_PLAIN, _DEVICE)), _OLD)])
    assert [len(stage) for stage in to_entity.stages] == [2, 2, 2]
    assert {message.payload for message in to_entity.stages[0]} == {_MIGRATION}
    assert all(b'"tag"' in message.payload for message in to_entity.stages[1]), "a placeholder that leaves no trace"
    assert {message.payload for message in to_entity.stages[2]} == {b""}


@pytest.mark.parametrize("discovery", [(), (DiscoveryLocation("elsewhere", "entity"),)])
def test_moved_or_disabled_discovery_is_cleared_first(discovery: tuple[DiscoveryLocation, ...]) -> None:
    result = plan_migration([EntryChange(_OLD, replace(_OLD, locations=(_PLAIN, *discovery)))])
    assert [_topics(stage) for stage in result.stages] == [_DISCOVERY_TOPICS]
    assert result.last == ()


def test_moved_alias_leaves_no_value_behind() -> None:
    old = replace(_OLD, plugs={"p1": "left", "p2": "p2"})
    result = plan_migration([EntryChange(old, replace(old, plugs={"p1": "p1", "p2": "left"}))])
    assert {topic.rsplit("/", 1)[0] for topic in _topics(result.last)} == {"evse/north/left", "evse/north/p2"}
    assert result.stages == (), "device ids are made of uuids"
    assert result.deferred_entry_topics == {"evse/north/info"}


def test_bridge_under_another_base_leaves_the_old_one() -> None:
    old = BridgeEntry(Topics("evse"), "me", (_PLAIN, _ENTITY))
    result = plan_migration(
        [
            EntryChange(
                old, replace(old, topics=Topics("site/evse"), locations=(PlainLocation(Topics("site/evse")), _ENTITY))
            )
        ]
    )
    assert result.stages == ()
    assert _topics(result.last) == ["evse/bridge/availability", "evse/bridge/info"]
    assert result.deferred_entry_topics == {"evse/bridge/info"}
