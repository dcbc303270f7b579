"""The effect of forged manifest entries, and the proof that a base topic belongs to this bridge."""

import json
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import PlugState, Station, StationState
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.domain.shards import Share
from evse_mqtt_bridge.publishing.manifest import StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import station_info
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.publication import Phase
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.publishing.unproven_entries import UnprovenEntries
from tests.harness.samples import at, plug_reading, reading
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_NORTH, _SOUTH = Station("e1", 30, alias="north"), Station("e2", 30)
_BOTH = reading(plug_reading("p1", power=1.0), plug_reading("p2"))
_VICTIM = {
    "ha/sensor/evse_e9_p9/power/config": b'{"origin":{"name":"evse-mqtt-bridge"},"a":"victim/bridge/availability"}',
    "ha/sensor/evse_e1_p9/power/config": b'{"origin":{"name":"evse-mqtt-bridge"},"a":"victim/bridge/availability"}',
    "victim/bridge/availability": b"offline",
    "victim/e9/p9/power": b"1",
    "victim/e9/info": b'{"published_by":"me","uuid":"e9","plugs":{"p9":{"topic":"p9","label":null}},"discovery":null}',
}


def _forged_bridge(base: str, client_id: str = "me", **more: object) -> dict[str, bytes]:
    content = {"name": "evse-mqtt-bridge", "client_id": client_id, "base_topic": base, "discovery": None, **more}
    return {f"{base}/bridge/info": json.dumps(content).encode()}


def _forged_station(base: str, uuid: str, plugs: Iterable[str], prefix: str = "ha", name: str = "") -> dict[str, bytes]:
    topics = Topics(base)
    state = StationState(plugs={plug: PlugState(plug) for plug in plugs})
    locations = (PlainLocation(topics), DiscoveryLocation(prefix, "entity"))
    info = station_info(StationEntry.of(topics, Station(uuid, 30, alias=name), state, locations), "me")
    return {info.topic: info.payload}


def _restart(forged: Mapping[str, bytes], bridge: Bridge, victim: Mapping[str, bytes] = _VICTIM) -> list[Message]:
    """Connect a bridge to a broker with forged entries; return everything that it publishes."""
    broker = ModelBroker(victim)
    broker.retained.update(forged)
    broker.connect(bridge.publication)
    published = broker.deliver()
    assert {topic: broker.retained.get(topic) for topic in bridge.everything()} == bridge.everything()
    return published


def _cleared(published: Iterable[Message]) -> set[str]:
    return {message.topic for message in published if not message.payload}


def test_forged_entries_clear_topics_below_their_base_alone() -> None:
    forged = _forged_bridge("myapp/x", discovery={"prefix": "ha", "form": "entity"})
    forged |= _forged_station("myapp/x", "e9", ["p9"]) | _forged_station("myapp/x", "e1", ["p9"])
    cleared = _cleared(_restart(forged, Bridge(plan(_NORTH, form="entity"))))
    assert forged.keys() < cleared
    assert all(topic.startswith("myapp/x/") for topic in cleared)


def test_forged_previous_entries_lead_nowhere() -> None:
    victim = {"client_id": "me", "base_topic": "victim", "discovery": None}
    bridge = Bridge(plan(_NORTH, form="entity"))
    cleared = _cleared(_restart(_forged_bridge("myapp", previous=[victim] * 16), bridge))
    assert cleared == {"myapp/bridge/availability", "myapp/bridge/info"}


def test_forged_plugs_are_not_restored() -> None:
    """They would take the place of the plugs of a station that has not answered yet."""
    forged = _forged_bridge("myapp") | _forged_station("myapp", "e1", (f"ghost{n}" for n in range(MAX_PLUGS)))
    bridge = Bridge(plan(_NORTH, form="entity"))
    _restart(forged, bridge)
    assert not bridge.state("e1").plugs
    bridge.poll("e1", _BOTH, at(0))
    assert bridge.state("e1").plugs.keys() == {"p1", "p2"}


