"""The publication: its phases, and the order of its messages."""

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from evse_mqtt_bridge.config.plan import ownership, publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import FORGET_AFTER, Rules
from evse_mqtt_bridge.domain.model import Reading, Reason, Repeat, Station
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.homeassistant.output import HomeAssistant
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.payloads import timestamp
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Phase, Publication, Subscriptions
from evse_mqtt_bridge.publishing.topics import Topics, covers
from tests.harness.samples import NOW, at, failure, plug_reading, reading
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_NORTH = Station("e1", 30, name="North", alias="north", plugs={"p1": "left"})
_SOUTH = Station("e2", 30)
_BOTH = reading(plug_reading("p1"), plug_reading("p2", label="Plug 2"))


def _running(configured: Plan, *uuids: str) -> tuple[Bridge, ModelBroker]:
    """Return a bridge whose stations `uuids` have answered, and whose broker has received everything."""
    bridge, broker = Bridge(configured), ModelBroker()
    broker.connect(bridge.publication)
    for uuid in uuids:
        bridge.poll(uuid, _BOTH, at(0))
    broker.deliver()
    return bridge, broker


def _restore(publication: Publication) -> list[Subscriptions]:
    """Read a manifest without entries; return the subscriptions."""
    subscriptions = []
    while (more := publication.restored()) is not None:
        subscriptions.append(more)
    return subscriptions


def _topics(messages: list[Message]) -> list[str]:
    return [message.topic for message in messages]


# Phases


def test_phases_of_a_connection_without_migration() -> None:
    bridge, broker = Bridge(plan(_NORTH)), ModelBroker()
    publication = bridge.publication
    phases = [publication.phase]
    publication.connected()
    phases.append(publication.phase)
    _restore(publication)
    phases.append(publication.phase)
    publication.closing()
    phases.append(publication.phase)
    assert (publication.next_message() or publication.will()).topic == "evse/bridge/info", "it was not yet published"
    assert publication.next_message() == publication.will()
    assert publication.next_message() is None
    publication.disconnected()
    phases.append(publication.phase)
    assert phases == [Phase.OFFLINE, Phase.RESTORING, Phase.LIVE, Phase.CLOSING, Phase.OFFLINE]
    assert broker.retained == {}


def test_reconfigured_with_stages_publishes_after_the_last() -> None:
    bridge, _ = _running(plan(_SOUTH, form="entity"), "e2")
    publication = bridge.publication
    publication.reconfigured(plan(_SOUTH, form="device"))
    recorded = {"evse/bridge/info", "evse/e2/info"}
    for payload in (b'{"migrate_discovery":true}', b""):
        assert publication.phase is Phase.MIGRATING
        stage = []
        while message := publication.next_message():
            stage.append(message)
        discovery = {message.payload for message in stage if message.topic.startswith("ha/")}
        assert discovery == {payload}
        assert {message.topic for message in stage if not message.topic.startswith("ha/")} == recorded
        recorded = set()
        publication.stage_acknowledged()
    assert publication.phase is Phase.LIVE
    assert publication.next_message() is not None


@pytest.mark.parametrize("call", ["restored", "closing"])
def test_call_in_a_wrong_phase_is_an_error(call: str) -> None:
    publication = Bridge(plan(_NORTH)).publication
    with pytest.raises(RuntimeError, match=f"{call}\\(\\) in phase OFFLINE"):
        getattr(publication, call)()


def test_changes_during_a_stage_wait_for_the_republish() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    bridge.poll("e1", reading(plug_reading(power=1.0)), at(30))
    bridge.publication.republish()
    assert bridge.publication.next_message() is not None, "both are pending"
    bridge.publication.reconfigured(plan(_NORTH, _SOUTH, form="device"))
    bridge.poll("e1", reading(plug_reading(power=2.0)), at(60))
    assert b"migrate_discovery" in broker.deliver(4)[-1].payload, "after the entries"
    broker.deliver()
    assert broker.retained == bridge.everything()


def test_entry_changed_during_a_stage_is_published_last() -> None:
    """Otherwise it would no longer list the topics to clear last, if the connection were lost in between."""
    old = replace(_NORTH, plugs={"p1": "left", "p2": "right"})
    bridge, broker = _running(plan(old, form="entity"), "e1")
    bridge.publication.reconfigured(plan(_NORTH, form="device", base="site/evse"))
    relabelled = reading(plug_reading("p1", label="Left"), plug_reading("p2", label="Plug 2"))
    bridge.poll("e1", relabelled, at(30))
    messages = broker.deliver()
    cleared = [index for index, message in enumerate(messages) if message.topic.startswith("evse/")]
    assert cleared
    assert broker.retained == bridge.everything()


def test_birth_message_is_recognized_only_while_live() -> None:
    configured = replace(plan(_NORTH), birth_topic="ha/status")
    bridge, broker = Bridge(configured), ModelBroker()
    publication = bridge.publication
    publication.connected()
    assert not publication.received("ha/status", b"online", retained=False)
    assert [each.lasting for each in _restore(publication)] == [("ha/status", *Topics.bridge_info_filters())]
    assert publication.received("ha/status", b"online", retained=False)
    assert not publication.received("ha/status", b"online", retained=True)
    assert not publication.received("ha/status", b"offline", retained=False)
    assert not publication.received("ha/other", b"online", retained=False)
    assert not broker.connected


