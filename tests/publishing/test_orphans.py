"""Orphans: every topic of the bridge that its configuration no longer has, and no topic of others."""

import json
from dataclasses import replace

import pytest

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import BridgeFacts, bridge_info, station_info
from evse_mqtt_bridge.publishing.orphans import Ownership, left_behind, online_topic, orphans, orphans_elsewhere
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.outputs.protocol import Part
from evse_mqtt_bridge.publishing.topics import Topics, covers
from tests.harness.samples import NOW, at, plug_reading, reading
from tests.publishing.bridge import plan

_NORTH = Station("e1", 30, alias="north", plugs={"p1": "left"})
_SOUTH = Station("e2", 30)
_STATE = advance(StationState(), reading(plug_reading("p1"), plug_reading("p2")), Rules(), at(0))


def _published(
    *stations: Station, base: str = "evse", client_id: str = "me", form: Form | None = "entity", prefix: str = "ha"
) -> dict[str, bytes]:
    """Return the retained topics of a bridge with these stations, each with plugs p1 and p2."""
    configured = plan(*stations, form=form, prefix=prefix, base=base, client_id=client_id)
    topics, locations = configured.topics, configured.locations
    messages = [bridge_info(BridgeEntry(topics, client_id, locations), BridgeFacts("1", NOW, len(stations)))]
    messages += [station_info(StationEntry.of(topics, station, _STATE, locations), client_id) for station in stations]
    for output in configured.outputs:
        for part in Part:
            messages += output.bridge(part)
            for station in stations:
                messages += output.station(part, station, None, _STATE)
    return {message.topic: message.payload for message in messages}


def _ownership(
    *stations: Station, base: str = "evse", client_id: str = "me", form: Form | None = "entity", prefix: str = "ha"
) -> Ownership:
    configured = plan(*stations, form=form, prefix=prefix, base=base, client_id=client_id)
    searched = (PlainLocation(Topics(base)), DiscoveryLocation(prefix, "entity"))
    return Ownership(configured.topics, client_id, configured.stations, configured.locations, searched)


_FOREIGN = {
    "evse/north/custom": b"1",
    "evse/north/left/custom": b"1",
    "evse/north/left/power/set": b"1",
    "evse/other/thing/power": b"5",
    "evse/other/thing/state": b'{"power": 5}',
    "evse/other/thing/availability": b"online",
    "evse/other/list/state": b"[1]",
    "evse/other/text/state": b"on",
    "evse/other/info": b'{"published_by": "me"}',
    "ha/sensor/other/config": b'{"state_topic": "evse/north/left/power"}',
    "ha/sensor/other/x/config": b'{"origin": {"name": "zigbee2mqtt"}, "state_topic": "evse/bridge/availability"}',
    "ha/sensor/broken/config": b'"evse/bridge/availability" evse-mqtt-bridge',
    "ha/sensor/odd/config": b'["evse/bridge/availability", {"origin": "evse-mqtt-bridge"}]',
    "ha/status": b"online",
}


def test_configured_topics_are_no_orphans() -> None:
    assert orphans({**_published(_NORTH, _SOUTH), **_FOREIGN}, _ownership(_NORTH, _SOUTH)) == []


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_removed_station_is_an_orphan_and_nothing_else(form: Form | None) -> None:
    with_it, without = _published(_NORTH, _SOUTH, form=form), _published(_SOUTH, form=form)
    found = orphans({**with_it, **_FOREIGN}, _ownership(_SOUTH, form=form))
    assert found == sorted(with_it.keys() - without.keys())


@pytest.mark.parametrize("form", ["entity", "device"])
def test_unreadable_discovery_is_found_from_the_entry(form: Form) -> None:
    published = _published(_NORTH, _SOUTH, form=form)
    seen = {topic: payload for topic, payload in published.items() if not topic.startswith("ha/")}
    assert set(orphans(seen, _ownership(form=form), everything=True)) >= published.keys()
    without = _published(_SOUTH, form=form)
    found = orphans(seen, _ownership(_SOUTH, form=form))
    assert set(found) >= published.keys() - without.keys()
    assert not set(found) & without.keys()


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_removed_station_is_found_without_its_entry(form: Form | None) -> None:
    with_it = _published(_NORTH, _SOUTH, form=form)
    without = _published(_SOUTH, form=form)
    del with_it["evse/north/info"]
    assert orphans({**with_it, **_FOREIGN}, _ownership(_SOUTH, form=form)) == sorted(with_it.keys() - without.keys())


