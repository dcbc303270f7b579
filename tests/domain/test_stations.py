"""The states of all stations: values become too old on time, also after a clock jump, a reload and a restore."""

from datetime import timedelta

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.events import CloudAnswering, CloudRejecting, StateAged, TokenRejected
from evse_mqtt_bridge.domain.model import Reading, Reason, Station
from evse_mqtt_bridge.domain.plugs import MAX_PLUGS
from evse_mqtt_bridge.domain.stations import Stations
from tests.harness.samples import NOW, at, failure, plug_reading, reading, rejection

_RULES = Rules(stale_after=60)
_UUIDS = [f"s{number}" for number in range(5)]


def _stations(rules: Rules = _RULES) -> Stations:
    return Stations({uuid: Station(uuid, 30) for uuid in _UUIDS}, rules, started=at(0).monotonic)


def _poll(stations: Stations, uuid: str, second: float) -> None:
    answer = reading(plug_reading(time=NOW + timedelta(seconds=second)))
    stations.apply_outcome(uuid, answer, at(second), 0.1)


def _aged(stations: Stations, moment: Moment, limit: int = 100) -> dict[str, Reason | None]:
    """Return the plug's new reason by station, for each event."""
    events = (event for event in stations.age(moment, limit) if isinstance(event, StateAged))
    return {event.station.uuid: event.new.plugs["p1"].reason for event in events}


def test_age_reports_each_station_within_a_second() -> None:
    stations = _stations()
    for number, uuid in enumerate(_UUIDS):
        _poll(stations, uuid, number)
    seen = {second: _aged(stations, at(second)) for second in range(5, 70)}
    assert {second: aged for second, aged in seen.items() if aged} == {
        61 + number: {uuid: Reason.STALE} for number, uuid in enumerate(_UUIDS)
    }


def test_age_after_later_measurements_waits_for_those() -> None:
    stations = _stations()
    for second in range(0, 300, 30):
        _poll(stations, "s0", second)
        assert _aged(stations, at(second + 1)) == {}
    assert _aged(stations, at(330)) == {}
    assert _aged(stations, at(331)) == {"s0": Reason.STALE}


def test_age_after_an_older_measurement_is_not_late() -> None:
    stations = _stations()
    _poll(stations, "s0", 30)
    stations.apply_outcome("s0", reading(plug_reading(time=NOW)), at(31), 0.1)
    assert _aged(stations, at(61)) == {"s0": Reason.STALE}


def test_age_updates_at_most_limit_stations_per_call() -> None:
    stations = _stations()
    for uuid in _UUIDS:
        _poll(stations, uuid, 0)
    _aged(stations, at(1))
    later = at(61)
    counts = []
    while stations.is_aging_due(later.monotonic):
        counts.append(len(_aged(stations, later, limit=2)))
    assert counts == [2, 2, 1]


def test_age_after_a_clock_jump_evaluates_all_stations() -> None:
    stations = _stations()
    for uuid in _UUIDS:
        _poll(stations, uuid, 0)
    assert _aged(stations, at(1)) == {}
    for jump in (3600, -3600):
        jumped = Moment(at(3).monotonic, NOW + timedelta(seconds=jump))
        assert _aged(stations, jumped) == dict.fromkeys(_UUIDS, Reason.STALE)
        assert _aged(stations, at(4)) == dict.fromkeys(_UUIDS, Reason.ONLINE)


def test_reconfigure_with_other_limit_evaluates_all_stations() -> None:
    stations = _stations(Rules(stale_after=0))
    for uuid in _UUIDS:
        _poll(stations, uuid, 0)
    assert _aged(stations, at(100)) == {}
    stations.replace(_UUIDS, {uuid: Station(uuid, 30) for uuid in _UUIDS[1:]}, _RULES)
    assert _aged(stations, at(101)) == dict.fromkeys(_UUIDS[1:], Reason.STALE)


def test_plugs_beyond_maximum_are_noted() -> None:
    stations = _stations()
    many = [plug_reading(f"q{number}") for number in range(MAX_PLUGS)]
    full = stations.apply_outcome("s0", reading(*many), at(0), 0.1)
    assert isinstance(full.outcome, Reading)
    assert full.outcome.notes == ()
    beyond = stations.apply_outcome("s0", reading(*many, plug_reading("r1"), plug_reading("r2")), at(1), 0.1)
    assert isinstance(beyond.outcome, Reading)
    assert beyond.outcome.notes == ("2 plugs are left out, because a station has at most 64 plugs: r1, r2",)
    others = [plug_reading(f"r{number}") for number in range(100)]
    most = stations.apply_outcome("s0", reading(*many, *others), at(2), 0.1)
    assert isinstance(most.outcome, Reading)
    assert most.outcome.notes[0].endswith("r8, r9, ...")
    assert len(most.outcome.notes[0]) < 400