def test_forged_bases_are_limited_in_number() -> None:
    forged: dict[str, bytes] = {}
    for number in range(50):
        for base in (f"myapp/{number}", f"app{number}/a/b"):
            forged |= _forged_bridge(base) | _forged_station(base, "e9", ["p9"])
    cleared = _cleared(_restart(forged, Bridge(plan(_NORTH))))
    bases = {topic.removesuffix("/bridge/info") for topic in cleared if topic.endswith("/bridge/info")}
    levels = [base.split("/", 1)[0] for base in bases]
    assert len(set(levels)) == 4
    assert levels.count("myapp") == 4
    assert all(any(topic.startswith(f"{base}/") for base in bases) for topic in cleared)


@pytest.mark.parametrize("stations", [1, 100])
def test_forged_plugs_are_limited_in_number(stations: int) -> None:
    forged = _forged_bridge("myapp")
    for number in range(100):
        forged |= _forged_station("myapp", f"e{number}", (f"p{n}" for n in range(MAX_PLUGS)), name=f"s{number}")
    published = _restart(forged, Bridge(plan(*(Station(f"x{n}", 30) for n in range(stations)))))
    cleared = [message.topic for message in published if not message.payload]
    assert 0 < sum(topic.endswith("/power") for topic in cleared) <= max(512, 8 * stations)
    assert len(cleared) == len(set(cleared))
    assert "myapp/bridge/info" not in cleared, "the next connection goes on from there"


@pytest.mark.parametrize(("availability", "is_cleared"), [(b"online", False), (b"offline", True), (None, True)])
def test_topics_of_an_online_bridge_are_not_cleared(availability: bytes | None, *, is_cleared: bool) -> None:
    """Another bridge with the same client id may publish through a bridge between two brokers."""
    retained = _forged_bridge("elsewhere") | _forged_station("elsewhere", "e9", ["p9"])
    if availability:
        retained["elsewhere/bridge/availability"] = availability
    assert bool(_cleared(_restart(retained, Bridge(plan(_NORTH))))) is is_cleared


@pytest.mark.parametrize("availability", [b"online", b"offline", None])
def test_former_client_id_counts_unless_its_bridge_is_online(availability: bytes | None) -> None:
    previous = [{"client_id": "old", "base_topic": "evse", "discovery": None}]
    retained = _forged_bridge("evse", previous=previous) | _forged_bridge("elsewhere", client_id="old")
    if availability:
        retained["elsewhere/bridge/availability"] = availability
    cleared = _cleared(_restart(retained, Bridge(plan(_NORTH))))
    assert ("elsewhere/bridge/info" in cleared) is (availability != b"online")


def _left_behind(
    *stations: Station, form: Form | None = "entity", prefix: str = "ha", base: str = "old"
) -> dict[str, bytes]:
    """Return what a bridge with these stations left on the broker when it stopped."""
    bridge, broker = Bridge(plan(*stations, form=form, prefix=prefix, base=base)), ModelBroker()
    broker.connect(bridge.publication)
    for station in stations:
        bridge.poll(station.uuid, _BOTH, at(0))
    broker.deliver()
    broker.stop()
    return broker.retained


def test_base_named_by_discovery_is_proven_and_restored() -> None:
    """Otherwise Home Assistant would lose the entities of plugs until their station answers."""
    bridge, broker = Bridge(plan(_NORTH, form="device")), ModelBroker()
    broker.retained.update(_left_behind(_NORTH, _SOUTH))
    broker.connect(bridge.publication)
    assert bridge.state("e1").plugs.keys() == {"p1", "p2"}
    broker.deliver()
    assert not broker.conflicts
    assert broker.retained == bridge.everything()


@pytest.mark.parametrize("may_search_first", [True, False])
def test_proven_base_is_read_beyond_the_limit(*, may_search_first: bool) -> None:
    """The stations that were left out before the proof are read again: their topics have to be cleared, too."""
    left_out = [Station(f"x{number}", 30) for number in range(200)]
    bridge, broker = Bridge(plan(_NORTH, form="device")), ModelBroker()
    broker.retained.update(_left_behind(*left_out, _NORTH, form="device"))
    broker.connect(bridge.publication, may_search_first=may_search_first)
    broker.deliver()
    assert broker.retained == bridge.everything()


