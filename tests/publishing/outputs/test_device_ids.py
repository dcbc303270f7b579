"""Ids of devices: no two things share one, hexadecimal uuids keep theirs, and the old ids of others are cleared."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.identifiers import is_id
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.device_ids import bridge_id, is_escaped, plug_id, station_id
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from tests.harness.samples import at, plug_reading, reading
from tests.publishing.bridge import Bridge, plan
from tests.publishing.model_broker import ModelBroker

_uuids = st.text("ab_-25fd", min_size=1, max_size=6) | st.sampled_from(["bridge", "_bridge", "a_b"])
_things = st.one_of(
    st.tuples(st.just("bridge"), _uuids),
    st.tuples(st.just("station"), _uuids),
    st.tuples(st.just("plug"), _uuids, _uuids),
)
_HEXADECIMAL = "25104c56d7f848af830af4300193efb3"


def _id(thing: tuple[str, ...]) -> str:
    match thing:
        case ("bridge", client_id):
            return bridge_id(client_id)
        case ("station", uuid):
            return station_id(uuid)
    return plug_id(*thing[1:])


@given(_things, _things)
def test_two_things_never_share_an_id(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (_id(one) == _id(other)) == (one == other)
    assert is_id(_id(one)[:64])


def test_hexadecimal_uuids_keep_the_ids_of_version_0_1() -> None:
    for uuid in (_HEXADECIMAL, "25104c56-d7f8-48af-830a-f4300193efb3", "{plug_uuid}"):
        assert not is_escaped(uuid)
        assert station_id(uuid) == f"evse_{uuid}" == station_id(uuid, is_legacy=True)
        assert plug_id(uuid, uuid) == f"evse_{uuid}_{uuid}" == plug_id(uuid, uuid, is_legacy=True)
    assert bridge_id("evse-mqtt-bridge") == "evse_bridge_evse-mqtt-bridge"


def test_other_uuids_are_escaped() -> None:
    assert plug_id("a", "b_c") == "evse_a__b-5fc"
    assert plug_id("a_b", "c") == "evse__a-5fb_c"
    assert station_id("bridge") == "evse__bridge"
    assert plug_id("a_b", "c", is_legacy=True) == "evse_a_b_c"


@pytest.mark.parametrize("form", ["entity", "device"])
def test_removed_plug_keeps_the_entities_of_another(form: Form) -> None:
    """Version 0.1 cleared the entities of both."""
    first, second = Station("a", 30), Station("a_b", 30)
    bridge, broker = Bridge(plan(first, second, form=form)), ModelBroker()
    broker.connect(bridge.publication)
    bridge.poll("a", reading(plug_reading("b_c")), at(0))
    bridge.poll("a_b", reading(plug_reading("c")), at(0))
    broker.deliver()
    bridge.publication.reconfigured(plan(second, form=form))
    broker.deliver()
    assert broker.retained == bridge.everything()


@pytest.mark.parametrize("form", ["entity", "device"])
@pytest.mark.parametrize(("uuid", "plug"), [("a", "b_c"), ("a_b", "c"), ("bridge", "me"), (_HEXADECIMAL, "c")])
def test_topics_of_version_0_1_are_cleared(uuid: str, plug: str, form: Form) -> None:
    bridge, broker = Bridge(plan(Station(uuid, 30, alias="x"), form=form)), ModelBroker()
    broker.connect(bridge.publication)
    bridge.poll(uuid, reading(plug_reading(plug)), at(0))
    broker.deliver()
    broker.disconnect()
    info = json.loads(broker.retained["evse/x/info"])
    assert info["discovery"].pop("ids", None) == (None if uuid == _HEXADECIMAL else "escaped")
    broker.retained["evse/x/info"] = json.dumps(info).encode()
    old = {
        *discovery.station_topics("ha", form, uuid, is_legacy=True),
        *discovery.plug_topics("ha", form, uuid, plug, is_legacy=True),
    }
    broker.retained.update(dict.fromkeys(old, b"{}"))
    restarted = Bridge(bridge.plan)
    broker.connect(restarted.publication)
    messages = broker.deliver()
    present = {
        *discovery.station_topics("ha", form, uuid),
        *discovery.plug_topics("ha", form, uuid, plug),
    }
    assert {message.topic for message in messages if not message.payload} == old - present
    assert not broker.retained.keys() & (old - present - restarted.everything().keys())
    assert restarted.everything().items() <= broker.retained.items()


def test_location_is_read_back_as_written() -> None:
    for is_legacy in (False, True):
        location = DiscoveryLocation("ha", "entity", is_legacy)
        content = {"discovery": dict(location.manifest_value(["a_b"]))}
        assert DiscoveryLocation.from_manifest(content, ["a_b"]) == location
    assert DiscoveryLocation("ha", "entity").manifest_value([_HEXADECIMAL]) == {"prefix": "ha", "form": "entity"}
    content = {"discovery": {"prefix": "ha", "form": "entity"}}
    assert DiscoveryLocation.from_manifest(content, [_HEXADECIMAL]) == DiscoveryLocation("ha", "entity")