def test_topics_of_a_removed_alias_are_orphans() -> None:
    plain = replace(_NORTH, alias="", plugs={})
    both = {**_published(_NORTH), **_published(plain)}
    assert orphans({**both, **_FOREIGN}, _ownership(plain)) == sorted(
        topic for topic in _published(_NORTH) if topic.startswith("evse/north/")
    )
    moved = replace(_NORTH, plugs={"p2": "left"})
    found = orphans({**_published(_NORTH), **_published(moved)}, _ownership(moved))
    assert found == sorted(topic for topic in _published(_NORTH) if topic.startswith("evse/north/p2/"))


def test_discovery_of_a_replaced_plug_is_an_orphan() -> None:
    exchanged = replace(_NORTH, plugs={"p1": "p2"})
    published = _published(exchanged)
    found = orphans({**published, **_FOREIGN}, _ownership(exchanged))
    assert found == sorted(topic for topic in published if "_p2/" in topic)
    assert found


def test_other_form_and_disabled_discovery_are_orphans() -> None:
    device = {topic for topic in _published(_NORTH, form="device") if topic.startswith("ha/")}
    entity = {topic for topic in _published(_NORTH) if topic.startswith("ha/")}
    both = {**_published(_NORTH, form="device"), **_published(_NORTH)}
    assert orphans(both, _ownership(_NORTH)) == sorted(device)
    assert orphans(both, _ownership(_NORTH, form="device")) == sorted(entity)
    assert orphans(both, _ownership(_NORTH, form=None)) == sorted(device | entity)


def test_discovery_under_a_recorded_prefix_is_an_orphan() -> None:
    """Only a manifest entry names the prefix, because a subscription to every topic would be too expensive."""
    before = _published(_NORTH, prefix="old")
    found = orphans(before, _ownership(_NORTH))
    assert found == sorted(topic for topic in before if topic.startswith("old/"))


def test_without_stations_all_but_the_bridge_are_orphans() -> None:
    found = orphans({**_published(_NORTH, _SOUTH), **_FOREIGN}, _ownership())
    assert found == sorted(_published(_NORTH, _SOUTH).keys() - _published().keys())


def test_plug_missing_in_the_entry_is_an_orphan() -> None:
    retained = _published(_NORTH)
    one = advance(StationState(), reading(plug_reading("p1")), Rules(), at(0))
    info = station_info(StationEntry.of(Topics("evse"), _NORTH, one, (DiscoveryLocation("ha", "entity"),)), "me")
    found = orphans({**retained, info.topic: info.payload}, _ownership(_NORTH))
    assert found == sorted(topic for topic in retained if "/p2/" in topic or "_p2/" in topic)


@pytest.mark.parametrize("form", ["entity", "device"])
@pytest.mark.parametrize("base", ["evse2", "evse/site", "evse/site/x", "site/evse", "ev"])
def test_bridge_under_another_base_keeps_its_topics(base: str, form: Form) -> None:
    """The other base topic may be below this one, with discovery under the same prefix."""
    others = _published(Station("e9", 30, alias="north"), _SOUTH, base=base, client_id="another", form=form)
    assert orphans(others, _ownership(_NORTH)) == []


def test_hostile_payloads_yield_no_topic_of_others() -> None:
    forged = {
        "uuid": "e1",
        "plugs": {"p1": {"topic": "#", "label": None}},
        "published_by": "me",
        "discovery": {"prefix": "#", "form": "entity"},
    }
    retained = {
        "evse/north/info": json.dumps(forged).encode(),
        "evse/x/info": b"[" * 100_000,
        "evse/y/z/state": b"[" * 100_000,
        "ha/sensor/x/config": b'"evse/bridge/availability"' + b"[" * 100_000,
        "evse/bridge/info": b"\xff",
        **_FOREIGN,
    }
    assert orphans(retained, _ownership(_NORTH)) == []


def test_filters_cover_every_topic_of_a_bridge() -> None:
    for form in ("entity", "device"):
        for topic in _published(_NORTH, base="site/evse", form=form):
            assert any(covers(topic_filter, topic) for topic_filter in _ownership(base="site/evse").filters), topic


def test_bridge_with_another_client_id_keeps_its_topics() -> None:
    retained = _published(_NORTH, _SOUTH, client_id="another")
    assert orphans(retained, _ownership()) == []
    assert orphans(_published(_NORTH, _SOUTH), _ownership()) != []


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_everything_finds_all_of_a_bridge_and_nothing_else(form: Form | None) -> None:
    retained = _published(_NORTH, _SOUTH, form=form)
    for owned in (_ownership(_NORTH, _SOUTH, form=form), _ownership(form=form)):
        assert orphans({**retained, **_FOREIGN}, owned, everything=True) == sorted(retained)


