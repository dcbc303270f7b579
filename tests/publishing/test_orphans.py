"""What `purge` shows: all of the bridge's that the configuration no longer has, and nothing of anybody else's."""

import json
from dataclasses import replace

import pytest

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing import messages
from evse_mqtt_bridge.publishing.manifest import DiscoveryPlace
from evse_mqtt_bridge.publishing.orphans import Holding, is_online, orphans
from evse_mqtt_bridge.publishing.outputs import homeassistant
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery, Form
from evse_mqtt_bridge.publishing.topics import Topics, covers
from tests.harness.samples import NOW, at, plug_reading, reading

_NORTH = Station("e1", 30, alias="north", plugs={"p1": "left"})
_SOUTH = Station("e2", 30)
_STATE = advance(StationState(), reading(plug_reading("p1"), plug_reading("p2")), Rules(), at(0))


def _published(
    *stations: Station, base: str = "evse", client_id: str = "me", form: Form | None = "entity", prefix: str = "ha"
) -> dict[str, bytes]:
    """What a bridge leaves on the broker for these stations, each with plugs p1 and p2."""
    topics = Topics(base)
    place = DiscoveryPlace(prefix, form).as_dict() if form else None
    info = messages.BridgeInfo("1", client_id, NOW, len(stations), place)
    said = [messages.bridge_info(topics, info), messages.bridge_availability(topics, online=True)]
    discovery = Discovery(topics, prefix, form, 1, client_id, "1") if form else None
    if discovery:
        said += homeassistant.bridge(discovery)
    for station in stations:
        said.append(messages.station_info(topics, station, _STATE, client_id, place))
        said += [*messages.values(topics, station, _STATE), *messages.availability(topics, station, _STATE)]
        if discovery:
            said += homeassistant.station(discovery, station)
            for plug in ("p1", "p2"):
                said += homeassistant.plug(discovery, station, plug, "Plug")
    return {message.topic: message.payload for message in said}


def _holding(
    *stations: Station, base: str = "evse", client_id: str = "me", form: Form | None = "entity", prefix: str = "ha"
) -> Holding:
    place = DiscoveryPlace(prefix, form) if form else None
    return Holding(Topics(base), client_id, {station.uuid: station for station in stations}, place, prefix)


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


def test_nothing_is_left_over_of_what_the_configuration_has() -> None:
    assert orphans({**_published(_NORTH, _SOUTH), **_FOREIGN}, _holding(_NORTH, _SOUTH)) == []


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_all_of_a_removed_station_is_left_over_and_nothing_else(form: Form | None) -> None:
    with_it, without = _published(_NORTH, _SOUTH, form=form), _published(_SOUTH, form=form)
    gone = orphans({**with_it, **_FOREIGN}, _holding(_SOUTH, form=form))
    assert gone == sorted(with_it.keys() - without.keys())


@pytest.mark.parametrize("form", ["entity", "device"])
def test_discovery_that_may_be_written_and_not_read_is_known_from_the_info(form: Form) -> None:
    published = _published(_NORTH, _SOUTH, form=form)
    seen = {topic: payload for topic, payload in published.items() if not topic.startswith("ha/")}
    assert set(orphans(seen, _holding(form=form), everything=True)) >= published.keys()
    without = _published(_SOUTH, form=form)
    gone = orphans(seen, _holding(_SOUTH, form=form))
    assert set(gone) >= published.keys() - without.keys()
    assert not set(gone) & without.keys()


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_it_is_found_without_its_info_too(form: Form | None) -> None:
    with_it = _published(_NORTH, _SOUTH, form=form)
    without = _published(_SOUTH, form=form)
    del with_it["evse/north/info"]
    assert orphans({**with_it, **_FOREIGN}, _holding(_SOUTH, form=form)) == sorted(with_it.keys() - without.keys())


def test_an_alias_that_went_leaves_its_topics_over() -> None:
    plain = replace(_NORTH, alias="", plugs={})
    both = {**_published(_NORTH), **_published(plain)}
    assert orphans({**both, **_FOREIGN}, _holding(plain)) == sorted(
        topic for topic in _published(_NORTH) if topic.startswith("evse/north/")
    )
    moved = replace(_NORTH, plugs={"p2": "left"})
    gone = orphans({**_published(_NORTH), **_published(moved)}, _holding(moved))
    assert gone == sorted(topic for topic in _published(_NORTH) if topic.startswith("evse/north/p2/"))