# Polls


def test_poll_publishes_what_changed_and_the_next_nothing() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    assert broker.retained["evse/north/left/power"] == b"7107"
    assert broker.retained["evse/e2/p1/power"] == b"7107"
    bridge.poll("e1", _BOTH, at(30))
    assert broker.deliver() == []
    bridge.poll("e1", reading(plug_reading("p1", power=11.0), plug_reading("p2", label="Plug 2")), at(60))
    assert _topics(broker.deliver()) == ["evse/north/left/power", "evse/north/left/state"]


def test_slow_broker_gets_each_value_once_as_it_is_last() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    for power in (1.0, 2.0, 3.0):
        bridge.poll("e1", reading(plug_reading("p1", power=power), plug_reading("p2", label="Plug 2")), at(power))
    bridge.poll("e2", reading(plug_reading("p1", power=4.0), plug_reading("p2", label="Plug 2")), at(5))
    bridge.poll("e2", _BOTH, at(6))
    assert {message.topic: message.payload for message in broker.deliver() if message.topic.endswith("power")} == {
        "evse/north/left/power": b"3"
    }


def test_first_answers_are_rendered_one_station_at_a_time() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"))
    for uuid in ("e1", "e2"):
        bridge.poll(uuid, _BOTH, at(0))
    first = broker.deliver(1)
    assert _topics(first) == ["evse/north/info"]
    bridge.poll("e2", reading(plug_reading("p1", power=5.0), plug_reading("p2", label="Plug 2")), at(1))
    broker.deliver()
    assert broker.retained == bridge.everything(), "the second station was rendered after its second poll"
    assert broker.retained["evse/e2/p1/power"] == b"5"


def test_failed_station_does_not_affect_others() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    bridge.poll("e1", failure(Reason.UNAUTHORIZED), at(30))
    assert all(topic.startswith("evse/north/") for topic in _topics(broker.deliver()))
    assert broker.retained["evse/north/availability_reason"] == b"unauthorized"
    assert broker.retained["evse/e2/availability"] == b"online"
    assert bridge.state("e1").reason is Reason.UNAUTHORIZED


def test_new_plug_publishes_discovery_before_values() -> None:
    bridge, broker = _running(plan(_SOUTH, form="entity"))
    bridge.poll("e2", reading(plug_reading("p1")), at(0))
    topics = _topics(broker.deliver())
    assert topics[0] == "evse/e2/info"
    discovery = [index for index, topic in enumerate(topics) if topic.startswith("ha/")]
    values = [index for index, topic in enumerate(topics) if topic.startswith("evse/e2/p1/")]
    assert max(discovery) < min(values)
    assert json.loads(broker.retained["evse/e2/info"])["plugs"] == {"p1": {"topic": "p1", "label": "Plug 1"}}


def test_relabelled_plug_is_discovered_again() -> None:
    bridge, broker = _running(plan(_SOUTH, form="device"), "e2")
    bridge.poll("e2", reading(plug_reading("p1", label="Left"), plug_reading("p2", label="Plug 2")), at(30))
    assert _topics(broker.deliver()) == [
        "evse/e2/info",
        "ha/device/evse_e2_p1/config",
        "evse/e2/p1/label",
        "evse/e2/p1/state",
    ]


def test_plug_missing_for_a_day_leaves_nothing_behind() -> None:
    bridge, broker = _running(plan(_NORTH, form="entity"), "e1")
    one = reading(plug_reading("p1"))
    bridge.poll("e1", one, at(30))
    bridge.poll("e1", one, at(30 + FORGET_AFTER))
    messages = broker.deliver()
    assert not [topic for topic in broker.retained if "/p2/" in topic or "_p2/" in topic]
    assert messages[-1].topic == "evse/north/info", "the entry goes last, or an interruption would leave topics behind"
    assert list(json.loads(messages[-1].payload)["plugs"]) == ["p1"]
    assert broker.retained["evse/north/left/power"] == b"7107"


@pytest.mark.parametrize("delivered", [0, 1, 2])
def test_plug_back_before_its_removal_is_republished(delivered: int) -> None:
    bridge, broker = _running(plan(_NORTH, form="entity"), "e1")
    one = reading(plug_reading("p1"))
    bridge.poll("e1", reading(plug_reading("p1", power=2.0, status="idle")), at(30))
    broker.deliver(delivered)
    bridge.poll("e1", one, at(30 + FORGET_AFTER))
    broker.deliver(delivered)
    bridge.poll("e1", _BOTH, at(60 + FORGET_AFTER))
    broker.deliver()
    assert broker.retained == bridge.everything()


@pytest.mark.parametrize("delivered", range(12))
def test_plug_removed_while_changing_is_not_published(delivered: int) -> None:
    bridge, broker = _running(plan(_NORTH, form="entity"), "e1")
    bridge.poll("e1", reading(plug_reading("p1", power=2.0)), at(30))
    broker.deliver()
    bridge.poll("e1", failure(Reason.UNAUTHORIZED), at(60))
    broker.deliver(delivered)
    bridge.poll("e1", reading(plug_reading("p1")), at(90))
    bridge.poll("e1", reading(plug_reading("p1")), at(120 + FORGET_AFTER))
    broker.deliver()
    assert not [topic for topic in broker.retained if "/p2/" in topic or "_p2/" in topic]
    assert broker.retained == bridge.everything()


