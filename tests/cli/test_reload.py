"""The command `reload`, and the option `--reload` of `station`, with a running bridge."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import (
    BridgeProcess,
    CloudServer,
    Mosquitto,
    config_tables,
    free_port,
    invoke_command,
    run_command,
    write_config,
)
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import station_table

_OTHER = "b" * 32


@pytest.fixture
def tables(broker: Mosquitto, cloud: CloudServer) -> dict[str, Any]:
    """A configuration with a status page and one station."""
    cloud.answer(EXAMPLE_EVSE, status_example())
    return config_tables(broker, cloud, http={"enabled": True, "port": free_port()})


@pytest.fixture
def config(tmp_path: Path, tables: dict[str, Any]) -> Path:
    """The file with this configuration."""
    return write_config(tmp_path / "config.toml", tables)


@pytest.fixture
def bridge(config: Path) -> Iterator[BridgeProcess]:
    """A running bridge with this configuration."""
    with BridgeProcess.run(config) as process:
        process.wait_for_line("status page available")
        yield process


def test_reload_reports_what_changed(config: Path, tables: dict[str, Any], bridge: BridgeProcess) -> None:
    stations = [station_table(name="New name"), station_table(_OTHER), station_table("c" * 32)]
    write_config(config, {**tables, "stations": stations})
    result = run_command("reload", "--config", config)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "reloaded evse-mqtt-bridge: 3 stations, 2 added, 0 removed, 1 changed\n"
    write_config(config, {**tables, "stations": stations[:1]})
    assert "1 stations, 0 added, 2 removed, 0 changed" in run_command("reload", "--config", config).stdout
    bridge.wait_for_line("configuration reloaded.*added=0.*changed=0.*removed=2.*stations=1")


def test_reload_of_an_invalid_file_prints_its_errors(
    config: Path, tables: dict[str, Any], bridge: BridgeProcess
) -> None:
    write_config(config, {**tables, "polling": {"interval": "often"}, "log": {"colour": "red"}})
    result = invoke_command("reload", "--config", config)
    assert (result.returncode, result.stdout) == (78, "")
    assert re.search(r"config.toml:\d+: polling.interval: expected", result.stderr)
    assert "log.colour: unknown key" in result.stderr
    bridge.wait_for_line("reload failed.*polling.interval")
    write_config(config, tables)
    assert invoke_command("reload", "--config", config).returncode == 0


def test_reload_with_a_syntax_error_finds_the_bridge(config: Path, bridge: BridgeProcess) -> None:
    config.write_text(config.read_text() + "\n[[stations\n")
    result = invoke_command("reload", "--config", config)
    assert (result.returncode, "is not valid TOML" in result.stderr) == (78, True)
    bridge.wait_for_line("reload failed.*is not valid TOML")


def test_reload_that_moves_the_status_page_is_reported(
    config: Path, tables: dict[str, Any], bridge: BridgeProcess
) -> None:
    old, new = tables["http"]["port"], free_port()
    write_config(config, {**tables, "http": {"enabled": True, "port": new}})
    assert invoke_command("reload", "--config", config).returncode == 69
    result = invoke_command("reload", "--config", config, "--url", f"http://127.0.0.1:{old}")
    assert (result.returncode, "0 changed" in result.stdout) == (0, True), result.stderr
    bridge.wait_for_line(f"status page available.*:{new}/")
    assert invoke_command("reload", "--config", config).returncode == 0


def test_reload_without_a_bridge_exits_with_69(config: Path) -> None:
    result = invoke_command("reload", "--config", config)
    assert (result.returncode, "no bridge answers" in result.stderr) == (69, True)


def test_station_add_and_remove_reload_the_bridge(config: Path, cloud: CloudServer, bridge: BridgeProcess) -> None:
    cloud.answer(_OTHER, [{**status_example()[0], "evse_uuid": _OTHER}])
    options = ("--edge-device-id", "e", "--uuid", _OTHER, "--token-stdin", "--config", config)
    added = run_command("station", "add", "--reload", *options, stdin="token")
    assert (added.returncode, "2 stations, 1 added" in added.stdout) == (0, True), added.stderr
    bridge.wait_for_line("station available.*" + _OTHER)
    removed = run_command("station", "remove", "--reload", _OTHER, "--config", config)
    assert (removed.returncode, "1 stations, 0 added, 1 removed" in removed.stdout) == (0, True), removed.stderr


def test_station_change_without_reload_names_the_command(config: Path) -> None:
    result = invoke_command("station", "remove", EXAMPLE_EVSE, "--config", config)
    assert result.returncode == 0
    assert result.stderr == (
        f"note: run `evse-mqtt-bridge reload --config {config}` to apply the change to a running bridge\n"
    )


def test_station_reload_without_a_bridge_keeps_the_change(config: Path) -> None:
    result = invoke_command("station", "remove", "--reload", EXAMPLE_EVSE, "--config", config)
    assert (result.returncode, "no bridge answers" in result.stderr) == (69, True)
    assert EXAMPLE_EVSE not in config.read_text()