def test_plan_that_proves_a_base_reads_it_beyond_the_limit() -> None:
    bridge, broker = Bridge(plan(_NORTH)), ModelBroker()
    broker.retained.update(_left_behind(*(Station(f"x{number}", 30) for number in range(200)), _NORTH, form="device"))
    broker.connect(bridge.publication)
    bridge.publication.reconfigured(plan(_NORTH, form="device"))
    broker.deliver()
    broker.connect(bridge.publication)
    broker.deliver()
    assert broker.retained == bridge.everything()


@pytest.mark.parametrize(("form", "prefix"), [(None, "ha"), ("entity", "other"), ("device", "other")])
def test_left_base_without_proof_is_cleared(form: Form | None, prefix: str) -> None:
    bridge, broker = Bridge(plan(_NORTH, form=form, prefix=prefix)), ModelBroker(_VICTIM)
    broker.retained.update(_left_behind(_NORTH, _SOUTH))
    broker.connect(bridge.publication)
    assert not bridge.state("e1").plugs
    broker.deliver()
    assert broker.own == bridge.everything()


def test_plan_with_the_old_prefix_proves_the_base_later() -> None:
    bridge, broker = Bridge(plan(_NORTH)), ModelBroker()
    broker.retained.update(_left_behind(_NORTH))
    broker.connect(bridge.publication)
    bridge.publication.reconfigured(plan(_NORTH, form="device"))
    broker.deliver()
    assert not broker.conflicts
    assert broker.retained == bridge.everything()


def _with_energy(retained: dict[str, bytes], base: str, energy: float) -> None:
    topic = f"{base}/north/p1/state"
    content = {**json.loads(retained[topic]), "energy": energy, "energy_time": "2026-01-01T00:00:00Z"}
    retained[topic] = json.dumps(content).encode()


@pytest.mark.parametrize(("bases", "charged"), [(["old"], 500_000.0), (["old", "evse"], 1000.0), (["evse"], 1000.0)])
def test_counters_of_proven_entries_come_first(bases: list[str], charged: float) -> None:
    bridge, broker = Bridge(plan(_NORTH)), ModelBroker()
    for base in bases:
        broker.retained.update(_left_behind(_NORTH, form=None, base=base))
        _with_energy(broker.retained, base, 500.0 if base == "old" else 1.0)
    broker.connect(bridge.publication)
    bridge.poll("e1", _BOTH, at(0))
    meter = bridge.state("e1").plugs["p1"].meter
    assert meter is not None
    assert meter.charged == charged


def test_discovery_of_a_left_base_is_read_within_limits() -> None:
    forged = _forged_bridge("myapp")
    for number in range(20):
        forged |= _forged_station("myapp", "e9", ["p9"], prefix=f"x{number}", name=f"s{number}")
    publication, broker = Bridge(plan(_NORTH)).publication, ModelBroker()
    broker.retained.update(forged)
    filters = set[str]()
    filters.update(publication.connected().retained)
    while publication.phase is Phase.RESTORING:
        for topic, payload in broker.retained.items():
            publication.received(topic, payload, retained=True)
        if subscriptions := publication.restored():
            filters.update(subscriptions.retained)
    assert len({each for each in filters if each.endswith("/config")}) == 4


def test_discovery_topic_that_is_received_again_counts_once() -> None:
    """Overlapping subscriptions may deliver a message several times."""
    entries, base = UnprovenEntries(1, lambda _: True), Topics("myapp/x")
    forged = _forged_bridge("myapp/x") | _forged_station("myapp/x", "e9", ["p9"])
    for topic, payload in forged.items():
        entries.received(base, topic, payload, {"me"})
    discovery = [f"ha/sensor/evse_e9_p9/{name}/config" for name in ("power", "status")]
    payload = b'{"origin":{"name":"evse-mqtt-bridge"},"a":"myapp/x/bridge/availability"}'
    for topic in [discovery[0]] * (32 * 512) + discovery:
        entries.received(Topics("ha/sensor/evse_e9_p9"), topic, payload, {"me"})
    assert set(discovery) <= set(entries.next_entries(may_clear_bridges=True)[1])