# A plug that replaced another one: its alias is the uuid of the old one

_REPLACED = Station("e2", 30, plugs={"p1": "p2"})


def test_replaced_plug_is_left_out_with_a_note() -> None:
    bridge, broker = _running(plan(_REPLACED, form="entity"), "e2")
    outcome = bridge.poll("e2", reading(plug_reading("p1", power=3.0), plug_reading("p2")), at(30)).outcome
    assert isinstance(outcome, Reading)
    assert [plug.plug_uuid for plug in outcome.plugs] == ["p1"]
    assert outcome.notes == ("plug p2 is left out: its uuid is the alias of another plug; give it an alias too",)
    broker.deliver()
    assert broker.retained["evse/e2/p2/power"] == b"3"
    assert not [topic for topic in broker.retained if "_p2/" in topic]


def test_replaced_plug_of_a_previous_run_is_not_published() -> None:
    _, broker = _running(plan(_SOUTH, form="entity"), "e2")
    bridge = Bridge(plan(_REPLACED, form="entity"))
    broker.connect(bridge.publication)
    bridge.poll("e2", reading(plug_reading("p1")), at(0))
    broker.deliver()
    assert broker.retained == bridge.everything()
    assert broker.retained["evse/e2/p2/availability"] == b"online"


def test_plug_replaced_at_run_time_inherits_the_topics() -> None:
    bridge, broker = _running(plan(_SOUTH, form="entity"), "e2")
    bridge.publication.reconfigured(plan(_REPLACED, form="entity"))
    bridge.poll("e2", reading(plug_reading("p1", power=3.0)), at(30))
    broker.deliver()
    assert broker.retained == bridge.everything()
    assert broker.retained["evse/e2/p2/power"] == b"3"


def test_replaced_plug_with_its_own_alias_is_published() -> None:
    station = Station("e2", 30, plugs={"p1": "p2", "p2": "old"})
    bridge, broker = _running(plan(station, form="entity"), "e2")
    bridge.poll("e2", reading(plug_reading("p1", power=1.0), plug_reading("p2", power=2.0)), at(30))
    broker.deliver()
    assert (broker.retained["evse/e2/p2/power"], broker.retained["evse/e2/old/power"]) == (b"1", b"2")


def test_answer_with_the_replaced_plug_alone_is_invalid() -> None:
    bridge, broker = _running(plan(_REPLACED))
    bridge.poll("e2", reading(plug_reading("p2")), at(0))
    broker.deliver()
    assert broker.retained["evse/e2/availability_reason"] == b"invalid_response"


def test_plug_removed_while_disconnected_does_not_return() -> None:
    bridge, broker = _running(plan(_NORTH, form="entity"), "e1")
    broker.disconnect()
    one = reading(plug_reading("p1"))
    bridge.poll("e1", one, at(30))
    bridge.poll("e1", one, at(30 + FORGET_AFTER))
    broker.connect(bridge.publication)
    broker.deliver()
    assert list(bridge.state("e1").plugs) == ["p1"]
    assert broker.retained == bridge.everything()


# The full republish


def test_republish_order_is_discovery_values_availability() -> None:
    bridge, _ = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    topics = list(bridge.everything())
    assert topics[0] == "evse/bridge/info"
    assert topics[-1] == "evse/bridge/availability"
    kinds = ["discovery" if topic.startswith("ha/") else topic.rsplit("/", 1)[1] for topic in topics]
    discovery = [index for index, kind in enumerate(kinds) if kind == "discovery"]
    availability = [index for index, kind in enumerate(kinds[:-1]) if kind.startswith("availability")]
    values = [index for index, kind in enumerate(kinds) if kind in ("power", "state", "time", "status")]
    assert max(discovery) < min(values) <= max(values) < min(availability)


def test_change_during_a_republish_is_not_overwritten() -> None:
    bridge, broker = _running(plan(_SOUTH), "e2")
    for delivered in range(len(bridge.everything())):
        bridge.publication.republish()
        broker.deliver(delivered)
        power = float(delivered)
        changed = reading(plug_reading("p1", power=power, status="offline"), plug_reading("p2", power=power))
        bridge.poll("e2", changed, at(delivered + 1))
        broker.deliver()
        assert broker.retained["evse/e2/p1/power"] == broker.retained["evse/e2/p2/power"] == str(delivered).encode()
        assert broker.retained["evse/e2/p1/availability"] == b"offline"
        bridge.poll("e2", _BOTH, at(delivered + 1.5))
        broker.deliver()


