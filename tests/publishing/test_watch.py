"""What others do to the topics of the bridge: what is published again, and what is left to another live bridge."""

import json

import pytest

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing import watch
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.topics import Topics, covers
from evse_mqtt_bridge.publishing.watch import Disturbance
from tests.harness.samples import at, plug_reading, reading
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_NORTH, _SOUTH = Station("e1", 30, alias="north", plugs={"p1": "left"}), Station("e_2", 30)
_BOTH = reading(plug_reading("p1"), plug_reading("p2"))
_POWER = "ha/sensor/evse_e1_p1/power/config"


def _running(form: Form = "entity", base: str = "evse", client_id: str = "me") -> tuple[Bridge, ModelBroker]:
    bridge, broker = Bridge(plan(_NORTH, _SOUTH, form=form, base=base, client_id=client_id)), ModelBroker()
    broker.connect(bridge.publication)
    for uuid in ("e1", "e_2"):
        bridge.poll(uuid, _BOTH, at(0))
    broker.deliver()
    assert broker.retained == bridge.everything()
    return bridge, broker


def _disturb(bridge: Bridge, broker: ModelBroker, topic: str, payload: bytes) -> None:
    """Another client publishes a retained message."""
    broker.retained[topic] = payload
    if not payload:
        del broker.retained[topic]
    assert any(covers(topic_filter, topic) for topic_filter in bridge.publication.watch.filters), topic
    bridge.publication.received(topic, payload, retained=False)


@pytest.mark.parametrize("payload", [b"", b"anything", b'{"origin":{"name":"zigbee2mqtt"}}'])
@pytest.mark.parametrize("form", ["entity", "device"])
def test_each_own_topic_is_published_again(form: Form, payload: bytes) -> None:
    bridge, broker = _running(form)
    expected = bridge.everything()
    for topic in expected:
        _disturb(bridge, broker, topic, payload)
        found = bridge.publication.repair()
        assert (found.topics, found.example, found.is_cleared) == (1, topic, not payload), topic
        broker.deliver()
        assert broker.retained == expected, topic


@pytest.mark.parametrize(
    "topic",
    [
        "evse/north/custom",
        "evse/north/left/power/set",
        "evse/other/left/power",
        "evse/north/p9/power",
        "evse/bridge/marker",
        "ha/sensor/evse_e1_p9/power/config",
        "ha/sensor/evse_e9/availability/config",
        "ha/sensor/evse_bridge_other/availability/config",
        "ha/sensor/other/power/config",
    ],
)
def test_topic_of_others_is_not_watched(topic: str) -> None:
    bridge, _ = _running()
    for payload in (b"", b"1"):
        bridge.publication.received(topic, payload, retained=False)
    assert not bridge.publication.watch.is_pending


def test_message_equal_to_the_own_one_is_no_disturbance() -> None:
    bridge, broker = _running()
    _disturb(bridge, broker, _POWER, b"old")
    _disturb(bridge, broker, _POWER, bridge.everything()[_POWER])
    assert bridge.publication.repair() == Disturbance()
    assert broker.deliver() == []


@pytest.mark.parametrize("form", ["entity", "device"])
def test_other_live_bridge_keeps_what_it_overwrote(form: Form) -> None:
    bridge, broker = _running(form)
    other = _running(form, base="laptop", client_id="other")[0].everything()
    overwritten = {topic: payload for topic, payload in other.items() if topic in bridge.everything()}
    assert any("evse_e1_p1" in topic for topic in overwritten)
    for topic, payload in overwritten.items():
        _disturb(bridge, broker, topic, payload)
    assert bridge.publication.repair() == Disturbance()
    assert broker.deliver() == []
    assert bridge.publication.watch.others.is_outdated, "the availability of the other bridge is to be read"
    bridge.publication.received("laptop/bridge/availability", b"offline", retained=False)
    assert bridge.publication.watch.is_pending
    found = bridge.publication.repair()
    assert found.stopped == (Topics("laptop"),)
    broker.deliver()
    assert broker.retained == bridge.everything()
    assert not bridge.publication.watch.is_pending


