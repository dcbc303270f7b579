"""A shard that another member continues: what it publishes, and what the broker has already."""

import json
from dataclasses import replace

import pytest

from evse_mqtt_bridge.config.plan import Plans
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.shards import Claim, Share, shard_of
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.fleet.manifest_copy import ManifestCopy
from evse_mqtt_bridge.publishing.known_manifest import KnownManifest
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Publication
from tests.harness.samples import NOW, at, plug_reading, reading
from tests.publishing.model_broker import ModelBroker

_UUIDS = [f"e{number}" for number in range(6)]


def _plan(number: int, *, form: str = "entity", **names: str) -> Plan:
    stations = [{"edge_device_id": "1", "uuid": uuid, "token": "t", "name": names.get(uuid, "")} for uuid in _UUIDS]
    config = Config.model_validate(
        {
            "mqtt": {"host": "broker.test"},
            "homeassistant": {"discovery": form},
            "stations": stations,
            "fleet": {"engine": "etcd", "endpoints": ["http://etcd.test:2379"], "shards": 1},
        }
    )
    return Plans(config).shard(Share(0, 1), Claim(0, f"m{number}", number))


class _Holder:
    """A member that runs the shard."""

    def __init__(self, plan: Plan, broker: ModelBroker, *, is_known: bool = True, is_polled: bool = False) -> None:
        self.stations = Stations(plan.stations, plan.rules, started=0.0)
        self.publication = Publication(plan, self.stations, NOW)
        self.broker = broker
        if is_polled:
            self.poll()
        filters = frozenset({plan.topics.info, plan.topics.manifest_filter})
        known = KnownManifest(filters, dict(broker.retained)) if is_known else KnownManifest()
        broker.connect(self.publication, may_search_first=False, known=known)
        self.delivered = broker.deliver()

    def poll(self, *, plug: str = "p1") -> list[Message]:
        for uuid in _UUIDS:
            event = self.stations.apply_outcome(uuid, reading(plug_reading(plug)), at(1), 0.1)
            self.publication.station_changed(event.station, event.old, event.new)
        return self.broker.deliver()

    def complete(self) -> list[Message]:
        """Note that the broker acknowledged everything."""
        assert self.publication.drained()
        return self.broker.deliver()

    def vanish(self) -> None:
        self.broker.disconnect()


def _discovery(messages: list[Message]) -> set[str]:
    return {message.topic for message in messages if message.topic.startswith("homeassistant/")}


def _of_stations(messages: list[Message]) -> list[str]:
    return [
        message.topic
        for message in messages
        if "/bridge/" not in message.topic and "evse-mqtt-bridge" not in message.topic
    ]


@pytest.fixture
def broker() -> ModelBroker:
    broker = ModelBroker()
    first = _Holder(_plan(1), broker)
    assert _discovery(first.delivered)
    first.poll()
    first.complete()
    first.vanish()
    return broker


def test_successor_leaves_out_what_the_broker_has(broker: ModelBroker) -> None:
    before = dict(broker.retained)
    second = _Holder(_plan(2), broker)
    assert _of_stations(second.delivered) == []
    messages = second.poll()
    assert not [topic for topic in _of_stations(messages) if topic.startswith("homeassistant/")]
    second.complete()
    assert before.keys() == broker.retained.keys()
    info = json.loads(broker.retained["evse/bridge/info"])
    assert (info["holder"], info["claim"]) == ("m2", 2)


def test_polls_before_the_connection_are_published(broker: ModelBroker) -> None:
    before = dict(broker.retained)
    for topic in [topic for topic in broker.retained if topic.endswith("/power")]:
        del broker.retained[topic]
    second = _Holder(_plan(2), broker, is_polled=True)
    assert len([topic for topic in _of_stations(second.delivered) if topic.endswith("/power")]) == len(_UUIDS)
    assert not [topic for topic in _of_stations(second.delivered) if topic.startswith("homeassistant/")]
    assert broker.retained.keys() == before.keys()


