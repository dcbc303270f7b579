"""`check --online` says what the broker and each station answer, readably at 80 columns."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from evse_mqtt_bridge.cli.common.tables import plug_lines
from evse_mqtt_bridge.domain.model import PlugReading
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
from tests.harness.cloud import EXAMPLE_EVSE

NARROW = {"COLUMNS": "80"}


def test_what_answers_and_what_does_not_stands_in_lines_of_its_own(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer
) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    cloud.answer("refused", [], token="another")
    stations = [
        station_table(name="Garage north"),
        station_table("refused", name="Garage south"),
        station_table("unknown"),
    ]
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, stations))
    result = run_command("check", "--online", "--config", config, env=NARROW)
    assert result.returncode == 69
    assert result.stderr == "not everything answered as it should: see above\n"
    assert result.stdout.splitlines() == [
        f"{config} is valid: 3 stations",
        f"broker 127.0.0.1:{broker.port}: accepted the connection",
        "Garage north",
        "  Plug 1  idle      0 W     0 / 0 / 0 A           of 6 A   2024-03-25T11:12:17Z",
        "  Plug 2  charging  7107 W  10.3 / 10.3 / 10.3 A  of 12 A  2024-03-25T11:12:17Z",
        "Garage south: unauthorized: HTTP 401 Unauthorized: the token was rejected",
        "unknown: not_found: HTTP 404 Not Found: no such station, or the path is not the API's",
    ]


def test_all_that_answers_is_well(tmp_path: Path, broker: Mosquitto, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud))
    result = run_command("check", "--online", "--config", config)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{config} is valid: 1 station\n")


def test_a_broker_that_is_away_is_told_and_the_stations_are_asked_all_the_same(
    tmp_path: Path, broker: Mosquitto, cloud: CloudServer
) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    port = free_port()
    config = write_config(tmp_path / "config.toml", config_tables(broker, cloud, mqtt={"port": port}))
    result = run_command("check", "--online", "--config", config)
    assert result.returncode == 69
    assert result.stderr.startswith(f"broker 127.0.0.1:{port}: Connection refused\n")
    assert "  Plug 2  charging  7107 W " in result.stdout


@pytest.mark.parametrize(
    ("plug", "line"),
    [
        (PlugReading("p1"), "p1  -  -  - / - / - A  of -  -"),
        (
            PlugReading(
                "p1",
                label="[red]\x1b[31m\n中文",
                status="charging",
                power=-7.5,
                current_l1=1e-7,
                time=datetime(2024, 3, 25, 11, 12, 17, 851_000, UTC),
            ),
            "[red] [31m 中文  charging  -7.5 W  0.0000001 / - / - A  of -  2024-03-25T11:12:17Z",
        ),
    ],
)
def test_the_line_of_a_plug(plug: PlugReading, line: str) -> None:
    assert list(plug_lines([plug])) == [line]


def test_the_lines_of_a_station_stand_in_columns() -> None:
    plugs = [PlugReading("p1", label="中文", status="idle"), PlugReading("p2", label="four", status="charging")]
    assert list(plug_lines(plugs)) == [
        "中文  idle      -  - / - / - A  of -  -",
        "four  charging  -  - / - / - A  of -  -",
    ]
    assert list(plug_lines([])) == []
