"""The catalogue has every topic of the bridge, and the contract only changes together with its version."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.domain.shards import shard_of
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.publishing import payload_schemas
from evse_mqtt_bridge.publishing.catalogue import Inventory, catalogue
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION, PLUG_FIELDS, READING_FIELDS, Field, Kind, TopicRow
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.outputs import plain
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.entities import PLUG_ENTITIES
from evse_mqtt_bridge.publishing.outputs.homeassistant.location import DiscoveryLocation
from evse_mqtt_bridge.publishing.outputs.plain import PlainLocation
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.contract import contract, contract_file, differences

if TYPE_CHECKING:
    from evse_mqtt_bridge.publishing.outputs.protocol import Location

_NORTH = Station("n" * 32, 30, "Garage north", "garage-north", {"p1": "left"})
_SOUTH = Station("s" * 32, 30)


def _inventory(form: Form | None = "entity", **changed: object) -> Inventory:
    topics = Topics("site/evse")
    locations: tuple[Location, ...] = (PlainLocation(topics),)
    if form:
        locations += (DiscoveryLocation("homeassistant", form),)
    plugs = {_NORTH.uuid: ("p1", "p2"), _SOUTH.uuid: ("p3",)}
    inventory = Inventory(topics, "bridge 1", 1, (_NORTH, _SOUTH), locations, plugs)
    return replace(inventory, **changed)  # type: ignore[arg-type]  # as the tests name them


def _rows(inventory: Inventory) -> dict[str, TopicRow]:
    rows = list(catalogue(inventory))
    by_topic = {row.topic: row for row in rows}
    assert len(by_topic) == len(rows), "each topic once"
    return by_topic


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_catalogue_has_the_topics_that_a_purge_clears(form: Form | None) -> None:
    inventory = _inventory(form)
    own = set(BridgeEntry(inventory.topics, inventory.client_id, inventory.locations).all_topics())
    for station in inventory.stations:
        plugs = {uuid: station.plug_topic_id(uuid) for uuid in inventory.plugs[station.uuid]}
        entry = StationEntry(
            inventory.topics, station.topic_id, station.uuid, plugs, dict.fromkeys(plugs), inventory.locations
        )
        own.update(entry.all_topics())
    assert {topic for topic, row in _rows(inventory).items() if row.retained} == own


def test_plugs_are_known_ones_else_aliases_else_placeholder() -> None:
    def prefixes(inventory: Inventory) -> list[str]:
        found = [row.topic.removeprefix("site/evse/") for row in catalogue(inventory) if row.channel == "plug.power"]
        return [topic.removesuffix("/power") for topic in found]

    south = _SOUTH.uuid
    assert prefixes(_inventory()) == ["garage-north/left", "garage-north/p2", f"{south}/p3"]
    assert prefixes(_inventory(plugs={})) == ["garage-north/left", f"{south}/{{plug}}"]
    assert prefixes(_inventory(plugs={south: ("p3",)})) == ["garage-north/left", f"{south}/p3"]
    unknown = [row.topic for row in catalogue(_inventory(plugs={})) if row.channel == "discovery.plug.power"]
    assert unknown[1] == f"homeassistant/sensor/evse_{south}_{{plug_uuid}}/power/config"


def test_rows_have_what_the_contract_tables_have() -> None:
    rows = _rows(_inventory(qos=2))
    power = rows["site/evse/garage-north/left/power"]
    assert (power.channel, power.kind, power.unit, power.device) == (
        "plug.power",
        Kind.NUMBER,
        "W",
        "Garage north left",
    )
    assert power.quality == "site/evse/garage-north/left/availability"
    assert power.time == "site/evse/garage-north/left/time"
    assert {row.qos for row in rows.values()} == {2}
    assert {row.channel for row in rows.values() if not row.retained} == {"plug.session_event"}
    assert rows["site/evse/bridge/info"].kind is Kind.JSON
    assert all(row.description for row in rows.values())


@pytest.mark.parametrize("form", ["entity", "device", None])
def test_quality_topics_lead_to_the_bridges_availability(form: Form | None) -> None:
    rows = _rows(_inventory(form))
    for row in rows.values():
        if row.channel.startswith("discovery."):
            assert (row.quality, row.time) == ("", "")
            continue
        assert not row.time or rows[row.time].kind is Kind.TIME
        last = row
        for _ in range(3):
            if last.quality:
                assert rows[last.quality].channel in ("plug.availability", "bridge.availability")
                last = rows[last.quality]
        assert last.channel == "bridge.availability"


def test_quality_of_live_entities_is_the_plugs_availability() -> None:
    rows = {row.channel: row for row in catalogue(_inventory())}
    live = {entity.field for entity in PLUG_ENTITIES if entity.follows_availability}
    assert live
    for name in live:
        assert rows[f"plug.{name}"].quality.endswith("/p3/availability")


# The contract


def test_contract_changes_with_its_version_alone() -> None:
    kept = contract_file(CONTRACT_VERSION)
    assert kept.exists(), (
        f"CONTRACT_VERSION is {CONTRACT_VERSION}, and {kept.name} is missing: run `python -m tests.harness.contract`"
    )
    found = differences(json.loads(kept.read_text()), contract())
    lines = "\n".join(found)
    assert not found, (
        f"the topic contract changed, and CONTRACT_VERSION is still {CONTRACT_VERSION}:\n{lines}\n"
        "Consumers notice what was removed or changed: undo it, or raise CONTRACT_VERSION in publishing/contract.py "
        f"and run `python -m tests.harness.contract`. What was only added is added to {kept.name} by hand."
    )


def test_every_version_so_far_is_kept() -> None:
    for version in range(1, CONTRACT_VERSION + 1):
        assert json.loads(contract_file(version).read_text())["contract"] == version


def _renamed(field: Field) -> Field:
    return replace(field, name="watts")


def _other_unit(field: Field) -> Field:
    return replace(field, unit="kW")


def _other_kind(field: Field) -> Field:
    return replace(field, kind=Kind.TEXT)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (
            _renamed,
            r"^removed: topics > evse/{evse}/{plug}/power > type .*\n(.*\n)*added: topics > evse/{evse}/{plug}/watts",
        ),
        (_renamed, r"^removed: topics > evse/{evse}/{plug}/state > payload > properties > power > type "),
        (_other_unit, r'^changed: topics > evse/{evse}/{plug}/power > unit: "W" -> "kW"$'),
        (_other_kind, r'^changed: topics > evse/{evse}/{plug}/power > type: "number" -> "text"$'),
        (_other_kind, r"^changed: topics > evse/{evse}/{plug}/state > payload > properties > power > type: "),
    ],
)
def test_change_of_the_tables_is_noticed(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Field], Field], pattern: str
) -> None:
    before = contract()
    fields = tuple(change(field) if field.name == "power" else field for field in PLUG_FIELDS)
    monkeypatch.setattr(plain, "PLUG_FIELDS", fields)
    monkeypatch.setattr(payload_schemas, "READING_FIELDS", fields[: len(READING_FIELDS)])
    assert re.search(pattern, "\n".join(differences(before, contract())), re.MULTILINE)


def test_change_of_what_a_status_means_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = contract()
    monkeypatch.setitem(STATUSES, "stopped", STATUSES["connected"])
    assert differences(before, contract()) == ["changed: statuses > stopped > vehicle_connected: null -> true"]


def test_removed_topic_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = contract()
    monkeypatch.setattr(plain, "BRIDGE_FIELDS", ())
    found = differences(before, contract())
    assert found
    assert all(line.startswith("removed: topics > evse/bridge/") for line in found)


def test_rows_of_a_station_name_the_availability_of_its_shard() -> None:
    """In a SCADA list, an energy counter is valid while the shard of its station is online."""
    rows = _rows(_inventory(shards=16))
    qualities = {
        rows[f"site/evse/{topic_id}/energy"].quality for topic_id in ("garage-north/left", f"{_SOUTH.uuid}/p3")
    }
    shards = [shard_of(station.uuid, 16) for station in (_NORTH, _SOUTH)]
    assert qualities == {f"site/evse/bridge/{shard}/availability" for shard in shards}
    assert 0 not in shards
    assert {topic for topic in rows if "/bridge/" in topic} == {
        f"site/evse/bridge/{prefix}{name}"
        for prefix in ("", *(f"{shard}/" for shard in range(1, 16)))
        for name in ("availability", "info")
    }
