"""Snapshots of the bridge, and their JSON."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Reason, Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.observability.fleet_snapshot import FleetMemberSnapshot, FleetSnapshot
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.reason_texts import REASON_TEXTS
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
    PlugSnapshot,
    Snapshot,
    StationSnapshot,
    from_json,
    snapshot_json,
    station_json,
    station_snapshot,
    station_snapshots,
    to_json,
)
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW, outcomes, plug_reading, reading

_GARAGE = Station("s1", 30.0, name="Garage north", alias="garage", plugs={"p1": "left"})
_YARD = Station("s2", 60.0)
_RULES = Rules(stale_after=0)
_PLAN = Plan(Topics("evse"), "bridge", {"s1": _GARAGE, "s2": _YARD}, _RULES, ())


class _Bridge:
    """The states of stations and their history. Polls are one minute apart."""

    def __init__(self) -> None:
        self.plan = _PLAN
        self.history = History()
        self.now = NOW
        self._stations = Stations(_PLAN.stations, _RULES, started=0.0)

    def state(self, uuid: str) -> StationState:
        return self._stations.state(uuid)

    def next_poll(self, uuid: str) -> datetime | None:
        return self.now + timedelta(seconds=30) if uuid == "s1" else None

    def poll(self, uuid: str, outcome: Outcome) -> None:
        self.now += timedelta(minutes=1)
        moment = Moment((self.now - NOW).total_seconds(), self.now)
        self.history.poll_completed(self._stations.apply_outcome(uuid, outcome, moment, 0.1))

    def start_meters(self) -> None:
        self._stations.broker_read({}, self._stations.all, is_complete=True)

    def reconfigure(self, plan: Plan) -> None:
        self._stations.replace(list(self._stations.all), plan.stations, _RULES)
        self.plan = plan

    def stations(self, after: int = -1) -> dict[str, StationSnapshot]:
        return {station.uuid: station for station in station_snapshots(self, self.history, after)}

    def snapshot(self) -> Snapshot:
        return Snapshot(
            at=self.now,
            bridge=BridgeSnapshot("1.2.3", "bridge", "evse", NOW, "https://cloud.example", "libcurl"),
            broker=BrokerSnapshot("broker:1883", connected=False, since=NOW, error="connection refused"),
            health=Health(healthy=True, ready=False, messages=("no connection to the broker: connection refused",)),
            stations=tuple(self.stations().values()),
            revision=self.history.revision,
        )


@pytest.fixture(name="bridge")
def _bridge() -> _Bridge:
    return _Bridge()


def test_station_snapshot_has_the_next_poll(bridge: _Bridge) -> None:
    stations = bridge.stations()
    assert [stations[uuid].next_poll for uuid in ("s1", "s2")] == [NOW + timedelta(seconds=30), None]


def test_station_snapshot_before_first_poll_has_no_values(bridge: _Bridge) -> None:
    station = bridge.stations()["s1"]
    assert (station.name, station.topic, station.interval) == ("Garage north", "evse/garage", 30.0)
    assert (station.reason, station.since, station.polled) == (None, None, None)
    assert (station.consecutive_failures, station.error, station.plugs) == (0, "", ())


def test_station_snapshot_after_answer_has_its_values(bridge: _Bridge) -> None:
    bridge.poll("s1", Reading((plug_reading(current_l1=10.3),), notes=("field 'x' is not known",)))
    station = bridge.stations()["s1"]
    assert (station.reason, station.since, station.polled) == (Reason.ONLINE, bridge.now, bridge.now)
    assert station.note == "field 'x' is not known"
    (plug,) = station.plugs
    assert (plug.uuid, plug.name, plug.topic) == ("p1", "Plug 1", "evse/garage/left")
    assert (plug.status, plug.power, plug.time) == ("charging", 7107.0, NOW)
    assert (plug.current_l1, plug.current_l2) == (10.3, None)
    assert (plug.reason, plug.since) == (Reason.ONLINE, bridge.now)
    assert [power for _, power in plug.steps] == [7107.0]


def test_plug_snapshot_has_energy_once_meters_are_known(bridge: _Bridge) -> None:
    def poll(status: str, power: float) -> PlugSnapshot:
        bridge.poll("s1", reading(plug_reading(status=status, power=power, time=bridge.now)))
        return bridge.stations()["s1"].plugs[0]

    plug = poll("idle", 0.0)
    assert (plug.energy, plug.energy_gap, plug.session_energy, plug.session_started) == (None, None, None, None)
    bridge.start_meters()
    assert poll("idle", 0.0).session_energy == 0.0
    connected = bridge.now
    poll("charging", 6000.0)
    plug = poll("charging", 6000.0)
    # half a minute at 6 kW until the first measurement with the vehicle, a minute after it
    assert (plug.energy, plug.energy_discharged, plug.energy_gap) == (0.15, 0.0, 0)
    assert (plug.session_energy, plug.session_started) == (0.15, connected)
    plug = poll("idle", 0.0)
    assert (plug.session_energy, plug.session_started) == (0.2, None)


def test_station_snapshot_after_failure_keeps_values(bridge: _Bridge) -> None:
    bridge.poll("s1", reading())
    bridge.poll("s1", Failure(Reason.UNAUTHORIZED, "HTTP 401: the token was rejected"))
    station = bridge.stations()["s1"]
    assert (station.reason, station.since, station.consecutive_failures) == (Reason.UNAUTHORIZED, bridge.now, 1)
    assert (station.error, station.error_at) == ("HTTP 401: the token was rejected", bridge.now)
    (plug,) = station.plugs
    assert (plug.power, plug.reason, plug.since) == (7107.0, Reason.UNAUTHORIZED, bridge.now)


def test_station_snapshot_after_recovery_keeps_error(bridge: _Bridge) -> None:
    bridge.poll("s1", reading())
    online = bridge.now
    bridge.poll("s1", Failure(Reason.UNAUTHORIZED, "HTTP 401: the token was rejected"))
    bridge.poll("s1", reading())
    station = bridge.stations()["s1"]
    assert (station.reason, station.consecutive_failures) == (Reason.ONLINE, 0)
    assert station.error == "HTTP 401: the token was rejected"
    assert station.since is not None
    assert station.since > online


@pytest.mark.parametrize(
    ("label", "alias", "name"), [("Plug 1", "left", "Plug 1"), (None, "left", "left"), (None, None, "p1")]
)
def test_plug_snapshot_name_is_label_or_alias_or_uuid(
    bridge: _Bridge, label: str | None, alias: str | None, name: str
) -> None:
    bridge.poll("s1", reading(plug_reading(label=label)))
    station = replace(_GARAGE, plugs={"p1": alias} if alias else {})
    snapshot = station_snapshot(_PLAN, station, bridge.state("s1"), bridge.history.station("s1"))
    assert snapshot.plugs[0].name == name


def test_station_snapshots_after_revision_are_changed_ones(bridge: _Bridge) -> None:
    bridge.poll("s1", reading())
    bridge.poll("s2", reading())
    assert bridge.stations().keys() == {"s1", "s2"}
    revision = bridge.stations()["s2"].revision
    assert bridge.stations(after=revision) == {}
    bridge.poll("s1", reading())
    assert bridge.stations(after=revision).keys() == {"s1"}


def test_station_snapshots_without_steps_have_none(bridge: _Bridge) -> None:
    bridge.poll("s1", reading())
    (station, _) = station_snapshots(bridge, bridge.history, steps=False)
    assert station.plugs[0].steps == ()
    assert bridge.stations()["s1"].plugs[0].steps != ()


def test_station_snapshots_end_when_the_plan_changes(bridge: _Bridge) -> None:
    stations = station_snapshots(bridge, bridge.history)
    assert next(stations).uuid == "s1"
    bridge.reconfigure(replace(_PLAN, stations={"s2": _YARD}))
    assert list(stations) == []


@given(st.lists(st.tuples(st.sampled_from(["s1", "s2"]), outcomes), max_size=8))
def test_snapshot_equals_the_one_read_from_its_json(polls: list[tuple[str, Outcome]]) -> None:
    bridge = _Bridge()
    for uuid, outcome in polls:
        bridge.poll(uuid, outcome)
    snapshot = bridge.snapshot()
    assert from_json(to_json(snapshot)) == snapshot
    assert json.loads(to_json(snapshot))["at"].endswith("Z")


def test_station_json_equals_its_part_of_snapshot_json(bridge: _Bridge) -> None:
    bridge.poll("s1", reading())
    snapshot = bridge.snapshot()
    parts = [station_json(station) for station in snapshot.stations]
    assert snapshot_json(replace(snapshot, stations=()), parts) == to_json(snapshot)
    assert json.loads(parts[0]) == json.loads(to_json(snapshot))["stations"][0]


def test_json_keys_are_those_of_the_api(bridge: _Bridge) -> None:
    bridge.poll("s1", reading())
    content = json.loads(to_json(bridge.snapshot()))
    assert content.keys() == {"at", "bridge", "broker", "health", "stations", "revision", "fleet"}
    assert content["bridge"].keys() == {"version", "client_id", "base_topic", "started", "cloud", "transport"}
    assert content["broker"].keys() == {"address", "connected", "since", "trouble"}
    assert content["health"].keys() == {"healthy", "ready", "words"}
    station = content["stations"][0]
    assert ",".join(station) == (
        "uuid,name,topic,interval,reason,since,polled,misses,error,error_at,note,plugs,revision,next_poll"
    )
    assert ",".join(station["plugs"][0]) == (
        "uuid,name,topic,status,power,current_l1,current_l2,current_l3,dyn_current_limit,time,reason,since,steps,"
        "energy,energy_discharged,energy_gap,session_energy,session_started"
    )


def test_json_contains_the_fleet() -> None:
    member = FleetMemberSnapshot("m1", "running", (0, 1), "0.2.0", "")
    fleet = FleetSnapshot("etcd", "m1", 4, (0, 1), connected=True, answered=NOW, members=(member,))
    content = to_json(replace(_Bridge().snapshot(), fleet=fleet))
    assert from_json(content).fleet == fleet
    assert fleet.free == (2, 3)
    assert ",".join(json.loads(content)["fleet"]) == "engine,member,shards,held,connected,answered,conflict,members"


def test_json_times_are_utc_and_unknown_values_null(bridge: _Bridge) -> None:
    bridge.poll("s1", reading(plug_reading(power=None, time=datetime(2024, 1, 1, tzinfo=UTC))))
    content = json.loads(to_json(bridge.snapshot()))
    plug = content["stations"][0]["plugs"][0]
    assert (plug["power"], plug["time"], plug["current_l1"]) == (None, "2024-01-01T00:00:00Z", None)
    assert bridge.state("s2") == StationState()
    assert content["stations"][1]["reason"] is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"<html>", b'{"at": 1}', b"null", b"\xff"])
def test_from_json_of_other_text_raises(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a snapshot of a bridge of this version"):
        from_json(text)


def test_every_reason_has_a_text_of_its_own() -> None:
    assert REASON_TEXTS.keys() == set(Reason)
    assert len(set(REASON_TEXTS.values())) == len(REASON_TEXTS)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"connected": False}, "etcd does not answer, so no shard moves to another member: see the log"),
        ({"conflict": "members differ"}, "fleet: members differ"),
    ],
)
def test_fleet_problem_is_a_sentence(changes: dict[str, Any], problem: str) -> None:
    fleet = FleetSnapshot("etcd", "m1", 4, (0, 1), connected=True)
    assert replace(fleet, **changes).problem == problem