def test_shards_keep_a_forged_base_of_other_shards() -> None:
    """Shard 0 leaves the entry of the base topic, from which the other shards find theirs."""
    forged = _forged_bridge("myapp")
    for number in range(8):
        forged |= _forged_station("myapp", f"e{number}", ["p9"], name=f"s{number}")
    cleared: list[set[str]] = []
    for number in range(2):
        share = Share(number, 2)
        configured = plan(*(each for each in (_NORTH, _SOUTH) if share.has(each.uuid)))
        topics = configured.topics.of_shard(number)
        sharded = Bridge(type(configured)(**{**vars(configured), "topics": topics, "share": share}))
        cleared.append(_cleared(_restart(forged, sharded)))
    assert cleared[0]
    assert cleared[1]
    assert not cleared[0] & cleared[1]
    assert "myapp/bridge/info" not in cleared[0] | cleared[1]


_json = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3)
_uuids = st.sampled_from(["e1", "e2", "e9"])
_discoveries = st.none() | st.builds(
    lambda prefix, form: {"prefix": prefix, "form": form},
    st.sampled_from(["ha", "evse", "myapp/ha", "victim"]),
    st.sampled_from(["entity", "device"]),
)
_bases = st.sampled_from(["myapp", "myapp/a", "myapp/a/b", "myapp/north"])
_bridges = st.builds(
    lambda base, discovery, previous: _forged_bridge(base, discovery=discovery, previous=previous),
    _bases,
    _discoveries,
    _json
    | st.lists(st.builds(lambda base: {"client_id": "me", "base_topic": base}, st.sampled_from(["victim", "evse"]))),
)
_stations = st.builds(_forged_station, _bases, _uuids, st.lists(st.sampled_from(["p1", "p2", "p9"])))


@settings(max_examples=40)
@given(st.lists(_bridges | _stations, min_size=1, max_size=8), st.sampled_from(["entity", "device", None]))
def test_nothing_outside_is_changed_by_any_forged_entries(parts: list[dict[str, bytes]], form: Form | None) -> None:
    """A client that may only write below `myapp/` changes nothing elsewhere, however often the bridge restarts."""
    broker = ModelBroker(_VICTIM)
    bridge = Bridge(plan(_NORTH, _SOUTH, form=form))
    broker.connect(bridge.publication)
    bridge.poll("e1", _BOTH, at(0))
    broker.deliver()
    before = {topic: payload for topic, payload in broker.retained.items() if not topic.endswith("/info")}
    for _ in range(2):
        broker.stop()
        for part in parts:
            broker.retained.update(part)
        bridge = Bridge(plan(_NORTH, _SOUTH, form=form))
        broker.connect(bridge.publication)
        assert bridge.state("e1").plugs.keys() == {"p1", "p2"}
        bridge.poll("e1", _BOTH, at(0))
        cleared = _cleared(broker.deliver())
        assert all(topic.startswith("myapp/") for topic in cleared)
        assert {topic: broker.retained.get(topic) for topic in before} == before
        assert b"myapp" not in broker.retained["evse/bridge/info"]


@pytest.mark.parametrize("delivered", range(8))
def test_reload_during_the_clearing_leaves_nothing(delivered: int) -> None:
    bridge, broker = Bridge(plan(_NORTH, _SOUTH)), ModelBroker()
    broker.retained.update(_left_behind(_NORTH, form=None))
    broker.connect(bridge.publication)
    while "old/bridge/info" in broker.retained and "old/north/p1/power" in broker.retained:
        broker.deliver(1)
    broker.deliver(delivered * 5)
    bridge.publication.reconfigured(plan(_NORTH))
    broker.deliver()
    assert broker.retained == bridge.everything()
