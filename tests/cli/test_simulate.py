"""`simulate`: the server as a user starts it, and the configuration that it prints."""

import json
import ssl
import tomllib
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from evse_mqtt_bridge.cli.actions.simulate import configuration_text
from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.schema import Config, StationConfig
from evse_mqtt_bridge.simulator.simulation import example_station, generate_stations
from tests.harness import Authority, BridgeProcess, run_command, status_example


def _address(process: BridgeProcess) -> str:
    return process.wait_for_line(r" at (https?://\S+?)[,.]( |$)")[1]


def _config(text: str) -> Config:
    return Config.model_validate(tomllib.loads(text))


def _get(config: Config, station: StationConfig, context: ssl.SSLContext | None = None) -> list[dict[str, Any]]:
    path = config.cloud.status_path.format(edge_device_id=station.edge_device_id, uuid=station.uuid)
    request = urllib.request.Request(
        config.cloud.base_url + path, headers={"evsetoken": station.token.get_secret_value()}
    )
    with urllib.request.urlopen(request, timeout=10, context=context) as response:
        answer: list[dict[str, Any]] = json.load(response)
        return answer


def test_simulate_stdout_is_a_configuration_of_its_stations() -> None:
    with BridgeProcess("simulate", "--port", "0", "--stations", "4", "--plugs", "3", "--seed", "9") as process:
        url = _address(process)
        last = process.wait_for_line('alias = "simulated-4"', stream="stdout").string
        process.wait_for_line("^plugs = ", stream="stdout", since=process.stdout.index(last))
        config = _config("\n".join(process.stdout))
        assert config.cloud.base_url == url
        assert [station.uuid for station in config.stations] == [station.uuid for station in generate_stations(4, 3, 9)]
        for station in config.stations:
            answer = _get(config, station)
            assert [plug["plug_uuid"] for plug in answer] == list(station.plugs)
            age = datetime.now(UTC) - datetime.fromisoformat(answer[0]["time"])
            assert timedelta(0) <= age < timedelta(hours=1)
        process.stop()
        assert process.stderr == [f"Simulating 4 stations at {url}. Press Ctrl-C to stop."]


def test_simulate_ctrl_c_exits_with_0() -> None:
    with BridgeProcess("simulate", "--port", "0") as process:
        _address(process)
        process.interrupt()
        process.assert_exit(0)
        assert len(process.stderr) == 1


def test_simulate_example_verbose_logs_requests() -> None:
    with BridgeProcess("simulate", "--port", "0", "--example", "--verbose", "--speed", "60") as process:
        url = _address(process)
        station = example_station()
        config = _config(configuration_text((station,), url))
        answer = _get(config, config.stations[0])
        expected = [{**plug, "time": answer[0]["time"]} for plug in status_example()]
        assert answer == expected
        process.wait_for_line("^Published example: status 200$")
        process.stop()
        assert (
            process.stderr[0] == f"Simulating 1 station at {url}, 60 times as fast as real time. Press Ctrl-C to stop."
        )
        assert station.token not in process.stderr_text


def test_simulate_certificate_serves_tls_and_names_the_ca(authority: Authority) -> None:
    certificate = authority.issue("simulator")
    files = ("--cert-file", certificate.cert_file, "--key-file", certificate.key_file)
    with BridgeProcess("simulate", "--port", "0", "--stations", "1", *files) as process:
        assert _address(process).startswith("https://127.0.0.1:")
        process.wait_for_line("^plugs = ", stream="stdout")
        config = _config("\n".join(process.stdout))
        assert config.cloud.ca_file == str(certificate.cert_file)
        assert _get(config, config.stations[0], ssl.create_default_context(cafile=authority.ca_file))
        process.stop()


def test_simulate_port_taken_is_one_line_and_exit_code_1() -> None:
    with BridgeProcess("simulate", "--port", "0") as process:
        port = _address(process).rpartition(":")[2]
        other = run_command("simulate", "--port", port)
        assert other.returncode == 1
        assert other.stdout == ""
        assert len(other.stderr.splitlines()) == 1
        assert f"port {port}: another program uses this port" in other.stderr
        process.stop()


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["--example", "--stations", "3"], 2, "leave --stations out"),
        (["--example", "--plugs", "2"], 2, "leave --plugs out"),
        (["--key-file", "key.pem"], 2, "add --cert-file"),
        (["--fault-rate", "2"], 2, "2.0 is not in the range 0<=x<=1"),
        (["--speed", "0"], 2, "0.0 is not in the range"),
        (["--cert-file", "no-such-file.pem"], 1, "no-such-file.pem cannot be read: No such file or directory"),
        (["--host", "no such host"], 1, "cannot listen on no such host port"),
        (["--host", "a" * 80], 1, "the host name cannot be resolved; choose another --port or --host"),
    ],
)
def test_simulate_invalid_option_is_reported(arguments: list[str], code: int, error: str) -> None:
    result = CliRunner().invoke(cli, ["simulate", "--port", "0", *arguments])
    assert result.exit_code == code
    assert isinstance(result.exception, SystemExit)
    assert error in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("count", "speed", "interval"), [(3, 1, 30), (3, 3, 10), (3, 60, 1), (3, 0.1, 300), (800, 60, 20), (4000, 1, 100)]
)
def test_configuration_text_interval_follows_speed(count: int, speed: float, interval: int) -> None:
    config = _config(configuration_text(generate_stations(count), "http://127.0.0.1:3032", speed))
    assert config.polling.interval == interval
    assert len(config.stations) == count
    assert count / config.polling.interval <= config.cloud.max_requests_per_second


def test_configuration_text_path_with_quotes_is_escaped() -> None:
    config = _config(configuration_text((example_station(),), "https://localhost:1", cert_file='/a "b"\\c.pem'))
    assert config.cloud.ca_file == '/a "b"\\c.pem'
