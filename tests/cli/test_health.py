"""`health`: the report of the bridge, else the availability on its broker."""

import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from evse_mqtt_bridge.cli.main import cli
from tests.harness import BridgeProcess, CloudServer, Mosquitto, Observer
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, write_config
from tests.harness.net import free_port

AVAILABILITY = "evse/bridge/availability"


class Listener(HTTPServer):
    """An HTTP server that gives every request the same response."""

    status = 200
    name = "evse-mqtt-bridge"
    body = b"all is well\n"
    client_id = ""
    paths: list[str]

    def __init__(self) -> None:
        self.paths = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:  # name given by http.server
        self.server.paths.append(self.path)
        self.send_response_only(self.server.status)
        self.send_header("Server", self.server.name)
        self.send_header("Location", "/elsewhere")
        if self.server.client_id:
            self.send_header("Bridge-Client-Id", self.server.client_id)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def tables(broker: Mosquitto, cloud: CloudServer) -> dict[str, Any]:
    """A configuration of a bridge that serves /healthz, and whose only station answers."""
    cloud.answer(EXAMPLE_EVSE, status_example())
    return config_tables(
        broker, cloud, polling={"stale_after": 0}, http={"enabled": True, "host": "127.0.0.1", "port": free_port()}
    )


def _health(tmp_path: Path, tables: dict[str, Any]) -> tuple[int, str]:
    config = write_config(tmp_path / "config.toml", tables)
    result = CliRunner().invoke(cli, ["health", "--config", str(config)])
    return result.exit_code, result.output.strip()


