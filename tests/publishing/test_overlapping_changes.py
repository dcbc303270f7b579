"""Changes of the configuration that follow each other before the broker received the messages of the first one."""

import pytest

from evse_mqtt_bridge.domain.model import PlugReading, Reading, Station
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.plan import Plan
from tests.harness.samples import at
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_E1, _E2, _E3 = (Station(uuid, 30, "", "", {}) for uuid in ("e1", "e2", "e3"))
_E1_AS_X, _E2_AS_X, _E3_AS_X = (Station(uuid, 30, "", "x", {}) for uuid in ("e1", "e2", "e3"))
_BOTH_PLUGS = Reading((PlugReading("p1", status="charging"), PlugReading("p2", status="charging")), frozenset())


def _with_discovery(*stations: Station, base: str = "evse") -> Plan:
    return plan(*stations, form="entity", prefix="ha", base=base)


def _without(*stations: Station) -> Plan:
    return plan(*stations, form=None)


def _start(first: Plan) -> tuple[Bridge, ModelBroker]:
    bridge, broker = Bridge(first), ModelBroker()
    broker.connect(bridge.publication)
    return bridge, broker


def _remaining(bridge: Bridge, broker: ModelBroker) -> set[str]:
    """Deliver everything; return the retained topics that a full republish does not publish."""
    broker.deliver()
    return set(broker.own) - set(bridge.everything())


def test_entry_of_a_pending_stage_is_cleared() -> None:
    bridge, broker = _start(_without(_E3_AS_X))
    bridge.poll("e3", _BOTH_PLUGS, at(1.0))
    bridge.publication.reconfigured(_with_discovery(_E1, _E2))
    bridge.publication.reconfigured(_without(_E1, _E2, _E3_AS_X))
    bridge.publication.reconfigured(_without(_E1, _E2_AS_X, _E3))
    assert not _remaining(bridge, broker)


def test_entry_of_a_queued_migration_is_cleared() -> None:
    bridge, broker = _start(_without(_E1, _E3_AS_X))
    broker.deliver()
    broker.disconnect()
    bridge = Bridge(_with_discovery(_E1, _E2, _E3_AS_X, base="site/evse"))
    broker.connect(bridge.publication)
    bridge.publication.reconfigured(_without(_E1, _E2, _E3_AS_X))
    bridge.poll("e1", _BOTH_PLUGS, at(1.0))
    bridge.publication.reconfigured(_with_discovery(_E1, _E2))
    bridge.publication.reconfigured(_without(_E1, _E3_AS_X))
    bridge.publication.reconfigured(_without(_E1_AS_X, _E2, _E3))
    assert not _remaining(bridge, broker)


def test_old_base_is_found_after_the_broker_lost_its_memory() -> None:
    bridge, broker = _start(_with_discovery(_E1, _E2, base="site/evse"))
    broker.deliver()
    broker.disconnect()
    broker.lose_memory()
    broker.connect(bridge.publication)
    bridge.publication.reconfigured(_without(_E1))
    broker.deliver(2)
    broker.disconnect()
    assert broker.own, "the connection must be lost after something was published"
    broker.connect(bridge.publication)
    assert not _remaining(bridge, broker)


def test_new_plug_is_recorded_first_after_a_removal() -> None:
    bridge, broker = _start(_without(_E2))
    bridge.poll("e2", _BOTH_PLUGS, at(1.0))
    broker.deliver()
    bridge.poll("e2", Reading(_BOTH_PLUGS.plugs[:1], frozenset()), at(2.0))
    bridge.poll("e2", Reading(_BOTH_PLUGS.plugs[:1], frozenset()), at(100_000.0))  # forgets p2 and clears its topics
    broker.deliver()
    bridge.poll("e2", _BOTH_PLUGS, at(100_001.0))
    assert b'"p2"' in broker.deliver(1)[0].payload