def test_a_plug_whose_uuid_became_the_alias_of_another_leaves_its_discovery_over() -> None:
    exchanged = replace(_NORTH, plugs={"p1": "p2"})
    published = _published(exchanged)
    gone = orphans({**published, **_FOREIGN}, _holding(exchanged))
    assert gone == sorted(topic for topic in published if "_p2/" in topic)
    assert gone


def test_the_other_form_and_discovery_that_was_turned_off_are_left_over() -> None:
    device = {topic for topic in _published(_NORTH, form="device") if topic.startswith("ha/")}
    entity = {topic for topic in _published(_NORTH) if topic.startswith("ha/")}
    both = {**_published(_NORTH, form="device"), **_published(_NORTH)}
    assert orphans(both, _holding(_NORTH)) == sorted(device)
    assert orphans(both, _holding(_NORTH, form="device")) == sorted(entity)
    assert orphans(both, _holding(_NORTH, form=None)) == sorted(device | entity)


def test_what_an_info_tells_of_another_prefix_is_left_over() -> None:
    """Only an `info` leads there: a subscription to every topic would be too much to ask for."""
    before = _published(_NORTH, prefix="old")
    gone = orphans(before, _holding(_NORTH))
    assert gone == sorted(topic for topic in before if topic.startswith("old/"))


def test_a_configuration_without_stations_leaves_all_of_them_over_but_not_the_bridge() -> None:
    gone = orphans({**_published(_NORTH, _SOUTH), **_FOREIGN}, _holding())
    assert gone == sorted(_published(_NORTH, _SOUTH).keys() - _published().keys())


def test_a_plug_that_its_station_forgot_is_left_over() -> None:
    held = _published(_NORTH)
    one = advance(StationState(), reading(plug_reading("p1")), Rules(), at(0))
    info = messages.station_info(Topics("evse"), _NORTH, one, "me", {"prefix": "ha", "form": "entity"})
    gone = orphans({**held, info.topic: info.payload}, _holding(_NORTH))
    assert gone == sorted(topic for topic in held if "/p2/" in topic or "_p2/" in topic)


@pytest.mark.parametrize("form", ["entity", "device"])
@pytest.mark.parametrize("base", ["evse2", "evse/site", "evse/site/x", "site/evse", "ev"])
def test_a_bridge_under_another_base_keeps_what_is_its_own(base: str, form: Form) -> None:
    """Also under a base below this one's, and with discovery under the same prefix."""
    others = _published(Station("e9", 30, alias="north"), _SOUTH, base=base, client_id="another", form=form)
    assert orphans(others, _holding(_NORTH)) == []


def test_hostile_payloads_name_no_topic_of_others() -> None:
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
    assert orphans(retained, _holding(_NORTH)) == []


def test_the_subscriptions_yield_whatever_may_be_left() -> None:
    for form in ("entity", "device"):
        for topic in _published(_NORTH, base="site/evse", form=form):
            assert any(covers(topic_filter, topic) for topic_filter in _holding(base="site/evse").filters), topic


def test_another_bridge_at_the_same_base_is_not_touched() -> None:
    retained = _published(_NORTH, _SOUTH, client_id="another")
    assert orphans(retained, _holding()) == []
    assert orphans(_published(_NORTH, _SOUTH), _holding()) != []


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_everything_of_a_bridge_that_is_given_up_is_found_and_nothing_else(form: Form | None) -> None:
    held = _published(_NORTH, _SOUTH, form=form)
    for holding in (_holding(_NORTH, _SOUTH, form=form), _holding(form=form)):
        assert orphans({**held, **_FOREIGN}, holding, everything=True) == sorted(held)


def test_everything_is_found_without_the_info_of_the_bridge_too() -> None:
    held = _published(_NORTH)
    del held["evse/bridge/info"]
    assert orphans({**held, **_FOREIGN}, _holding(_NORTH), everything=True) == sorted(held)


def test_everything_of_a_bridge_is_nothing_of_another_at_its_base() -> None:
    retained = _published(_NORTH, _SOUTH, client_id="another")
    assert orphans(retained, _holding(_NORTH), everything=True) == []


def test_a_bridge_is_online_by_its_own_word() -> None:
    holding, held = _holding(_NORTH), _published(_NORTH)
    assert is_online(held, holding)
    assert not is_online({**held, "evse/bridge/availability": b"offline"}, holding)
    assert not is_online({}, holding)
    assert not is_online(_published(_NORTH, client_id="another"), holding)