def test_successor_publishes_discovery_of_a_changed_station(broker: ModelBroker) -> None:
    second = _Holder(_plan(2, e3="North"), broker)
    topics = _of_stations(second.delivered)
    assert "evse/e3/info" in topics
    assert not [topic for topic in topics if any(uuid in topic for uuid in _UUIDS if uuid != "e3")]


def test_unfinished_discovery_is_published_again(broker: ModelBroker) -> None:
    """The second holder vanishes before the broker has acknowledged its discovery in another form."""
    second = _Holder(_plan(2, form="device"), broker)
    second.vanish()
    third = _Holder(_plan(3, form="device"), broker)
    assert len(_discovery(third.delivered)) >= len(_UUIDS)


def test_other_version_publishes_all_discovery(broker: ModelBroker) -> None:
    second = _Holder(replace(_plan(2), discovery_digest="another version"), broker)
    assert len(_discovery(second.delivered)) > len(_UUIDS)


def test_unknown_manifest_publishes_all_discovery(broker: ModelBroker) -> None:
    assert len(_discovery(_Holder(_plan(2), broker, is_known=False).delivered)) > len(_UUIDS)


def test_own_reconnect_and_birth_publish_everything(broker: ModelBroker) -> None:
    second = _Holder(_plan(2), broker)
    second.poll()
    second.complete()
    second.publication.republish()
    everything = _discovery(broker.deliver())
    assert len(everything) > len(_UUIDS)
    known = KnownManifest(frozenset({"evse/bridge/info", "evse/+/info"}), dict(broker.retained))
    broker.disconnect()
    broker.connect(second.publication, may_search_first=False, known=known)
    assert _discovery(broker.deliver()) == everything


def test_new_plug_withdraws_the_record_before_its_discovery(broker: ModelBroker) -> None:
    """A member that is lost meanwhile must not leave a record of discovery that it did not publish."""
    second = _Holder(_plan(2), broker)
    second.poll()
    second.complete()
    assert "discovery_digest" in broker.retained["evse/bridge/info"].decode()
    messages = second.poll(plug="p2")
    assert messages[0].topic == "evse/bridge/info"
    assert b"discovery_digest" not in messages[0].payload
    assert second.complete()[-1].topic == "evse/bridge/info"


def test_copy_of_the_manifest_is_divided_by_shard() -> None:
    copy = ManifestCopy(4)
    entries = {f"evse/a{number}/info": f'{{"uuid":"{uuid}"}}'.encode() for number, uuid in enumerate(_UUIDS)}
    for topic, payload in entries.items():
        copy.received(topic, payload)
    for shard in range(4):
        expected = {
            topic for (topic, _), uuid in zip(entries.items(), _UUIDS, strict=True) if shard_of(uuid, 4) == shard
        }
        assert copy.of_shard(shard, ()).keys() == expected
    copy.received("evse/a0/info", b'{"uuid":"e1","previous":[{"uuid":"e0"}]}')
    for uuid in ("e0", "e1"):
        assert "evse/a0/info" in copy.of_shard(shard_of(uuid, 4), ())
    copy.received("evse/a0/info", b"")
    assert not any("evse/a0/info" in copy.of_shard(shard, ["evse/a0/info"]) for shard in range(4))
    copy.clear()
    assert copy.of_shard(0, entries) == {}


def test_copy_of_the_manifest_has_a_limit() -> None:
    copy = ManifestCopy(4, size_limit=100)
    for _ in range(10):
        copy.received("evse/a/info", b"a" * 60)
    assert copy.is_complete
    copy.received("evse/b/info", b"b" * 60)
    assert not copy.is_complete
    assert copy.of_shard(0, ["evse/a/info", "evse/b/info"]) == {"evse/a/info": b"a" * 60}
    copy.clear()
    assert copy.is_complete