@pytest.mark.parametrize("interrupted", [0, 1, 2])
def test_alias_is_cleared_though_others_cleared_the_entry(interrupted: int) -> None:
    bridge, broker = _start(_with_discovery(_E1, _E2_AS_X))
    bridge.poll("e2", _BOTH_PLUGS, at(1.0))
    broker.deliver()
    broker.disconnect()
    for topic in [topic for topic in broker.own if topic.endswith("/info")]:
        del broker.retained[topic]
    bridge.publication.reconfigured(_with_discovery(_E1, _E2))
    for _ in range(interrupted):
        broker.connect(bridge.publication, is_restored=False)
        broker.disconnect()
    broker.connect(bridge.publication)
    assert not _remaining(bridge, broker)


def test_what_another_broker_has_is_not_cleared_here() -> None:
    bridge, broker = _start(_without(_E1, _E2_AS_X))
    bridge.poll("e2", _BOTH_PLUGS, at(1.0))
    broker.deliver()
    broker.disconnect()
    bridge.publication.reconfigured(_without(_E1, _E2))
    bridge.publication.broker_changed()
    broker = ModelBroker()
    broker.connect(bridge.publication)
    assert all(message.payload for message in broker.deliver())


_RIVAL = {
    "rival/bridge/info": b'{"name":"evse-mqtt-bridge","client_id":"rival","base_topic":"rival","discovery":null}',
    "rival/bridge/availability": b"online",
    "rival/x/info": (
        b'{"uuid":"e3","published_by":"rival","plugs":{"p1":{"topic":"p1","label":null}},'
        b'"discovery":{"prefix":"ha","form":"entity"}}'
    ),
}


def test_station_added_and_removed_at_once_stays_anothers() -> None:
    claimed = DiscoveryLocation("ha", "entity").station_topics("e3", "x", {"p1": "p1"})
    broker = ModelBroker(_RIVAL, frozenset(claimed))
    broker.retained |= dict.fromkeys(claimed, b"{}")
    bridge = Bridge(_with_discovery(_E1))
    broker.connect(bridge.publication)
    broker.deliver()
    bridge.publication.reconfigured(_with_discovery(_E1, _E3))
    bridge.poll("e3", _BOTH_PLUGS, at(1.0))
    bridge.publication.reconfigured(_with_discovery(_E1))
    assert _remaining(bridge, broker) == set(claimed)


def test_will_below_a_short_lived_base_is_cleared_first() -> None:
    """Only the `info` below the second base topic names the first one, and nobody trusts it below the third one."""
    bridge, broker = Bridge(_without(_E1)), ModelBroker()
    broker.connect(bridge.publication, is_restored=False)
    broker.lose_connection()
    bridge.publication.reconfigured(plan(_E1, base="site/evse"))
    broker.connect(bridge.publication)
    first, second = broker.deliver(2)
    assert (first.topic, first.payload, second.topic) == ("evse/bridge/availability", b"", "site/evse/bridge/info")
    broker.lose_connection()
    bridge = Bridge(plan(_E1, base="b"))
    broker.connect(bridge.publication)
    assert not _remaining(bridge, broker)


def test_plug_that_returns_before_its_clearing_leaves_no_entry() -> None:
    """The removal of another plug meanwhile plans the clearing again, without the returned one."""
    bridge, broker = _start(_without(_E1, _E2))
    for uuid in ("e1", "e2"):
        bridge.poll(uuid, _BOTH_PLUGS, at(0.0))
    broker.deliver()
    one_plug = Reading(_BOTH_PLUGS.plugs[:1], frozenset())
    for now in (1.0, 100_000.0):
        bridge.poll("e1", one_plug, at(now))
        bridge.poll("e2", one_plug, at(1.0))
    bridge.poll("e1", _BOTH_PLUGS, at(100_001.0))
    while b"previous" not in broker.retained["evse/e1/info"]:
        broker.deliver(1)
    bridge.poll("e2", one_plug, at(200_000.0))
    broker.deliver()
    assert broker.retained == bridge.everything()
