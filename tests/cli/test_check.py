"""`check --online`: a line per broker, station and plug, readable at 80 columns."""

from pathlib import Path

from tests.harness import (
    CloudServer,
    Mosquitto,
    config_tables,
    free_port,
    run_command,
    station_table,
    status_example,
    write_config,
)
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS

NARROW = {"COLUMNS": "80"}


def test_check_online_prints_each_result_on_its_own_line(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    cloud.answer("refused", [], token="another")
    first, second = EXAMPLE_PLUGS
    stations = [
        station_table(name="Garage north", plugs={first: "left"}),
        station_table("refused", name="Garage south"),
        station_table("unknown"),
    ]
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, stations))
    result = run_command("check", "--online", "--config", config, env=NARROW)
    assert result.returncode == 69
    assert result.stderr == "not every test passed; see above\n"
    assert result.stdout.splitlines() == [
        f"{config} is valid: 3 stations",
        f"broker 127.0.0.1:{broker.port}: connection accepted, MQTT 5",
        "Garage north",
        "  Plug 1  idle      0 W     0 / 0 / 0 A           of 6 A   2024-03-25T11:12:17Z",
        f"    uuid {first}, alias left",
        "  Plug 2  charging  7107 W  10.3 / 10.3 / 10.3 A  of 12 A  2024-03-25T11:12:17Z",
        f"    uuid {second}, no alias",
        "Garage south: unauthorized: HTTP 401 Unauthorized: the token was rejected",
        "unknown: not_found: HTTP 404 Not Found: no such station, or the path is not the API's",
    ]


def test_check_online_everything_answers_succeeds(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud))
    result = run_command("check", "--online", "--config", config)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{config} is valid: 1 station\n")


def test_check_online_broker_down_still_polls_stations(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    port = free_port()
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, mqtt={"port": port}))
    result = run_command("check", "--online", "--config", config)
    assert result.returncode == 69
    assert result.stderr.startswith(f"broker 127.0.0.1:{port}: Connection refused\n")
    assert "  Plug 2  charging  7107 W " in result.stdout
