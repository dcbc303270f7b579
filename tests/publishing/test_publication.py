"""The line for one station and the set of stations: what is said when, and in which order."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules
from evse_mqtt_bridge.domain.model import Message, Reading, Reason, Station, StationState
from evse_mqtt_bridge.publishing.manifest import DiscoveryPlace
from evse_mqtt_bridge.publishing.outputs.homeassistant import Discovery, Form
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW, at, failure, plug_reading, reading
from tests.publishing.model_broker import ModelBroker

_TOPICS = Topics("evse")
_NORTH = Station("e1", 30, name="North", alias="north", plugs={"p1": "left"})
_SOUTH = Station("e2", 30)
_BOTH = reading(plug_reading("p1"), plug_reading("p2", label="Plug 2"))


def _plan(*stations: Station, form: Form | None = None, prefix: str = "ha", base: str = "evse") -> Plan:
    topics = Topics(base)
    discovery = Discovery(topics, prefix, form, 1, "me", "1") if form else None
    return Plan(topics, "me", {station.uuid: station for station in stations}, Rules(), discovery)


def _running(plan: Plan, *uuids: str) -> tuple[Bridge, ModelBroker]:
    """A bridge whose stations `uuids` have answered, and whose broker has taken all of it in."""
    bridge, broker = Bridge(plan, NOW), ModelBroker()
    broker.connect(bridge)
    for uuid in uuids:
        bridge.take(uuid, _BOTH, at(0), broker)
    broker.deliver()
    return bridge, broker


def _as_if_new(bridge: Bridge) -> Bridge:
    """A bridge that knows the same and has not said anything yet."""
    new = Bridge(bridge.plan, NOW)
    new._states = bridge._states
    return new


def _topics(messages: list[Message]) -> list[str]:
    return [message.topic for message in messages]


# Polls


def test_a_poll_publishes_what_it_changed_and_the_next_one_nothing() -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH), "e1", "e2")
    assert broker.retained["evse/north/left/power"] == b"7107"
    assert broker.retained["evse/e2/p1/power"] == b"7107"
    bridge.take("e1", _BOTH, at(30), broker)
    assert broker.deliver() == []
    bridge.take("e1", reading(plug_reading("p1", power=11.0), plug_reading("p2", label="Plug 2")), at(60), broker)
    assert _topics(broker.deliver()) == ["evse/north/left/power", "evse/north/left/state"]


def test_what_changes_while_the_broker_is_slow_is_said_once_as_it_is_in_the_end() -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH), "e1", "e2")
    for power in (1.0, 2.0, 3.0):
        bridge.take(
            "e1", reading(plug_reading("p1", power=power), plug_reading("p2", label="Plug 2")), at(power), broker
        )
    bridge.take("e2", reading(plug_reading("p1", power=4.0), plug_reading("p2", label="Plug 2")), at(5), broker)
    bridge.take("e2", _BOTH, at(6), broker)
    assert {message.topic: message.payload for message in broker.deliver() if message.topic.endswith("power")} == {
        "evse/north/left/power": b"3"
    }


def test_stations_that_answer_for_the_first_time_wait_without_words() -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH, form="entity"))
    drawn = []
    news = bridge.news

    def draw(key: str, told: StationState | None) -> Iterator[Message]:
        drawn.append(key)
        return news(key, told)

    bridge.news = draw  # type: ignore[method-assign]
    for uuid in ("e1", "e2"):
        bridge.take(uuid, _BOTH, at(0), broker)
    assert drawn == []
    broker.deliver(1)
    assert drawn == ["e1"]
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}


def test_a_station_that_fails_harms_no_other() -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH), "e1", "e2")
    bridge.take("e1", failure(Reason.UNAUTHORIZED), at(30), broker)
    assert all(topic.startswith("evse/north/") for topic in _topics(broker.deliver()))
    assert broker.retained["evse/north/availability_reason"] == b"unauthorized"
    assert broker.retained["evse/e2/availability"] == b"online"
    assert bridge.state("e1").reason is Reason.UNAUTHORIZED


def test_a_new_plug_is_introduced_before_its_values() -> None:
    bridge, broker = _running(_plan(_SOUTH, form="entity"))
    bridge.take("e2", reading(plug_reading("p1")), at(0), broker)
    said = _topics(broker.deliver())
    assert said[0] == "evse/e2/info"
    discovery = [index for index, topic in enumerate(said) if topic.startswith("ha/")]
    values = [index for index, topic in enumerate(said) if topic.startswith("evse/e2/p1/")]
    assert max(discovery) < min(values)
    assert json.loads(broker.retained["evse/e2/info"])["plugs"] == {"p1": {"topic": "p1", "label": "Plug 1"}}


def test_a_plug_that_is_called_otherwise_is_introduced_again() -> None:
    bridge, broker = _running(_plan(_SOUTH, form="device"), "e2")
    bridge.take("e2", reading(plug_reading("p1", label="Left"), plug_reading("p2", label="Plug 2")), at(30), broker)
    assert _topics(broker.deliver()) == [
        "evse/e2/info",
        "ha/device/evse_e2_p1/config",
        "evse/e2/p1/label",
        "evse/e2/p1/state",
    ]


def test_a_plug_that_went_for_a_day_leaves_nothing_behind() -> None:
    bridge, broker = _running(_plan(_NORTH, form="entity"), "e1")
    one = reading(plug_reading("p1"))
    bridge.take("e1", one, at(30), broker)
    bridge.take("e1", one, at(30 + FORGET_AFTER), broker)
    said = broker.deliver()
    assert not [topic for topic in broker.retained if "/p2/" in topic or "_p2/" in topic]
    assert said[-1].topic == "evse/north/info", "its memory goes last, or an interruption would leave topics behind"
    assert list(json.loads(said[-1].payload)["plugs"]) == ["p1"]
    assert broker.retained["evse/north/left/power"] == b"7107"


@pytest.mark.parametrize("begun", [0, 1, 2])
def test_a_plug_that_comes_back_before_its_end_was_said_is_all_there(begun: int) -> None:
    bridge, broker = _running(_plan(_NORTH, form="entity"), "e1")
    one = reading(plug_reading("p1"))
    bridge.take("e1", reading(plug_reading("p1", power=2.0, status="idle")), at(30), broker)
    broker.deliver(begun)
    bridge.take("e1", one, at(30 + FORGET_AFTER), broker)
    broker.deliver(begun)
    bridge.take("e1", _BOTH, at(60 + FORGET_AFTER), broker)
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}


@pytest.mark.parametrize("begun", range(12))
def test_nothing_is_said_any_more_of_a_plug_that_went_while_news_of_it_was_said(begun: int) -> None:
    bridge, broker = _running(_plan(_NORTH, form="entity"), "e1")
    bridge.take("e1", reading(plug_reading("p1", power=2.0)), at(30), broker)
    broker.deliver()
    bridge.take("e1", failure(Reason.UNAUTHORIZED), at(60), broker)
    broker.deliver(begun)
    bridge.take("e1", reading(plug_reading("p1")), at(90), broker)
    bridge.take("e1", reading(plug_reading("p1")), at(120 + FORGET_AFTER), broker)
    broker.deliver()
    assert not [topic for topic in broker.retained if "/p2/" in topic or "_p2/" in topic]
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}


# A plug that took another one's place: its alias is the uuid of the old one

_EXCHANGED = Station("e2", 30, plugs={"p1": "p2"})


def test_a_plug_whose_uuid_is_the_alias_of_another_is_left_out_and_told_of() -> None:
    bridge, broker = _running(_plan(_EXCHANGED, form="entity"), "e2")
    taken = bridge.take("e2", reading(plug_reading("p1", power=3.0), plug_reading("p2")), at(30), broker)
    assert isinstance(taken, Reading)
    assert [plug.plug_uuid for plug in taken.plugs] == ["p1"]
    assert taken.notes == ("plug p2 is left out: its uuid is the alias of another plug; give it an alias too",)
    broker.deliver()
    assert broker.retained["evse/e2/p2/power"] == b"3"
    assert not [topic for topic in broker.retained if "_p2/" in topic]


def test_what_an_earlier_life_knew_of_the_plug_that_was_exchanged_does_not_speak_on_its_topics() -> None:
    _, broker = _running(_plan(_SOUTH, form="entity"), "e2")
    bridge = Bridge(_plan(_EXCHANGED, form="entity"), NOW)
    broker.connect(bridge)
    bridge.take("e2", reading(plug_reading("p1")), at(0), broker)
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}
    assert broker.retained["evse/e2/p2/availability"] == b"online"


def test_a_plug_that_is_exchanged_while_the_bridge_runs_takes_the_topics_over() -> None:
    bridge, broker = _running(_plan(_SOUTH, form="entity"), "e2")
    bridge.apply(_plan(_EXCHANGED, form="entity"), broker)
    bridge.take("e2", reading(plug_reading("p1", power=3.0)), at(30), broker)
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}
    assert broker.retained["evse/e2/p2/power"] == b"3"


def test_the_plug_that_was_exchanged_may_have_an_alias_of_its_own() -> None:
    station = Station("e2", 30, plugs={"p1": "p2", "p2": "old"})
    bridge, broker = _running(_plan(station, form="entity"), "e2")
    bridge.take("e2", reading(plug_reading("p1", power=1.0), plug_reading("p2", power=2.0)), at(30), broker)
    broker.deliver()
    assert (broker.retained["evse/e2/p2/power"], broker.retained["evse/e2/old/power"]) == (b"1", b"2")


def test_while_the_cloud_tells_of_the_old_plug_alone_the_station_says_what_is_wrong() -> None:
    bridge, broker = _running(_plan(_EXCHANGED))
    bridge.take("e2", reading(plug_reading("p2")), at(0), broker)
    broker.deliver()
    assert broker.retained["evse/e2/availability_reason"] == b"invalid_response"


# The picture


def test_the_picture_is_discovery_then_values_then_availability_and_the_bridges_own_last() -> None:
    bridge, _ = _running(_plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    said = _topics(list(bridge.whole()))
    assert len(set(said)) == len(said)
    assert said[0] == "evse/bridge/info"
    assert said[-1] == "evse/bridge/availability"
    kinds = ["discovery" if topic.startswith("ha/") else topic.rsplit("/", 1)[1] for topic in said]
    discovery = [index for index, kind in enumerate(kinds) if kind == "discovery"]
    availability = [index for index, kind in enumerate(kinds[:-1]) if kind.startswith("availability")]
    values = [index for index, kind in enumerate(kinds) if kind in ("power", "state", "time", "status")]
    assert max(discovery) < min(values) <= max(values) < min(availability)


def test_a_value_that_changes_while_the_picture_is_on_its_way_is_not_followed_by_the_old_one() -> None:
    bridge, broker = _running(_plan(_SOUTH), "e2")
    picture = len(list(bridge.whole()))
    for taken in range(picture):
        broker.repeat()
        broker.deliver(taken)
        changed = reading(
            plug_reading("p1", power=float(taken), status="offline"), plug_reading("p2", power=float(taken))
        )
        bridge.take("e2", changed, at(taken + 1), broker)
        broker.deliver()
        assert broker.retained["evse/e2/p1/power"] == broker.retained["evse/e2/p2/power"] == str(taken).encode()
        assert broker.retained["evse/e2/p1/availability"] == b"offline"
        bridge.take("e2", _BOTH, at(taken + 1.5), broker)
        broker.deliver()


@pytest.mark.parametrize("delivered", range(0, 130, 7))
def test_a_station_with_news_while_the_picture_is_on_its_way_is_not_told_twice(delivered: int) -> None:
    plan = _plan(_NORTH, _SOUTH, form="entity")
    bridge, broker = Bridge(plan, NOW), ModelBroker()
    broker.connect(bridge)
    for uuid in ("e1", "e2"):
        bridge.take(uuid, _BOTH, at(0), broker)
    of_one_station = len(list(bridge.news("e2", None)))
    broker.connect(bridge)
    said = _topics(broker.deliver())
    assert set(said) == set(broker.retained)
    assert len(said) - len(set(said)) <= of_one_station
    broker.repeat()
    said = _topics(broker.deliver(delivered))
    bridge.take("e2", reading(plug_reading("p1", power=1.0), plug_reading("p2", label="Plug 2")), at(60), broker)
    said += _topics(broker.deliver())
    assert set(said) == set(broker.retained)
    assert len(said) - len(set(said)) <= of_one_station, "nothing of the others"
    assert broker.retained["evse/e2/p1/power"] == b"1"


@pytest.mark.parametrize("delivered", range(0, 200, 3))
def test_what_is_again_as_it_was_before_the_picture_is_shown_so(delivered: int) -> None:
    uuids = ("e1", "e3", "e2")  # the first of the picture has the last of the news
    bridge, broker = _running(_plan(_SOUTH, _NORTH, Station("e3", 30), form="entity"), *uuids)
    broker.repeat()
    for uuid in uuids:
        bridge.take(
            uuid,
            reading(plug_reading("p1", power=1.0, status="offline"), plug_reading("p2", power=1.0)),
            at(30),
            broker,
        )
    broker.deliver(delivered)
    for uuid in uuids:
        bridge.take(uuid, _BOTH, at(60), broker)
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}


def test_a_picture_comes_to_its_end_however_slow_the_broker_is() -> None:
    bridge, broker = _running(_plan(_SOUTH), "e2")
    broker.repeat()
    for turn in range(1, 400):
        bridge.take("e2", reading(plug_reading("p1", power=float(turn))), at(turn), broker)
        if any(message.topic == "evse/bridge/availability" for message in broker.deliver(5)):
            break
    assert broker.retained["evse/bridge/availability"] == b"online"
    assert turn < 30


def test_a_station_that_goes_while_the_picture_is_on_its_way_leaves_nothing_behind() -> None:
    for taken in range(60):
        bridge, broker = _running(_plan(_NORTH, _SOUTH, form="device"), "e1", "e2")
        broker.repeat()
        broker.deliver(taken)
        bridge.apply(_plan(_NORTH, form="device"), broker)
        broker.deliver()
        assert not [topic for topic in broker.retained if "e2" in topic]


def test_the_will_is_what_says_offline_on_the_bridges_availability() -> None:
    assert Bridge(_plan(base="site/evse"), NOW).will() == Message("site/evse/bridge/availability", b"offline")


# Another configuration


def test_a_plan_that_stayed_the_same_says_nothing_of_its_stations() -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH), "e1", "e2")
    bridge.apply(_plan(replace(_NORTH, interval=5), _SOUTH), broker)
    assert _topics(broker.deliver()) == ["evse/bridge/info"]
    assert bridge.plan.stations["e1"].interval == 5
    assert bridge.state("e1").reason is Reason.ONLINE


def test_a_station_that_joins_disturbs_no_other() -> None:
    bridge, broker = _running(_plan(_NORTH), "e1")
    bridge.apply(_plan(_NORTH, _SOUTH), broker)
    assert set(_topics(broker.deliver())) == {"evse/bridge/info", "evse/e2/info"}
    assert json.loads(broker.retained["evse/bridge/info"])["stations"] == 2


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_a_station_that_goes_leaves_nothing_behind_and_disturbs_no_other(form: Form | None) -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH, form=form), "e1", "e2")
    bridge.apply(_plan(_NORTH, form=form), broker)
    said = broker.deliver()
    assert not [topic for topic in broker.retained if "e2" in topic]
    assert {message.topic for message in said if message.payload} == {"evse/bridge/info"}


def test_stations_that_swap_their_aliases_show_their_own_values() -> None:
    x, y = Station("e1", 30, alias="x"), Station("e2", 30, alias="y")
    bridge, broker = _running(_plan(x, y))
    bridge.take("e1", reading(plug_reading("p1", power=1.0)), at(0), broker)
    bridge.take("e2", reading(plug_reading("p1", power=2.0, status="stopped", label=None)), at(0), broker)
    broker.deliver()
    bridge.apply(_plan(replace(x, alias="y"), replace(y, alias="x")), broker)
    broker.deliver()
    assert (broker.retained["evse/x/p1/power"], broker.retained["evse/y/p1/power"]) == (b"2", b"1")
    assert json.loads(broker.retained["evse/x/info"])["uuid"] == "e2"
    assert "evse/x/p1/label" not in broker.retained, "the label of the other one"
    assert "evse/x/p1/vehicle_connected" not in broker.retained, "which a stopped one does not tell"


def test_a_plug_that_takes_the_alias_of_another_does_not_take_its_values() -> None:
    station = Station("e1", 30, plugs={"p1": "left"})
    bridge, broker = _running(_plan(station))
    bridge.take("e1", reading(plug_reading("p1", power=1.0), plug_reading("p2", power=2.0, label=None)), at(0), broker)
    bridge.apply(_plan(replace(station, plugs={"p2": "left"})), broker)
    broker.deliver()
    assert (broker.retained["evse/e1/left/power"], broker.retained["evse/e1/p1/power"]) == (b"2", b"1")
    assert "evse/e1/left/label" not in broker.retained
    assert not [topic for topic in broker.retained if "/p2/" in topic]


@pytest.mark.parametrize("wanted", [{"form": "device"}, {"prefix": "ha2"}, {"form": None}, {"base": "site/evse"}])
def test_discovery_and_topics_move_and_leave_nothing_behind(wanted: dict[str, Any]) -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    bridge.apply(_plan(_NORTH, _SOUTH, **{"form": "entity", **wanted}), broker)
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}
    assert broker.conflicts == []


@pytest.mark.parametrize("window", [0, 1, 20, 500])
def test_aliases_that_are_swapped_as_discovery_begins_show_their_own_values(window: int) -> None:
    x, y = Station("e1", 30, alias="x"), Station("e2", 30, alias="y")
    bridge, broker = _running(_plan(x, y), "e1", "e2")
    broker.window = window
    bridge.apply(_plan(replace(x, alias="y"), replace(y, alias="x"), form="entity"), broker)
    broker.deliver()
    assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}


# A new life


def test_a_bridge_that_starts_again_knows_the_plugs_and_says_nothing_of_them_before_they_answer() -> None:
    bridge, broker = _running(_plan(_NORTH, form="entity"), "e1")
    before = dict(broker.retained)
    again = Bridge(bridge.plan, NOW)
    broker.connect(again)
    broker.deliver()
    assert broker.retained == before
    assert {uuid: plug.label for uuid, plug in again.state("e1").plugs.items()} == {"p1": "Plug 1", "p2": "Plug 2"}


def test_what_went_while_the_bridge_was_not_running_is_cleared_when_it_starts() -> None:
    _, broker = _running(_plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    again = Bridge(_plan(replace(_NORTH, alias="", plugs={}), form="device", base="site/evse"), NOW)
    broker.connect(again)
    broker.deliver()
    assert not [topic for topic in broker.retained if topic.startswith("evse/")]
    assert not [topic for topic in broker.retained if "e2" in topic]
    assert broker.conflicts == []


_INTERRUPTED = {
    "another base": (_plan(_NORTH, form="entity", base="site/evse"), lambda topic: topic.startswith("evse/")),
    "another alias of a plug": (_plan(replace(_NORTH, plugs={}), form="entity"), lambda topic: "/left/" in topic),
    "a station less": (_plan(_NORTH, form="entity"), lambda topic: "e2" in topic),
    "an alias for another": (
        _plan(replace(_NORTH, uuid="e3"), _SOUTH, form="entity"),
        lambda topic: "_e1_" in topic or ("/north/" in topic and topic.count("/") > 2),
    ),
}


@pytest.mark.parametrize("taken", range(0, 250, 11))
@pytest.mark.parametrize(("plan", "is_of_before"), _INTERRUPTED.values(), ids=_INTERRUPTED.keys())
def test_a_clean_up_that_is_interrupted_is_taken_up_again(
    plan: Plan, is_of_before: Callable[[str], bool], taken: int
) -> None:
    bridge, broker = _running(_plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    assert any(is_of_before(topic) for topic in broker.retained)
    if taken % 2:
        bridge.apply(plan, broker)
    else:
        broker.connect(Bridge(plan, NOW))
    broker.deliver(taken)
    broker.connect(Bridge(plan, NOW))
    broker.deliver()
    assert not [topic for topic in broker.retained if is_of_before(topic)]


# From a configuration


def test_a_plan_says_what_the_configuration_says() -> None:
    tables = {
        "mqtt": {"host": "localhost", "base_topic": "site/evse", "client_id": "me", "qos": 2},
        "polling": {"interval": 7, "offline_after": 5, "stale_after": 900, "heartbeat": 11},
        "homeassistant": {"discovery_prefix": "ha", "discovery": "device", "status_topic": "ha/up"},
        "stations": [
            {"edge_device_id": "d", "uuid": "e1", "token": "secret", "name": "North", "alias": "north"},
            {"edge_device_id": "d", "uuid": "e2", "token": "secret", "interval": 90, "plugs": {"p1": "left"}},
        ],
    }
    plan = publishing_plan(Config.model_validate(tables))
    assert plan.topics == Topics("site/evse")
    assert plan.stations == {
        "e1": Station("e1", 7, "North", "north"),
        "e2": Station("e2", 90, plugs={"p1": "left"}),
    }
    assert plan.rules == Rules(5, 900, 11)
    assert plan.place == DiscoveryPlace("ha", "device")
    assert (plan.birth_topic, plan.client_id) == ("ha/up", "me")
    assert plan.discovery is not None
    assert plan.discovery.qos == 2
    assert "secret" not in repr(plan)
    off = publishing_plan(Config.model_validate({**tables, "homeassistant": {"enabled": False}}))
    assert (off.discovery, off.place, off.birth_topic) == (None, None, "")


_HAS_X, _HAS_NONE = Station("e1", 30, alias="x"), Station("e1", 30)
_GETS_X = replace(_SOUTH, alias="x")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((replace(_SOUTH, plugs={"p1": "left"}),), (replace(_SOUTH, plugs={"p1": "right"}),)),
        ((replace(_SOUTH, plugs={"p1": "left"}),), (_SOUTH,)),
        ((_HAS_X, _SOUTH), (_HAS_NONE, _GETS_X)),
        ((_HAS_X,), (_HAS_NONE, _GETS_X)),
    ],
    ids=["of a plug", "of a plug, to none", "to another station", "to a new station"],
)
@pytest.mark.parametrize(("form", "other"), [("entity", "device"), ("device", "entity")])
def test_an_alias_and_the_form_that_change_at_once_leave_nothing_wherever_the_connection_breaks(
    before: tuple[Station, ...], after: tuple[Station, ...], form: Form, other: Form
) -> None:
    taken = 0
    while True:
        bridge, broker = _running(_plan(*before, form=form), before[0].uuid)
        bridge.apply(_plan(*after, form=other), broker)
        is_over = len(broker.deliver(taken)) < taken
        broker.disconnect()
        broker.connect(bridge)
        broker.deliver()
        assert broker.retained == {message.topic: message.payload for message in _as_if_new(bridge).whole()}, taken
        if is_over:
            break
        taken += 1
    assert taken > 20
