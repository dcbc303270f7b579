"""Other bridges: what their manifests claim, whether they are live, and what a forged entry can cause."""

import pytest

from evse_mqtt_bridge.domain.model import PlugState, Station, StationState
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import BridgeFacts, bridge_info, station_info
from evse_mqtt_bridge.publishing.other_bridges import OtherBridges
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW
from tests.publishing.bridge import plan

_NORTH, _SOUTH = Station("e1", 30, alias="north"), Station("e2", 30)
_STATE = StationState(plugs={"p1": PlugState("p1")})
_LAPTOP = Topics("laptop")


def _manifest(
    *stations: Station, base: str = "laptop", client_id: str = "other", form: Form | None = "entity"
) -> dict[str, bytes]:
    """Return the retained entries of a bridge, and its availability."""
    configured = plan(*stations, form=form, base=base, client_id=client_id)
    topics, locations = configured.topics, configured.locations
    messages = [bridge_info(BridgeEntry(topics, client_id, locations), BridgeFacts("1", NOW, len(stations)))]
    messages += [station_info(StationEntry.of(topics, each, _STATE, locations), client_id) for each in stations]
    return {message.topic: message.payload for message in messages} | {topics.availability: b"online"}


def _others(retained: dict[str, bytes], *uuids: str) -> OtherBridges:
    others = OtherBridges(Topics("evse"), {"me"}, lambda uuid: uuid in uuids)
    for item in retained.items():
        others.received(*item)
    return others


def test_live_bridge_claims_the_discovery_of_its_stations() -> None:
    others = _others(_manifest(_NORTH, _SOUTH), "e1")
    claimed = others.claimed_topics("e1")
    assert {"ha/binary_sensor/evse_e1/availability/config", "ha/sensor/evse_e1_p1/power/config"} < claimed
    assert all(topic.startswith("ha/") for topic in claimed)
    assert others.claimed_topics("e2") == frozenset()
    assert others.all_claimed_topics() == claimed
    assert others.with_same_stations() == {_LAPTOP: 1}
    assert others.client_id(_LAPTOP) == "other"
    assert others.stations_of(_LAPTOP) == {"e1"}


def test_claims_of_an_entry_are_those_of_its_plugs_and_prefixes() -> None:
    others = _others(_manifest(_NORTH), "e1")
    locations = plan(_NORTH, form="entity", base="evse").locations
    state = StationState(plugs={"p1": PlugState("p1"), "p2": PlugState("p2")})
    entry = StationEntry.of(Topics("evse"), _NORTH, state, locations)
    assert others.claimed_of(entry) == others.claimed_topics("e1")
    without = StationEntry.of(Topics("evse"), _NORTH, StationState(), locations)
    assert others.claimed_of(without) == {topic for topic in others.claimed_topics("e1") if "_p1" not in topic}
    elsewhere = plan(_NORTH, form="entity", prefix="other", base="evse").locations
    assert not others.claimed_of(StationEntry.of(Topics("evse"), _NORTH, state, elsewhere))


@pytest.mark.parametrize("availability", [b"offline", b"online", b"anything", None])
def test_offline_bridge_claims_nothing(availability: bytes | None) -> None:
    others = _others(_manifest(_NORTH), "e1")
    if availability is not None:
        others.received("laptop/bridge/availability", availability)
    is_live = availability != b"offline"
    assert bool(others.claimed_topics("e1")) is is_live
    assert bool(others.with_same_stations()) is is_live


@pytest.mark.parametrize("changes", [{"client_id": "me"}, {"form": None}], ids=["own client id", "no discovery"])
def test_bridge_without_discovery_of_its_own_claims_nothing(changes: dict[str, str | None]) -> None:
    others = _others(_manifest(_NORTH, **changes), "e1")  # type: ignore[arg-type]  # each value has its own type
    assert others.all_claimed_topics() == frozenset()


def test_bridge_that_cleared_its_entry_claims_nothing() -> None:
    others = _others(_manifest(_NORTH), "e1")
    others.received("laptop/bridge/info", b"")
    assert others.all_claimed_topics() == frozenset()


def test_base_topic_that_the_bridge_left_claims_nothing() -> None:
    others = OtherBridges(Topics("evse"), {"me"}, lambda _: True)
    others.note_own([BridgeEntry(_LAPTOP, "other", ())])
    for item in {**_manifest(_NORTH), **_manifest(_NORTH, base="desktop")}.items():
        others.received(*item)
    assert others.with_same_stations() == {Topics("desktop"): 1}


def test_forged_bridges_are_limited_in_number() -> None:
    retained: dict[str, bytes] = {}
    for number in range(100):
        retained |= _manifest(_NORTH, base=f"forged{number}")
    assert len(_others(retained, "e1").with_same_stations()) == 16


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"uuid":"e1"}', b'{"uuid":"e1","published_by":"third","plugs":{}}']
)
def test_malformed_entry_is_ignored(payload: bytes) -> None:
    others = _others(_manifest(), "e1")
    others.received("laptop/e1/info", payload)
    assert others.all_claimed_topics() == frozenset()