def test_republish_keeps_no_states_that_were_replaced() -> None:
    """Otherwise, a start with thousands of stations takes the memory of two states each, which stays in use."""
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    published = bridge.state("e2")
    bridge.publication.republish()
    broker.deliver(len(bridge.everything()) // 2)  # all discovery, but not all values
    bridge.poll("e2", reading(plug_reading("p1", power=1.0), plug_reading("p2")), at(1))
    assert bridge.state("e2") is not published
    assert not [holder for holder in gc.get_referrers(published) if isinstance(holder, dict)]
    broker.deliver()


@pytest.mark.parametrize("delivered", range(0, 130, 7))
def test_station_changed_during_a_republish_is_sent_once(delivered: int) -> None:
    configured = plan(_NORTH, _SOUTH, form="entity")
    bridge, broker = Bridge(configured), ModelBroker()
    broker.connect(bridge.publication)
    for uuid in ("e1", "e2"):
        bridge.poll(uuid, _BOTH, at(0))
    of_one_station = len([topic for topic in bridge.everything() if "e2" in topic])
    broker.connect(bridge.publication)
    topics = _topics(broker.deliver())
    assert set(topics) == set(broker.retained)
    assert len(topics) - len(set(topics)) <= of_one_station
    bridge.publication.republish()
    topics = _topics(broker.deliver(delivered))
    bridge.poll("e2", reading(plug_reading("p1", power=1.0), plug_reading("p2", label="Plug 2")), at(60))
    topics += _topics(broker.deliver())
    assert set(topics) == set(broker.retained)
    assert len(topics) - len(set(topics)) <= of_one_station, "nothing of the other station"
    assert broker.retained["evse/e2/p1/power"] == b"1"


@pytest.mark.parametrize("delivered", range(0, 200, 3))
def test_change_undone_during_a_republish_is_undone(delivered: int) -> None:
    uuids = ("e1", "e3", "e2")  # the first station of the republish has the last change
    bridge, broker = _running(plan(_SOUTH, _NORTH, Station("e3", 30), form="entity"), *uuids)
    bridge.publication.republish()
    for uuid in uuids:
        bridge.poll(
            uuid, reading(plug_reading("p1", power=1.0, status="offline"), plug_reading("p2", power=1.0)), at(30)
        )
    broker.deliver(delivered)
    for uuid in uuids:
        bridge.poll(uuid, _BOTH, at(60))
    broker.deliver()
    assert broker.retained == bridge.everything()


def test_republish_completes_despite_endless_changes() -> None:
    bridge, broker = _running(plan(_SOUTH), "e2")
    bridge.publication.republish()
    for number in range(1, 400):
        bridge.poll("e2", reading(plug_reading("p1", power=float(number))), at(number))
        if any(message.topic == "evse/bridge/availability" for message in broker.deliver(5)):
            break
    assert broker.retained["evse/bridge/availability"] == b"online"
    assert number < 30


def test_station_removed_during_a_republish_leaves_nothing() -> None:
    for delivered in range(60):
        bridge, broker = _running(plan(_NORTH, _SOUTH, form="device"), "e1", "e2")
        bridge.publication.republish()
        broker.deliver(delivered)
        bridge.publication.reconfigured(plan(_NORTH, form="device"))
        broker.deliver()
        assert not [topic for topic in broker.retained if "e2" in topic]


def test_will_is_offline_on_the_bridges_availability() -> None:
    will = Bridge(plan(base="site/evse")).publication.will()
    assert will == Message("site/evse/bridge/availability", b"offline")


# Another configuration


def test_unchanged_stations_are_not_published_again() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    bridge.publication.reconfigured(plan(replace(_NORTH, interval=5), _SOUTH))
    assert _topics(broker.deliver()) == ["evse/bridge/info"]
    assert bridge.plan.stations["e1"].interval == 5
    assert bridge.state("e1").reason is Reason.ONLINE


@pytest.mark.parametrize("form", ["entity", "device"])
def test_new_name_of_a_plug_is_published(form: Form) -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form=form), "e1", "e2")
    bridge.publication.reconfigured(plan(replace(_NORTH, plug_names={"p1": "Bay 1"}), _SOUTH, form=form))
    broker.deliver()
    names = {
        json.loads(payload)["device"]["name"]
        for topic, payload in broker.retained.items()
        if topic.endswith("/config") and "e1_p1" in topic
    }
    assert names == {"North Bay 1"}


def test_added_station_does_not_affect_others() -> None:
    bridge, broker = _running(plan(_NORTH), "e1")
    bridge.publication.reconfigured(plan(_NORTH, _SOUTH))
    assert set(_topics(broker.deliver())) == {"evse/bridge/info", "evse/e2/info"}
    assert json.loads(broker.retained["evse/bridge/info"])["stations"] == 2


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_removed_station_leaves_nothing_behind(form: Form | None) -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form=form), "e1", "e2")
    bridge.publication.reconfigured(plan(_NORTH, form=form))
    messages = broker.deliver()
    assert not [topic for topic in broker.retained if "e2" in topic]
    assert {message.topic for message in messages if message.payload} == {"evse/bridge/info"}