def test_two_watching_bridges_do_not_overwrite_each_other() -> None:
    bridges = [_running()[0], _running(base="laptop", client_id="other")[0]]
    messages = 0
    pending = [(0, topic, payload) for topic, payload in bridges[1].everything().items()]
    while pending and messages < 100:
        receiver, topic, payload = pending.pop(0)
        publication = bridges[receiver].publication
        publication.received(topic, payload, retained=False)
        publication.repair()
        while message := publication.next_message():
            pending.append((1 - receiver, message.topic, message.payload))
            messages += 1
    assert messages == 0


def test_other_bridge_with_the_same_base_topic_is_a_rival() -> None:
    bridge, broker = _running()
    info = json.loads(broker.retained["evse/bridge/info"]) | {"client_id": "other"}
    _disturb(bridge, broker, "evse/bridge/info", json.dumps(info).encode())
    _disturb(bridge, broker, "evse/north/left/power", b"5")
    assert bridge.publication.repair() == Disturbance(rival="other")
    assert broker.deliver() == []


def test_own_messages_that_come_back_are_an_echo() -> None:
    bridge, broker = _running()
    for topic, payload in bridge.everything().items():
        _disturb(bridge, broker, topic, payload)
    _disturb(bridge, broker, "evse/north/left/power", b"5")
    assert bridge.publication.repair() == Disturbance(is_echo=True)


def test_many_overwritten_stations_are_compared_in_several_calls() -> None:
    stations = [Station(f"s{number}", 30) for number in range(50)]
    bridge, broker = Bridge(plan(*stations)), ModelBroker()
    broker.connect(bridge.publication)
    for station in stations:
        bridge.poll(station.uuid, _BOTH, at(0))
    broker.deliver()
    for station in stations:
        _disturb(bridge, broker, f"evse/{station.uuid}/p1/power", b"5")
    repaired: list[str] = []
    while bridge.publication.watch.is_pending:
        keys = bridge.publication.repair().keys
        assert 1 <= len(keys) <= 20
        repaired += keys
    assert sorted(repaired) == sorted(station.uuid for station in stations)
    broker.deliver()
    assert broker.retained == bridge.everything()


def test_many_cleared_stations_are_republished_in_order() -> None:
    stations = [Station(f"s{number}", 30) for number in range(300)]
    bridge, broker = Bridge(plan(*stations, form="entity")), ModelBroker()
    broker.connect(bridge.publication)
    broker.deliver()
    for topic in [topic for topic in broker.retained if topic.startswith("ha/")]:
        _disturb(bridge, broker, topic, b"")
    assert bridge.publication.repair().is_large
    first, *_, last = broker.deliver()
    assert (first.topic, last.topic) == ("evse/bridge/info", "evse/bridge/availability")
    assert broker.retained == bridge.everything()


def test_example_names_a_cleared_topic_if_there_is_one() -> None:
    bridge, broker = _running()
    _disturb(bridge, broker, _POWER, b"anything")
    _disturb(bridge, broker, "evse/north/left/power", b"9")
    _disturb(bridge, broker, "ha/sensor/evse_e1_p1/status/config", b"")
    found = bridge.publication.repair()
    assert (found.topics, found.example, found.is_cleared) == (3, "ha/sensor/evse_e1_p1/status/config", True)


def test_topics_beyond_the_limit_count_until_all_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_MOST_TOPICS", 2)
    monkeypatch.setattr(watch, "_MOST_STATIONS", 1)
    bridge, broker = _running()
    equal = "evse/north/left/power"
    _disturb(bridge, broker, equal, broker.retained[equal])
    _disturb(bridge, broker, "evse/e_2/p1/power", b"9")
    _disturb(bridge, broker, _POWER, b"not noted")
    assert not bridge.publication.repair().keys
    assert bridge.publication.repair().is_everything
    broker.deliver()
    assert broker.retained == bridge.everything()


def test_disturbance_before_publishing_is_ignored() -> None:
    bridge = Bridge(plan(_NORTH))
    bridge.publication.connected()
    bridge.publication.received("evse/bridge/availability", b"offline", retained=False)
    assert not bridge.publication.watch.is_pending
