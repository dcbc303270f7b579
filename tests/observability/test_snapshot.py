"""The picture: what is known of each station, as one value that survives its JSON."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Reason, Station, StationState
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.reason_texts import REASONS
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
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
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW, outcomes, plug_reading, reading
from tests.publishing.model_broker import ModelBroker

_GARAGE = Station("s1", 30.0, name="Garage north", alias="garage", plugs={"p1": "left"})
_YARD = Station("s2", 60.0)
_PLAN = Plan(Topics("evse"), "bridge", {"s1": _GARAGE, "s2": _YARD}, Rules(stale_after=0))


class _Watched:
    """A bridge and what its history says of it; a poll a minute."""

    def __init__(self) -> None:
        self.bridge = Bridge(_PLAN, NOW)
        self.history = History()
        self.now = NOW

    def poll(self, uuid: str, outcome: Outcome) -> None:
        self.now += timedelta(minutes=1)
        old, moment = self.bridge.state(uuid), Moment((self.now - NOW).total_seconds(), self.now)
        self.bridge.take(uuid, outcome, moment, ModelBroker())
        self.history.polled(uuid, old, self.bridge.state(uuid), outcome, self.now)

    def stations(self, after: int = -1) -> dict[str, StationSnapshot]:
        return {station.uuid: station for station in station_snapshots(self.bridge, self.history, after)}

    def picture(self) -> Snapshot:
        return Snapshot(
            at=self.now,
            bridge=BridgeSnapshot("1.2.3", "bridge", "evse", NOW, "https://cloud.example", "libcurl"),
            broker=BrokerSnapshot("broker:1883", connected=True, since=NOW, trouble=""),
            health=Health(healthy=True, ready=True, words=()),
            stations=tuple(self.stations().values()),
            revision=self.history.revision,
        )


def test_before_its_first_poll_a_station_is_there_and_nothing_is_known() -> None:
    seen = _Watched().stations()["s1"]
    assert (seen.name, seen.topic, seen.interval) == ("Garage north", "evse/garage", 30.0)
    assert (seen.reason, seen.since, seen.polled, seen.consecutive_failures, seen.error, seen.plugs) == (
        None,
        None,
        None,
        0,
        "",
        (),
    )


def test_a_station_that_answers() -> None:
    watched = _Watched()
    watched.poll("s1", Reading((plug_reading(current_l1=10.3),), notes=("field 'x' is not known",)))
    seen = watched.stations()["s1"]
    assert (seen.reason, seen.since, seen.polled, seen.note) == (
        Reason.ONLINE,
        watched.now,
        watched.now,
        "field 'x' is not known",
    )
    (plug,) = seen.plugs
    assert (plug.uuid, plug.name, plug.topic) == ("p1", "Plug 1", "evse/garage/left")
    assert (plug.status, plug.power, plug.current_l1, plug.current_l2, plug.time) == (
        "charging",
        7107.0,
        10.3,
        None,
        NOW,
    )
    assert (plug.reason, plug.since) == (Reason.ONLINE, watched.now)
    assert [power for _, power in plug.steps] == [7107.0]


def test_a_station_that_fails_keeps_its_values_and_says_why() -> None:
    watched = _Watched()
    watched.poll("s1", reading())
    came = watched.now
    watched.poll("s1", Failure(Reason.UNAUTHORIZED, "HTTP 401: the token was rejected"))
    seen = watched.stations()["s1"]
    assert (seen.reason, seen.since, seen.consecutive_failures) == (Reason.UNAUTHORIZED, watched.now, 1)
    assert (seen.error, seen.error_at) == ("HTTP 401: the token was rejected", watched.now)
    assert (seen.plugs[0].power, seen.plugs[0].reason, seen.plugs[0].since) == (
        7107.0,
        Reason.UNAUTHORIZED,
        watched.now,
    )
    watched.poll("s1", reading())
    seen = watched.stations()["s1"]
    assert (seen.reason, seen.consecutive_failures, seen.error) == (
        Reason.ONLINE,
        0,
        "HTTP 401: the token was rejected",
    )
    assert seen.since is not None
    assert seen.since > came


@pytest.mark.parametrize(
    ("label", "alias", "name"), [("Plug 1", "left", "Plug 1"), (None, "left", "left"), (None, None, "p1")]
)
def test_a_plug_is_called_by_its_label_or_alias_or_uuid(label: str | None, alias: str | None, name: str) -> None:
    watched = _Watched()
    watched.poll("s1", reading(plug_reading(label=label)))
    station = replace(_GARAGE, plugs={"p1": alias} if alias else {})
    state = watched.bridge.state("s1")
    seen = station_snapshot(_PLAN, station, state, watched.history.station("s1"))
    assert seen.plugs[0].name == name


def test_only_what_was_polled_since_is_told() -> None:
    watched = _Watched()
    watched.poll("s1", reading())
    watched.poll("s2", reading())
    assert watched.stations().keys() == {"s1", "s2"}
    seen = watched.stations()["s2"].revision
    assert watched.stations(after=seen) == {}
    watched.poll("s1", reading())
    assert watched.stations(after=seen).keys() == {"s1"}


def test_the_power_of_the_last_hour_can_be_left_out() -> None:
    watched = _Watched()
    watched.poll("s1", reading())
    (seen, _) = station_snapshots(watched.bridge, watched.history, steps=False)
    assert seen.plugs[0].steps == ()
    assert watched.stations()["s1"].plugs[0].steps != ()


@given(st.lists(st.tuples(st.sampled_from(["s1", "s2"]), outcomes), max_size=8))
def test_it_survives_its_json(polls: list[tuple[str, Outcome]]) -> None:
    watched = _Watched()
    for uuid, outcome in polls:
        watched.poll(uuid, outcome)
    picture = watched.picture()
    assert from_json(to_json(picture)) == picture
    assert json.loads(to_json(picture))["at"].endswith("Z")


def test_stations_are_the_same_by_themselves_as_within_the_whole() -> None:
    watched = _Watched()
    watched.poll("s1", reading())
    picture = watched.picture()
    pieces = [station_json(station) for station in picture.stations]
    assert snapshot_json(replace(picture, stations=()), pieces) == to_json(picture)
    assert json.loads(pieces[0]) == json.loads(to_json(picture))["stations"][0]


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"<html>", b'{"at": 1}', b"null", b"\xff"])
def test_what_is_no_picture_is_told(text: bytes) -> None:
    with pytest.raises(ValueError, match="no picture of a bridge of this version"):
        from_json(text)


def test_every_reason_has_words() -> None:
    assert REASONS.keys() == set(Reason)
    assert len(set(REASONS.values())) == len(REASONS)


def test_a_plan_that_is_taken_over_in_between_ends_it() -> None:
    watched = _Watched()
    stations = station_snapshots(watched.bridge, watched.history)
    assert next(stations).uuid == "s1"
    watched.bridge.apply(replace(_PLAN, stations={"s2": _YARD}), ModelBroker())
    assert list(stations) == []


def test_times_are_utc_and_nothing_is_made_up() -> None:
    watched = _Watched()
    watched.poll("s1", reading(plug_reading(power=None, time=datetime(2024, 1, 1, tzinfo=UTC))))
    document = json.loads(to_json(watched.picture()))
    plug = document["stations"][0]["plugs"][0]
    assert (plug["power"], plug["time"], plug["current_l1"]) == (None, "2024-01-01T00:00:00Z", None)
    assert watched.bridge.state("s2") == StationState()
    assert document["stations"][1]["reason"] is None