def test_stations_with_swapped_aliases_show_own_values() -> None:
    x, y = Station("e1", 30, alias="x"), Station("e2", 30, alias="y")
    bridge, broker = _running(plan(x, y))
    bridge.poll("e1", reading(plug_reading("p1", power=1.0)), at(0))
    bridge.poll("e2", reading(plug_reading("p1", power=2.0, status="stopped", label=None)), at(0))
    broker.deliver()
    bridge.publication.reconfigured(plan(replace(x, alias="y"), replace(y, alias="x")))
    broker.deliver()
    assert (broker.retained["evse/x/p1/power"], broker.retained["evse/y/p1/power"]) == (b"2", b"1")
    assert json.loads(broker.retained["evse/x/info"])["uuid"] == "e2"
    assert "evse/x/p1/label" not in broker.retained, "the label of the other one"
    assert "evse/x/p1/vehicle_connected" not in broker.retained, "`stopped` does not determine it"


def test_plug_with_anothers_alias_shows_own_values() -> None:
    station = Station("e1", 30, plugs={"p1": "left"})
    bridge, broker = _running(plan(station))
    bridge.poll("e1", reading(plug_reading("p1", power=1.0), plug_reading("p2", power=2.0, label=None)), at(0))
    bridge.publication.reconfigured(plan(replace(station, plugs={"p2": "left"})))
    broker.deliver()
    assert (broker.retained["evse/e1/left/power"], broker.retained["evse/e1/p1/power"]) == (b"2", b"1")
    assert "evse/e1/left/label" not in broker.retained
    assert not [topic for topic in broker.retained if "/p2/" in topic]


@pytest.mark.parametrize("wanted", [{"form": "device"}, {"prefix": "ha2"}, {"form": None}, {"base": "site/evse"}])
def test_moved_topics_and_discovery_leave_nothing_behind(wanted: dict[str, Any]) -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    bridge.publication.reconfigured(plan(_NORTH, _SOUTH, **{"form": "entity", **wanted}))
    broker.deliver()
    assert broker.retained == bridge.everything()
    assert broker.conflicts == []


@pytest.mark.parametrize("delivered", [0, 1, 20, 500])
def test_swapped_aliases_with_new_discovery_show_own_values(delivered: int) -> None:
    x, y = Station("e1", 30, alias="x"), Station("e2", 30, alias="y")
    bridge, broker = _running(plan(x, y), "e1", "e2")
    bridge.publication.reconfigured(plan(replace(x, alias="y"), replace(y, alias="x"), form="entity"))
    broker.deliver(delivered)
    broker.deliver()
    assert broker.retained == bridge.everything()