def test_rejection_decided_by_another_station_changes_the_state() -> None:
    stations = _stations()
    for second, uuid in enumerate(("s0", "s1")):
        _poll(stations, uuid, second)
    first = stations.apply_outcome("s0", rejection(), at(10), 0.1)
    assert (first.new.reason, first.new.failure and first.new.failure.reason) == (Reason.ONLINE, Reason.SERVER_ERROR)
    assert first.outcome == rejection(), "the event has the outcome as the client reported it"
    assert list(stations.consequences(at(10))) == [TokenRejected("s0")]
    assert not stations.has_consequences
    _poll(stations, "s1", 11)
    assert stations.has_consequences
    (event,) = stations.consequences(at(11))
    assert isinstance(event, StateAged)
    assert (event.station.uuid, event.old, event.new.reason) == ("s0", first.new, Reason.UNAUTHORIZED)
    assert event.new.plugs["p1"].reason is Reason.UNAUTHORIZED
    assert stations.state("s0") is event.new
    assert list(stations.consequences(at(11))) == []
    again = stations.apply_outcome("s0", rejection(), at(41), 0.1)
    assert (again.new.reason, again.new.probes) == (Reason.UNAUTHORIZED, 2)


def test_rejection_of_all_stations_makes_them_server_errors() -> None:
    stations = _stations()
    for number, uuid in enumerate(_UUIDS * 3):
        stations.apply_outcome(uuid, rejection(), at(number), 0.1)
        events = [event for event in stations.consequences(at(number)) if not isinstance(event, TokenRejected)]
        assert [type(event) for event in events] == ([CloudRejecting] if number == len(_UUIDS) - 1 else [])
    assert {stations.state(uuid).reason for uuid in _UUIDS} == {Reason.SERVER_ERROR}
    _poll(stations, "s2", 100)
    (event,) = stations.consequences(at(100))
    assert event == CloudAnswering(100.0)


def test_failure_before_plugs_are_restored_counts() -> None:
    stations = _stations()
    stations.apply_outcome("s0", failure(Reason.SERVER_ERROR), at(1), 0.1)
    assert _aged(stations, at(2)) == {}
    for uuid in _UUIDS:
        stations.restore_plugs(uuid, {"p1": "Plug 1"})
    assert _aged(stations, at(3)) == {"s0": Reason.SERVER_ERROR}
    assert stations.state("s0").reason is Reason.SERVER_ERROR
    assert _aged(stations, at(62)) == dict.fromkeys(_UUIDS[1:], Reason.STALE)


def test_failures_after_a_takeover_count_as_usual() -> None:
    """Another member polled the station until now: one failure changes nothing, before and after the restore."""
    stations = _stations(Rules(stale_after=0, offline_after=3))
    for uuid in ("s0", "s1"):
        if uuid == "s1":
            stations.apply_outcome(uuid, failure(Reason.UNREACHABLE), at(1), 0.1)
        stations.restore_plugs(uuid, {"p1": None}, is_continued=True)
        for second in range(2, 4 if uuid == "s0" else 3):
            stations.apply_outcome(uuid, failure(Reason.UNREACHABLE), at(second), 0.1)
        assert _aged(stations, at(4)) == {}
        assert stations.state(uuid).reason is None
        stations.apply_outcome(uuid, failure(Reason.UNREACHABLE), at(5), 0.1)
        assert stations.state(uuid).plugs["p1"].reason is Reason.UNREACHABLE


def test_restored_values_of_an_added_station_are_not_stale() -> None:
    """A shard may begin days after the process started."""
    stations, station = _stations(), Station("s9", 30)
    later = at(5000)
    stations.replace((), {"s9": station}, _RULES, later.monotonic)
    stations.restore_plugs("s9", {"p1": None}, is_continued=True)
    assert _aged(stations, later) == {}
    assert _aged(stations, at(5000 + 61)) == {"s9": Reason.STALE}