def test_everything_finds_a_bridge_without_its_entry() -> None:
    retained = _published(_NORTH)
    del retained["evse/bridge/info"]
    assert orphans({**retained, **_FOREIGN}, _ownership(_NORTH), everything=True) == sorted(retained)


def test_everything_keeps_topics_of_another_bridge() -> None:
    retained = _published(_NORTH, _SOUTH, client_id="another")
    assert orphans(retained, _ownership(_NORTH), everything=True) == []


def test_online_topic_is_the_bridges_own_availability() -> None:
    owned, retained = _ownership(_NORTH), _published(_NORTH)
    assert online_topic(retained, owned) == "evse/bridge/availability"
    assert not online_topic({**retained, "evse/bridge/availability": b"offline"}, owned)
    assert not online_topic({}, owned)
    assert not online_topic(_published(_NORTH, client_id="another"), owned)


def test_will_of_a_shard_that_is_gone_is_an_orphan() -> None:
    gone, present = "evse/bridge/3/availability", "evse/bridge/1/availability"
    retained = {**_published(_NORTH), gone: b"offline", present: b"offline", "evse/bridge/99/availability": b"offline"}
    assert orphans(retained, replace(_ownership(_NORTH), shards=2)) == [gone]
    assert orphans(retained, _ownership(_NORTH)) == [present, gone]


def test_topic_of_a_lost_member_is_an_orphan() -> None:
    lost, alive = "evse/bridge/members/m1", "evse/bridge/members/m2"
    retained = {**_published(_NORTH), lost: b"offline", alive: b"online", f"{lost}/x": b"offline"}
    retained["evse/bridge/availability"] = b"offline"
    assert orphans(retained, _ownership(_NORTH)) == [lost]
    assert {lost, alive} <= set(orphans(retained, _ownership(_NORTH), everything=True))
    assert online_topic(retained, _ownership(_NORTH)) == alive
    assert orphans({lost: b"offline", **_published(_NORTH, client_id="another")}, _ownership(_NORTH)) == []


def _left(base: str, *, form: Form | None = None, previous: tuple[BridgeEntry, ...] = ()) -> dict[str, bytes]:
    """Return what a bridge left below a base topic, with station e2; discovery is `form`."""
    retained = _published(_SOUTH, base=base, form=form)
    entry = BridgeEntry(Topics(base), "me", plan(form=form, base=base).locations)
    info = bridge_info(entry, BridgeFacts("1", NOW, 1), previous)
    return {**retained, info.topic: info.payload}


def _bases(found: list[Ownership]) -> dict[str, bool]:
    return {each.topics.base: each.is_proven for each in found}


def test_left_base_topics_are_proven_by_own_entry_or_discovery() -> None:
    ownership = _ownership(_NORTH)
    listed, named, found = (BridgeEntry(Topics(base), "me", ()) for base in ("listed", "named", "found"))
    own = _left("evse", previous=(listed,))
    assert _bases(left_behind(own | _left("listed") | _left("found"), ownership)) == {"listed": True, "found": False}
    assert _bases(left_behind(own | _left("named", form="entity"), ownership)) == {"listed": True, "named": True}
    assert _bases(left_behind(_left("found", previous=(named,)), ownership)) == {"found": False}
    assert _bases(left_behind(own | _left("listed", previous=(found,)), ownership)) == {"listed": True, "found": True}


def test_unproven_left_base_yields_topics_below_it_alone() -> None:
    ownership, left = _ownership(_NORTH), _left("left", form="device")
    others = {topic: payload.replace(b"left/", b"victim/") for topic, payload in left.items() if topic[:3] == "ha/"}
    retained = {**_published(_NORTH), **{topic: left[topic] for topic in left.keys() - others.keys()}, **others}
    (elsewhere,) = left_behind(retained, ownership)
    assert not elsewhere.is_proven
    found = orphans_elsewhere(retained, elsewhere, ownership)
    assert found == sorted(left.keys() - others.keys())


def test_unproven_left_bases_are_limited_in_number() -> None:
    retained = {topic: payload for number in range(50) for topic, payload in _left(f"myapp/{number}").items()}
    assert len(left_behind(retained, _ownership(_NORTH))) == 4