@pytest.mark.parametrize("delivered", range(0, 130, 13))
def test_lost_connection_in_a_stage_leaves_nothing_behind(delivered: int) -> None:
    """The full republish may not have reached the station whose discovery the stage clears."""
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    broker.disconnect()
    broker.lose_memory()
    broker.connect(bridge.publication)
    broker.deliver(delivered)
    bridge.publication.reconfigured(plan(_NORTH, _SOUTH, form="device"))
    broker.deliver(delivered // 2 + 1)
    broker.connect(bridge.publication)
    broker.deliver()
    assert broker.retained == bridge.everything()
    assert broker.conflicts == []


# A restart


def test_restart_restores_plugs_and_publishes_no_values() -> None:
    bridge, broker = _running(plan(_NORTH, form="entity"), "e1")
    before = dict(broker.retained)
    restarted = Bridge(bridge.plan)
    broker.connect(restarted.publication)
    broker.deliver()
    assert broker.retained == before
    labels = {uuid: plug.label for uuid, plug in restarted.state("e1").plugs.items()}
    assert labels == {"p1": "Plug 1", "p2": "Plug 2"}


def test_restart_clears_what_was_removed_while_stopped() -> None:
    _, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    restarted = Bridge(plan(replace(_NORTH, alias="", plugs={}), form="device", base="site/evse"))
    broker.connect(restarted.publication)
    broker.deliver()
    assert not [topic for topic in broker.retained if topic.startswith("evse/")]
    assert not [topic for topic in broker.retained if "e2" in topic]
    assert broker.conflicts == []


def test_base_topic_changed_while_restoring_is_read_too() -> None:
    _, broker = _running(plan(_NORTH, base="site/evse"), "e1")
    bridge = Bridge(plan(_NORTH))
    publication = bridge.publication
    assert publication.connected().retained == ("evse/bridge/info",)
    publication.reconfigured(plan(_NORTH, base="site/evse"))
    more = publication.restored()
    assert more is not None
    assert more.retained == ("site/evse/bridge/info",)
    publication.received("site/evse/bridge/info", broker.retained["site/evse/bridge/info"], retained=True)
    more = publication.restored()
    assert more is not None
    assert {"evse/+/info", "site/evse/+/info"} == set(more.retained)
    publication.received("site/evse/north/info", broker.retained["site/evse/north/info"], retained=True)
    meters = publication.restored()
    assert meters is not None
    assert meters.retained == ("site/evse/+/+/state", "site/evse/+/+/last_session")
    while publication.restored() is not None:
        pass
    assert list(bridge.state("e1").plugs) == ["p1", "p2"]


_INTERRUPTED = {
    "another base": (plan(_NORTH, form="entity", base="site/evse"), lambda topic: topic.startswith("evse/")),
    "another alias of a plug": (plan(replace(_NORTH, plugs={}), form="entity"), lambda topic: "/left/" in topic),
    "a station less": (plan(_NORTH, form="entity"), lambda topic: "e2" in topic),
    "an alias for another": (
        plan(replace(_NORTH, uuid="e3"), _SOUTH, form="entity"),
        lambda topic: "_e1_" in topic or ("/north/" in topic and topic.count("/") > 2),
    ),
}


@pytest.mark.parametrize("delivered", range(0, 250, 11))
@pytest.mark.parametrize(("configured", "is_old"), _INTERRUPTED.values(), ids=_INTERRUPTED.keys())
def test_interrupted_clean_up_is_resumed(configured: Plan, is_old: Callable[[str], bool], delivered: int) -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    assert any(is_old(topic) for topic in broker.retained)
    if delivered % 2:
        broker.reconfigure(bridge.publication, configured)
    else:
        broker.connect(Bridge(configured).publication)
    broker.deliver(delivered)
    broker.connect(Bridge(configured).publication)
    broker.deliver()
    assert not [topic for topic in broker.retained if is_old(topic)]


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
def test_alias_and_form_changed_at_once_survive_any_break(
    before: tuple[Station, ...], after: tuple[Station, ...], form: Form, other: Form
) -> None:
    delivered = 0
    while True:
        bridge, broker = _running(plan(*before, form=form), before[0].uuid)
        bridge.publication.reconfigured(plan(*after, form=other))
        is_complete = len(broker.deliver(delivered)) < delivered
        broker.disconnect()
        broker.connect(bridge.publication)
        broker.deliver()
        assert broker.retained == bridge.everything(), delivered
        if is_complete:
            break
        delivered += 1
    assert delivered > 20


def test_overtaken_change_leaves_nothing_wherever_it_breaks() -> None:
    """A migration that another one overtakes must not publish entries that the other one defers."""
    delivered = 0
    while True:
        bridge, broker = _running(plan(_NORTH, form="entity"), "e1")
        bridge.publication.reconfigured(plan(_NORTH, form="device"))
        renamed = replace(_NORTH, plugs={"p1": "right"})
        bridge.publication.reconfigured(plan(renamed, form="device", prefix="ha2"))
        is_complete = len(broker.deliver(delivered)) < delivered
        broker.connect(bridge.publication)
        broker.deliver()
        assert broker.retained == bridge.everything(), delivered
        if is_complete:
            break
        delivered += 1
    assert delivered > 20


# From a configuration


def test_plan_has_what_the_configuration_has() -> None:
    tables = {
        "mqtt": {"host": "localhost", "base_topic": "site/evse", "client_id": "me", "qos": 2},
        "polling": {"interval": 7, "offline_after": 5, "stale_after": 900, "heartbeat": 11},
        "homeassistant": {"discovery_prefix": "ha", "discovery": "device", "status_topic": "ha/up"},
        "stations": [
            {"edge_device_id": "d", "uuid": "e1", "token": "secret", "name": "North", "alias": "north"},
            {"edge_device_id": "d", "uuid": "e2", "token": "secret", "interval": 90, "plugs": {"p1": "left"}},
        ],
    }
    configured = publishing_plan(Config.model_validate(tables))
    assert configured.topics == Topics("site/evse")
    assert configured.stations == {
        "e1": Station("e1", 7, "North", "north"),
        "e2": Station("e2", 90, plugs={"p1": "left"}),
    }
    assert configured.rules == Rules(5, 900, 11)
    assert configured.locations == (PlainLocation(Topics("site/evse")), DiscoveryLocation("ha", "device"))
    assert (configured.birth_topic, configured.client_id) == ("ha/up", "me")
    assert isinstance(configured.outputs[1], HomeAssistant)
    assert configured.outputs[1].discovery.qos == 2
    assert "secret" not in repr(configured)
    without = Config.model_validate({**tables, "homeassistant": {"enabled": False, "discovery_prefix": "ha"}})
    assert publishing_plan(without).locations == (PlainLocation(Topics("site/evse")),)
    assert publishing_plan(without).birth_topic == ""
    assert ownership(without).searched[1] == DiscoveryLocation("ha", "entity"), "orphans may be there all the same"


def test_started_is_published() -> None:
    _, broker = _running(plan())
    assert json.loads(broker.retained["evse/bridge/info"])["started"] == NOW.isoformat().replace("+00:00", ".000Z")


def test_started_is_published_again_when_the_clock_is_set() -> None:
    bridge, broker = _running(plan(_NORTH), "e1")
    before = dict(broker.retained)
    bridge.publication.clock_changed(timedelta(days=1, seconds=2))
    broker.deliver()
    changed = {topic for topic, payload in broker.retained.items() if before[topic] != payload}
    assert changed == {"evse/bridge/info"}
    started = json.loads(broker.retained["evse/bridge/info"])["started"]
    assert datetime.fromisoformat(started) == NOW + timedelta(days=1, seconds=2)


def test_clock_set_while_disconnected_is_published_later() -> None:
    bridge, broker = Bridge(plan()), ModelBroker()
    bridge.publication.clock_changed(timedelta(days=1))
    broker.connect(bridge.publication)
    broker.deliver()
    assert json.loads(broker.retained["evse/bridge/info"])["started"].startswith(f"{NOW + timedelta(days=1):%Y-%m-%d}")


# The search for previous base topics


def _searches(publication: Publication) -> list[tuple[str, ...]]:
    """Go on with a search that finds nothing; return the filters of each subscription."""
    filters = []
    while (subscriptions := publication.next_search()) is not None:
        filters.append((*subscriptions.lasting, *subscriptions.retained))
    return filters


_SEARCH = [("+/bridge/info",), ("+/+/bridge/info",), ("+/+/+/bridge/info",), ("+/+/+/+/bridge/info",)]


@pytest.mark.parametrize("may_search_first", [True, False])
def test_search_is_the_second_step_or_follows_the_values(*, may_search_first: bool) -> None:
    publication = Bridge(plan(_NORTH)).publication
    publication.connected(may_search_first=may_search_first)
    search = [topic_filter for filters in _SEARCH for topic_filter in filters]
    first = [(*each.retained, *each.lasting) for each in _restore(publication)]
    assert publication.phase is Phase.LIVE
    assert first == [("evse/+/info", *search)] if may_search_first else [("evse/+/info",)]
    assert _searches(publication) == ([] if may_search_first else _SEARCH)


@pytest.mark.parametrize("may_search_first", [True, False])
def test_search_clears_a_base_topic_of_a_previous_run(*, may_search_first: bool) -> None:
    _, broker = _running(plan(_NORTH, base="site/evse"), "e1")
    bridge = Bridge(plan(_NORTH))
    broker.connect(bridge.publication, may_search_first=may_search_first)
    bridge.poll("e1", _BOTH, at(0))
    broker.deliver()
    assert broker.own == bridge.everything()


@pytest.mark.parametrize("may_search_first", [True, False])
def test_meters_below_a_previous_base_topic_continue(*, may_search_first: bool) -> None:
    previous, broker = _running(plan(_NORTH, base="site/evse"), "e1")
    charged = reading(plug_reading("p1", power=36_000.0, time=NOW + timedelta(seconds=60)))
    previous.poll("e1", charged, at(60))
    broker.deliver()
    before = float(broker.retained["site/evse/north/left/energy"])
    assert before > 0
    bridge = Bridge(plan(_NORTH))
    broker.connect(bridge.publication, may_search_first=may_search_first)
    messages = broker.deliver()
    for second in (70, 80, 150):  # the last one is a heartbeat
        bridge.poll("e1", reading(plug_reading("p1", power=36_000.0, time=NOW + timedelta(seconds=second))), at(second))
        messages += broker.deliver()
    counts = [float(message.payload) for message in messages if message.topic == "evse/north/left/energy"]
    assert min(counts) >= before, "the counter does not begin again"
    assert broker.retained["evse/north/left/energy"] == b"1.259"
    assert "site/evse/north/left/energy" not in broker.retained


@pytest.mark.parametrize("progress", ["connected", "restored", "some messages", "a new plug"])
def test_stop_soon_after_a_change_leaves_no_topics(progress: str) -> None:
    """The bridge publishes the last counts only if an entry on the broker contains their topics."""
    bridge, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    for second in (10, 20):  # the second one has only new counts
        measured = plug_reading("p1", power=36_000.0, time=NOW + timedelta(seconds=second))
        bridge.poll("e2", reading(measured), at(second))
    broker.deliver()
    if progress == "a new plug":
        first = [plug_reading(plug, power=36_000.0, time=NOW + timedelta(seconds=25)) for plug in ("p1", "p9")]
        bridge.poll("e2", reading(*first), at(25))
        later = [plug_reading(plug, power=36_000.0, time=NOW + timedelta(seconds=35)) for plug in ("p1", "p9")]
        bridge.poll("e2", reading(*later), at(35))
    else:
        broker.lose_connection()
        bridge.publication.reconfigured(plan(_NORTH, _SOUTH, base="other"))
        broker.connect(bridge.publication, is_restored=progress != "connected")
        broker.deliver(3 if progress == "some messages" else 0)
    broker.stop()
    following = Bridge(plan(_NORTH))
    broker.connect(following.publication)
    following.poll("e1", _BOTH, at(60))
    broker.deliver()
    gap = "other/bridge/availability" if progress == "connected" else ""  # see publication.py
    assert {topic: payload for topic, payload in broker.own.items() if topic != gap} == following.everything()


def _restore_with_losses(publication: Publication, retained: dict[str, bytes], lost: str) -> None:
    """Deliver the retained messages, except for a topic that the broker drops among many others."""
    subscriptions: Subscriptions | None = publication.connected()
    while subscriptions is not None:
        for topic_filter in (*subscriptions.lasting, *subscriptions.retained):
            for topic in sorted(retained):
                if topic_filter == topic or (covers(topic_filter, topic) and topic != lost):
                    publication.received(topic, retained[topic], retained=True)
        subscriptions = publication.restored()


@pytest.mark.parametrize("lost", ["info", "left/state", "left/last_session"])
def test_meter_continues_if_the_broker_drops_a_message(lost: str) -> None:
    previous, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    for second, status in ((60, "charging"), (90, "idle"), (120, "idle")):
        measured = plug_reading("p1", status=status, power=0.0, time=NOW + timedelta(seconds=second))
        previous.poll("e1", reading(measured), at(second))
    broker.deliver()
    before = previous.state("e1").plugs["p1"].meter
    bridge = Bridge(plan(_NORTH, _SOUTH))
    _restore_with_losses(bridge.publication, broker.retained, f"evse/north/{lost}")
    meter = bridge.state("e1").plugs["p1"].meter
    assert meter is not None
    assert before is not None
    assert meter.charged == pytest.approx(before.charged, abs=0.5)
    assert meter.charged > 0
    assert meter.last_session is not None


def test_nothing_is_read_again_if_subscriptions_are_limited() -> None:
    """Each further subscription could cost a connection."""
    _, broker = _running(plan(_NORTH, _SOUTH), "e1", "e2")
    broker.disconnect()
    added = Station("e9", 30)
    for may_read_again in (True, False):
        publication = Bridge(plan(_NORTH, _SOUTH, added)).publication
        subscriptions: Subscriptions | None = publication.connected(may_read_again=may_read_again)
        read: list[str] = []
        while subscriptions is not None:
            read += subscriptions.retained
            for topic, payload in broker.retained.items():
                if any(covers(each, topic) for each in (*subscriptions.lasting, *subscriptions.retained)):
                    publication.received(topic, payload, retained=True)
            subscriptions = publication.restored()
        assert ("evse/e9/info" in read) is may_read_again


def test_session_that_ends_before_a_restore_has_an_event() -> None:
    previous, broker = _running(plan(_NORTH), "e1")
    broker.deliver()
    broker.disconnect()
    del previous
    bridge = Bridge(plan(_NORTH))
    idle = plug_reading("p1", status="idle", power=0.0, time=NOW + timedelta(seconds=30))
    bridge.poll("e1", reading(idle), at(30))
    broker.connect(bridge.publication)
    messages = broker.deliver()
    [event] = [message for message in messages if message.topic == "evse/north/left/session_event"]
    assert json.loads(event.payload)["event_type"] == "ended"
    assert not event.retain


def test_events_before_a_late_start_are_published_once() -> None:
    """Those of one station do not replace those of another one that are pending."""
    bridge, broker = Bridge(plan(_NORTH, _SOUTH)), ModelBroker()
    bridge.stations.expect_history(["e1", "e2"])
    broker.connect(bridge.publication)
    broker.deliver()
    for second, status in enumerate(("idle", "charging", "idle")):
        measured = plug_reading("p1", status=status, power=0.0, time=NOW + timedelta(seconds=second))
        for uuid in ("e1", "e2"):
            bridge.poll(uuid, reading(measured), at(second))
    broker.deliver()
    for uuid in ("e1", "e2"):
        bridge.stations.history_read([uuid], {})
        bridge.publication.sessions_changed()
    messages = [each for each in broker.deliver() if each.topic.endswith("/session_event")]
    for topic in ("evse/north/left/session_event", "evse/e2/p1/session_event"):
        events = [json.loads(each.payload)["event_type"] for each in messages if each.topic == topic]
        assert events == ["started", "ended"]


def test_forged_entries_do_not_make_the_bridge_search_everywhere() -> None:
    bridge, broker = _running(plan(_NORTH), "e1")
    broker.disconnect()
    publication = bridge.publication
    publication.connected(may_search_first=False)
    _restore(publication)
    while (subscriptions := publication.next_search()) is not None:
        assert len(subscriptions.retained) <= 32
        if subscriptions.lasting == ("+/bridge/info",):
            for number in range(1000):
                info = json.loads(broker.retained["evse/bridge/info"]) | {"base_topic": f"x{number}"}
                publication.received(f"x{number}/bridge/info", json.dumps(info).encode(), retained=True)


# Shards


def test_handing_over_publishes_pending_changes_only() -> None:
    bridge, broker = _running(plan(_NORTH, _SOUTH, form="entity"), "e1", "e2")
    bridge.poll("e1", reading(plug_reading("p1", power=5.0), plug_reading("p2", label="Plug 2")), at(30))
    bridge.publication.republish()
    bridge.publication.handing_over()
    bridge.stations.replace(["e1", "e2"], {}, Rules())
    topics = _topics(broker.deliver())
    assert "evse/north/left/power" in topics
    assert not any(topic.startswith(("evse/bridge/", "evse/e2/")) for topic in topics)
    assert broker.retained["evse/bridge/availability"] == b"online"
    assert broker.retained["evse/north/left/power"] == b"5"


def test_full_republish_contains_the_latest_measurement() -> None:
    bridge = Bridge(plan(_SOUTH))
    bridge.stations.broker_read({}, ["e2"], is_complete=True)
    for second in (0, 1, 4):
        first = Reading((plug_reading("p1", time=at(second).utc),), fingerprint=1)
        repeat = Repeat(1, at(second).utc, b"", lambda _, first=first: first)  # type: ignore[misc]
        bridge.poll("e2", repeat if second else first, at(second))
    retained, time = bridge.everything(), timestamp(at(4).utc)
    assert retained["evse/e2/p1/time"] == time.encode()
    assert json.loads(retained["evse/e2/p1/state"])["time"] == time
