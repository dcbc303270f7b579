"""Responses of the simulated API."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.model import Reading
from evse_mqtt_bridge.simulator.scenario import TICK, PlugScenario
from evse_mqtt_bridge.simulator.simulation import Simulation, example_station, generate_stations
from tests.harness import status_example

START = datetime(2024, 3, 25, 11, 12, 15, tzinfo=UTC)


def test_example_station_matches_published_example() -> None:
    station = example_station()
    simulation = Simulation((station,), START)
    for elapsed in (0.0, 86_400.0):
        now = START + timedelta(seconds=elapsed)
        response = simulation.response(station, now)
        expected = [{**plug, "time": now.strftime("%Y-%m-%dT%H:%M:%S.000Z")} for plug in status_example()]
        assert response == expected
        assert [list(plug) for plug in response] == [list(plug) for plug in expected]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(), st.floats(0, 1e7), st.floats(0.01, 3600))
def test_response_of_any_simulation_is_valid(count: int, plugs: int, seed: int, elapsed: float, speed: float) -> None:
    simulation = Simulation(generate_stations(count, plugs, seed), START, speed)
    station = simulation.stations[-1]
    response = simulation.response(station, START + timedelta(seconds=elapsed))
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(plug["time"])) for plug in response)
    reading = parse(json.dumps(response).encode(), station.uuid)
    assert isinstance(reading, Reading)
    assert [plug.plug_uuid for plug in reading.plugs] == [plug.uuid for plug in station.plugs]
    assert not reading.invalid
    assert not reading.notes


def test_simulated_ids_are_unique_and_depend_on_seed() -> None:
    stations = generate_stations(50, 3, seed=7)
    assert stations == generate_stations(50, 3, seed=7)
    ids = [station.uuid for station in stations] + [plug.uuid for station in stations for plug in station.plugs]
    assert all(re.fullmatch("[0-9a-f]{32}", uuid) for uuid in ids + [station.edge_device_id for station in stations])
    assert len(set(ids)) == 50 + 150
    assert len({station.token for station in stations}) == 50
    assert all(station.token.startswith("simulated-") for station in stations)
    assert all(station.token not in repr(stations) for station in stations)
    others = generate_stations(50, 3, seed=8)
    assert not {station.uuid for station in stations} & {station.uuid for station in others}


def test_simulated_stations_do_not_depend_on_count() -> None:
    assert generate_stations(20)[:3] == generate_stations(3)


def test_response_with_speed_keeps_real_measurement_times() -> None:
    stations = generate_stations(1, 1)
    normal, accelerated = Simulation(stations, START), Simulation(stations, START, 60)
    minute, hour = START + timedelta(minutes=1), START + timedelta(hours=1)
    slow, fast = normal.response(stations[0], hour)[0], accelerated.response(stations[0], minute)[0]
    assert slow["status"] == fast["status"] == PlugScenario(1, 0, 0).at(3600).status
    assert slow["time"] == "2024-03-25T12:12:15.000Z"
    assert fast["time"] == "2024-03-25T11:13:15.000Z"


def test_response_time_advances_by_ticks_in_utc() -> None:
    zone = timezone(timedelta(hours=2))
    simulation = Simulation((example_station(),), START.astimezone(zone))
    times = {
        simulation.response(simulation.stations[0], START + timedelta(seconds=seconds / 2))[0]["time"]
        for seconds in range(int(2 * TICK * 2))
    }
    assert times == {"2024-03-25T11:12:15.000Z", "2024-03-25T11:12:20.000Z"}


@pytest.mark.parametrize(("device", "uuid"), [(0, 5), (1, 0)])
def test_find_returns_station_for_its_own_device_only(device: int, uuid: int) -> None:
    stations = generate_stations(8)
    simulation = Simulation(stations, START)
    assert simulation.find(stations[5].edge_device_id, stations[5].uuid) is stations[5]
    assert simulation.find(stations[4 * device].edge_device_id, stations[uuid].uuid) is None
