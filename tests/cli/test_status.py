"""`status`: rendering, address of the bridge, errors, filters and exit codes."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evse_mqtt_bridge.cli.common import status_client
from evse_mqtt_bridge.cli.common.status_client import StatusClient, page_address
from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import (
    Health,
    Snapshot,
    from_json,
    to_json,
)
from tests.cli.snapshots import AT, SITE, plug, serve_snapshot, snapshot, station
from tests.harness import free_port, run_command, write_config
from tests.harness.net import HOST


def _status(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ["status", *map(str, arguments)], env={"COLUMNS": "80", **(env or {})})


def test_status_control_characters_are_removed() -> None:
    name = "\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] [link=http://a]b[/link]\r\n\u202e"
    with serve_snapshot(station(name, plug(name, status=name), error=name, error_at=AT)) as page:
        result = _status("--url", page.url)
    assert result.exit_code == 0
    assert not set(result.stdout) & set("\x1b\x07\r\u202e")
    assert "[bold]" in result.stdout


def test_status_unencodable_output_is_replaced() -> None:
    with serve_snapshot(station("駅 north", plug())) as page:
        result = run_command("status", "--url", page.url, env={"PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "? north" in result.stdout


# --- address of the bridge


def test_status_config_names_the_address(tmp_path: Path) -> None:
    with serve_snapshot(*SITE) as page:
        # a token file that cannot be read does not matter
        tables = {
            "mqtt": {"host": "localhost"},
            "http": {"port": int(page.url.rpartition(":")[2]), "host": "0.0.0.0"},
            "stations": [{"edge_device_id": "1", "uuid": "a", "token_file": "/nowhere/token"}],
        }
        config = write_config(tmp_path / "config.toml", tables)
        result = _status("--config", config)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Garage north" in result.stdout
        assert page.paths == ["/api/picture"]
        other = _status("--config", config, env={"EVSE_MQTT_BRIDGE__HTTP__PORT": str(free_port())})
        assert other.exit_code == 69


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:9480"),
        ("0.0.0.0", "http://127.0.0.1:9480"),
        ("::", "http://[::1]:9480"),
        ("[::1]", "http://[::1]:9480"),
        ("2001:db8::7", "http://[2001:db8::7]:9480"),
        ("bridge.example.com", "http://bridge.example.com:9480"),
    ],
)
def test_page_address_host_becomes_reachable_address(host: str, address: str) -> None:
    assert page_address(Http(host=host)) == address


def test_status_no_config_uses_the_default_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    addresses = []

    def fetch(client: StatusClient) -> tuple[bytes, Snapshot]:
        addresses.append(client.address)
        return b"{}", snapshot()

    monkeypatch.setattr(StatusClient, "fetch", fetch)
    assert _status().exit_code == 0
    assert addresses == ["http://127.0.0.1:9480"]


def test_status_page_disabled_exits_with_69(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.toml", {"mqtt": {"host": "localhost"}, "http": {"enabled": False}})
    result = _status("--config", config)
    assert result.exit_code == 69
    assert f"http.enabled = false in {config}" in result.stderr


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[http]\nport = 0\n", "config.toml:2: http.port: "),
        ("http = 3\n", "config.toml:1: http: "),
        ("[http\n", "is not valid TOML"),
    ],
)
def test_status_wrong_config_names_the_line(tmp_path: Path, text: str, error: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text)
    env = {} if "port" in text else {"EVSE_MQTT_BRIDGE__HTTP__PORT": str(free_port())}
    result = _status("--config", config, env=env)
    assert result.exit_code == 78
    assert error in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        '[mqtt]\nhost = "h\n[http]\nport = PORT # comment\n',
        "[[[\n[http]\nhost = '127.0.0.1'\nport = PORT\nprot = 1\n[log]\nlevel = 3",
        " [ http ]\n\nport = PORT\nfoo =\n[mqtt]\nport = 1\n",
        "\ufeff[http]\r\nport = PORT\r\n[log\r\n",
    ],
)
def test_status_of_bridge_whose_file_became_invalid_warns(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.toml"
    with serve_snapshot(station("Garage north", plug())) as page:
        config.write_text(text.replace("PORT", page.url.rpartition(":")[2]))
        result = _status("--json", "--config", config)
        assert result.exit_code == 0
        assert json.loads(result.stdout)["stations"][0]["name"] == "Garage north"
        assert result.stderr.startswith(f"warning: the bridge at {page.url} runs, but could not be restarted: {config}")
        config.write_text(text.replace("PORT", str(free_port())))
        assert _status("--config", config).exit_code == 78


def test_status_with_port_of_environment_needs_no_valid_file(tmp_path: Path) -> None:
    with serve_snapshot(station("Garage north", plug())) as page:
        port = page.url.rpartition(":")[2]
        config = tmp_path / "config.toml"
        config.write_text("[http]\nenabled = 1\n")
        assert _status("--config", config, env={"EVSE_MQTT_BRIDGE__HTTP__PORT": port}).exit_code == 78
        config.write_text("http = [\n")
        assert _status("--config", config, env={"EVSE_MQTT_BRIDGE__HTTP__PORT": port}).exit_code == 0


def test_status_config_missing_exits_with_78(tmp_path: Path) -> None:
    env = {"EVSE_MQTT_BRIDGE__HTTP__PORT": str(free_port())}
    assert _status("--config", tmp_path / "config.toml", env=env).exit_code == 78


@pytest.mark.parametrize("url", ["127.0.0.1:9480", "file:///etc/passwd", "http://", "http://a?b", "http://[", "x"])
def test_status_invalid_url_is_a_usage_error(url: str) -> None:
    assert _status("--url", url).exit_code == 2


def test_status_proxy_url_keeps_path_and_hides_password() -> None:
    with serve_snapshot(*SITE) as page:
        assert _status("--url", page.url + "/bridges/north/").exit_code == 0
        assert page.paths == ["/bridges/north/api/picture"]
        page.status = 401
        result = _status("--url", page.url.replace("http://", "http://user:pass-word@"))
        assert result.exit_code == 69
        assert "401" in result.stderr
        assert "pass-word" not in result.stderr


# --- errors


def test_status_connection_rejectd_advises() -> None:
    url = f"http://{HOST}:{free_port()}"
    result = _status("--url", url)
    assert result.exit_code == 69
    assert re.fullmatch(
        rf"{url}: no bridge answers: .*refused; is the bridge running .*http\.enabled.*--url.*\n", result.stderr
    )


def test_status_no_response_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_client, "TIMEOUT", 0.2)
    with socket.create_server((HOST, 0)) as listener:
        result = _status("--url", f"http://{HOST}:{listener.getsockname()[1]}")
    assert result.exit_code == 69
    assert "timed out" in result.stderr


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"at": 1}', b"[" * 100_000, b"\xff"])
def test_status_other_program_answers_is_reported(body: bytes) -> None:
    with serve_snapshot() as page:
        page.body = body
        result = _status("--url", page.url)
    assert result.exit_code == 69
    assert "another program answers; is the bridge running" in result.stderr


def test_status_endless_response_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_snapshot() as page:
        page.body = b" " * 100_000
        monkeypatch.setattr(status_client, "MAX_BODY", 1000)
        result = _status("--url", page.url)
    assert result.exit_code == 69
    assert "another program answers, with an endless response" in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "texts"),
    [
        (
            403,
            b"This bridge answers on\nthis machine alone.\x1b[0m",
            ("status 403: This bridge answers on this machine alone.",),
        ),
        (
            404,
            b"no such station",
            ("status 404: no such station; is the bridge running", "is the address right (--url)?"),
        ),
    ],
)
def test_status_error_response_is_explained(status: int, body: bytes, texts: tuple[str, ...]) -> None:
    with serve_snapshot() as page:
        page.status, page.body = status, body
        result = _status("--url", page.url)
    assert result.exit_code == 69
    assert all(text in result.stderr for text in texts)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_status_incompatible_version_is_named(options: tuple[str, ...]) -> None:
    with serve_snapshot() as page:
        content = json.loads(page.body)
        content["bridge"]["version"] = "9.9.9"
        content["stations"] = {"by": "uuid"}
        page.body = json.dumps(content).encode()
        result = _status("--url", page.url, *options)
    assert result.exit_code == 69
    assert "9.9.9" in result.stderr
    assert result.stdout == ""


def test_status_unknown_keys_are_ignored() -> None:
    with serve_snapshot(*SITE) as page:
        content = json.loads(page.body)
        content["stations"][0]["more"] = content["more"] = 1
        page.body = json.dumps(content).encode()
        assert _status("--url", page.url).exit_code == 0


# --- exit codes, filters, JSON


@pytest.mark.parametrize(
    ("changed", "plain", "check"),
    [
        ({}, 0, 0),
        ({"stations": (station("Yard", plug(reason=Reason.STALE)),)}, 0, 1),
        ({"stations": (station("Yard", reason=None),)}, 0, 1),
        ({"health": Health(healthy=True, ready=False, messages=("no connection",))}, 0, 1),
        ({"health": Health(healthy=False, ready=True, messages=("stuck",))}, 1, 1),
    ],
)
def test_status_exit_code_follows_health_and_check(changed: dict[str, Any], plain: int, check: int) -> None:
    with serve_snapshot(**{"stations": (station("Yard", plug()),), **changed}) as page:
        for options in ((), ("--json",), ("--unavailable",)):
            assert _status("--url", page.url, *options).exit_code == plain
            assert _status("--url", page.url, *options, "--check").exit_code == check


def test_status_check_covers_only_named_stations() -> None:
    with serve_snapshot(*SITE) as page:
        assert _status("--url", page.url, "--check", "Garage north").exit_code == 0
        assert _status("--url", page.url, "--check", "Garage south").exit_code == 1


@pytest.mark.parametrize("name", ["Garage south", "garage SOUTH", "garage-south", "uuid-of-garage-south"])
def test_status_name_alias_or_uuid_selects_a_station(name: str) -> None:
    with serve_snapshot(*SITE) as page:
        result = _status("--url", page.url, name)
    assert "of 5 plugs online" in result.stdout  # the heading is about all stations
    assert "Garage south" in result.stdout
    assert "Garage north" not in result.stdout


def test_status_unknown_station_suggests_the_nearest() -> None:
    with serve_snapshot(*SITE) as page:
        result = _status("--url", page.url, "Garage noth")
    assert result.exit_code == 2
    assert "no station 'Garage noth'; the nearest is 'Garage north'" in result.stderr


def test_status_unavailable_leaves_out_what_is_online() -> None:
    with serve_snapshot(*SITE) as page:
        result = _status("--url", page.url, "--unavailable")
        listed = result.stdout.partition("\n\n")[2]
        assert [name for name in ("north", "south", "Yard", "Attic") if name in listed] == ["south", "Yard", "Attic"]
        content = json.loads(_status("--url", page.url, "--unavailable", "--json").stdout)
        assert [item["name"] for item in content["stations"]] == ["Garage south", "Yard", "Attic"]
        assert "everything is online" in _status("--url", page.url, "--unavailable", "Garage north").stdout


def test_status_no_stations_suggests_station_add() -> None:
    with serve_snapshot() as page:
        assert "station add" in _status("--url", page.url).stdout


def test_status_json_is_what_the_bridge_serves() -> None:
    with serve_snapshot(*SITE) as page:
        result = _status("--url", page.url, "--json")
        assert result.stdout.encode() == page.body + b"\n"
        named = _status("--url", page.url, "--json", "Yard")
    content = json.loads(named.stdout)
    assert [item["name"] for item in content["stations"]] == ["Yard"]
    assert from_json(named.stdout.encode()) == snapshot(SITE[2])
    assert to_json(from_json(page.body)) == page.body


def test_status_thousand_stations_fit_the_width() -> None:
    with serve_snapshot(*(station(f"Station {number}", plug("A"), plug("B")) for number in range(1000))) as page:
        for columns in ("80", "160"):
            result = run_command("status", "--url", page.url, env={"COLUMNS": columns})
            assert (result.returncode, result.stderr) == (0, "")
            lines = result.stdout.splitlines()
            assert max(map(len, lines)) <= int(columns)
            assert sum("charging  7107 W" in line for line in lines) == 2000