@pytest.mark.parametrize(
    ("status", "name", "body", "expected"),
    [
        (200, "evse-mqtt-bridge", b"all is well\n", (0, "all is well")),
        (200, "evse-mqtt-bridge", b"", (0, "status 200")),
        (503, "evse-mqtt-bridge", b"the poller is late\n", (69, "the poller is late")),
        (503, "evse-mqtt-bridge", b"one\x1b[2J\nother\xff\n", (69, "one [2J\nother\ufffd")),
        (404, "evse-mqtt-bridge", b"text", (69, "is not a bridge")),
        (302, "evse-mqtt-bridge", b"text", (69, "is not a bridge")),
        (200, "nginx", b"text", (69, "is not a bridge")),
    ],
)
def test_health_listener_answers_reports_its_response(
    tmp_path: Path,
    tables: dict[str, Any],
    listener: Listener,
    status: int,
    name: str,
    body: bytes,
    expected: tuple[int, str],
) -> None:
    listener.status, listener.name, listener.body = status, name, body
    tables["http"]["port"] = listener.server_port
    code, text = _health(tmp_path, tables)
    assert code == expected[0]
    assert expected[1] in text
    assert listener.paths == ["/healthz"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_health_any_host_setting_finds_the_bridge(
    tmp_path: Path, tables: dict[str, Any], listener: Listener, host: str
) -> None:
    tables["http"] = {"enabled": True, "host": host, "port": listener.server_port}
    assert _health(tmp_path, tables) == (0, "all is well")


def test_health_other_protocol_on_port_fails(tmp_path: Path, tables: dict[str, Any]) -> None:
    tables["http"]["port"] = tables["mqtt"]["port"]  # the broker closes connections that are not MQTT
    code, text = _health(tmp_path, tables)
    assert code == 69
    assert "does not answer" in text or "is not a bridge" in text


def test_health_running_bridge_passes_until_it_hangs(
    tmp_path: Path, tables: dict[str, Any], observer: Observer
) -> None:
    with BridgeProcess.run(write_config(tmp_path / "config.toml", tables)) as bridge:
        observer.wait_for(AVAILABILITY, "online")
        assert _health(tmp_path, tables)[0] == 0
        other = {**tables, "mqtt": {**tables["mqtt"], "client_id": "another"}}
        assert "another bridge answers" in _health(tmp_path, other)[1]
        bridge.send_signal(signal.SIGSTOP)
        code, text = _health(tmp_path, tables)
        assert code == 69
        assert "does not answer" in text


def test_health_nothing_listens_asks_the_broker(tmp_path: Path, tables: dict[str, Any], observer: Observer) -> None:
    assert _health(tmp_path, tables) == (69, "the bridge is not known to the broker")
    observer.publish(AVAILABILITY, "online", retain=True)
    assert _health(tmp_path, tables) == (0, "online")
    observer.publish(AVAILABILITY, "offline", retain=True)
    assert _health(tmp_path, tables) == (69, "the bridge is offline")


def test_health_other_bridge_on_port_asks_the_broker(
    tmp_path: Path, tables: dict[str, Any], listener: Listener, observer: Observer
) -> None:
    tables["http"]["port"] = listener.server_port
    tables["mqtt"]["client_id"] = "süd #2"
    listener.client_id = "s%C3%BCd%20%232"
    assert _health(tmp_path, tables) == (0, "all is well")
    listener.client_id = "north"
    observer.publish(AVAILABILITY, "online", retain=True)
    code, text = _health(tmp_path, tables)
    assert code == 0
    assert f"another bridge answers at 127.0.0.1:{listener.server_port}, north" in text
    assert text.endswith("online")
    observer.publish(AVAILABILITY, "offline", retain=True)
    assert _health(tmp_path, tables)[0] == 69


def test_health_page_disabled_asks_only_the_broker(
    tmp_path: Path, tables: dict[str, Any], listener: Listener, observer: Observer
) -> None:
    tables["http"] = {"enabled": False, "port": listener.server_port}
    observer.publish(AVAILABILITY, "online", retain=True)
    assert _health(tmp_path, tables) == (0, "online")
    assert listener.paths == []


@pytest.mark.parametrize(("payload", "result"), [("online", (0, "online")), ("offline", (69, "member m1 is offline"))])
def test_health_of_a_member_is_its_own_availability(
    tmp_path: Path, tables: dict[str, Any], observer: Observer, payload: str, result: tuple[int, str]
) -> None:
    tables["http"] = {"enabled": False}
    tables["fleet"] = {"engine": "etcd", "endpoints": ["http://127.0.0.1:1"], "member": "m1"}
    observer.publish(AVAILABILITY, "offline", retain=True)
    observer.publish("evse/bridge/members/m1", payload, retain=True)
    assert _health(tmp_path, tables) == result


def test_health_no_bridge_no_broker_names_the_broker(tmp_path: Path, tables: dict[str, Any], broker: Mosquitto) -> None:
    broker.stop()
    code, text = _health(tmp_path, tables)
    assert code == 69
    assert f"broker {broker.host}:{broker.port}" in text


@pytest.mark.parametrize(
    "text", ["[http]\nport = PORT\n[mqtt\n", '[mqtt]\nhost = "h"\n[http]\nport = 0\n', "[http]\nport = PORT\n"]
)
def test_health_wrong_configuration_exits_with_78(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(text.replace("PORT", str(free_port())))
    result = CliRunner().invoke(cli, ["health", "--config", str(config)])
    assert result.exit_code == 78
    assert result.stderr.startswith(str(config))


@pytest.mark.parametrize("client_id", ["", 'client_id = "evse-mqtt-bridge"\n'])
def test_health_configuration_became_invalid_asks_the_bridge(
    tmp_path: Path, listener: Listener, client_id: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[mqtt]\nhost = \n{client_id}[http]\nport = {listener.server_port}\n[log\n")
    result = CliRunner().invoke(cli, ["health", "--config", str(config)])
    assert (result.exit_code, result.stdout) == (0, "all is well\n")
    assert result.stderr.startswith(f"warning: the bridge runs, but could not be restarted: {config}:2: ")
    listener.status = 503
    assert CliRunner().invoke(cli, ["health", "--config", str(config)]).exit_code == 69


def test_health_file_missing_exits_with_78(tmp_path: Path) -> None:
    env = {"EVSE_MQTT_BRIDGE__HTTP__PORT": str(free_port())}
    result = CliRunner().invoke(cli, ["health", "--config", str(tmp_path / "missing.toml")], env=env)
    assert result.exit_code == 78
    assert "missing.toml" in result.stderr


def test_health_unrelated_error_matters_only_without_bridge(
    tmp_path: Path, tables: dict[str, Any], listener: Listener
) -> None:
    tables["polling"] = {"interval": "often"}
    tables["http"]["port"] = listener.server_port
    assert _health(tmp_path, tables) == (0, "all is well")
    tables["http"]["port"] = free_port()
    code, text = _health(tmp_path, tables)
    assert code == 78
    assert "polling.interval" in text
