"""`health`: what the bridge says of itself, and where it does not, what its broker says."""

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
    """Answers every request alike."""

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

    def do_GET(self) -> None:  # http.server calls it so
        self.server.paths.append(self.path)
        self.send_response_only(self.server.status)
        self.send_header("Server", self.server.name)
        self.send_header("Location", "/elsewhere")
        if self.server.client_id:
            self.send_header("Bridge-Client-Id", self.server.client_id)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


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
    """A bridge that serves /healthz, and whose only station answers."""
    cloud.answer(EXAMPLE_EVSE, status_example())
    return config_tables(
        broker, cloud, polling={"stale_after": 0}, http={"enabled": True, "host": "127.0.0.1", "port": free_port()}
    )


def _health(tmp_path: Path, tables: dict[str, Any]) -> tuple[int, str]:
    config = write_config(tmp_path / "config.toml", tables)
    ended = CliRunner().invoke(cli, ["health", "--config", str(config)])
    return ended.exit_code, ended.output.strip()


@pytest.mark.parametrize(
    ("status", "name", "body", "expected"),
    [
        (200, "evse-mqtt-bridge", b"all is well\n", (0, "all is well")),
        (200, "evse-mqtt-bridge", b"", (0, "status 200")),
        (503, "evse-mqtt-bridge", b"the poller is late\n", (69, "the poller is late")),
        (503, "evse-mqtt-bridge", b"one\x1b[2J\nother\xff\n", (69, "one [2J\nother\ufffd")),
        (404, "evse-mqtt-bridge", b"words", (69, "is no bridge")),
        (302, "evse-mqtt-bridge", b"words", (69, "is no bridge")),
        (200, "nginx", b"words", (69, "is no bridge")),
    ],
)
def test_what_listens_is_asked(
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
    code, words = _health(tmp_path, tables)
    assert code == expected[0]
    assert expected[1] in words
    assert listener.paths == ["/healthz"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_wherever_it_listens_it_is_found(tmp_path: Path, tables: dict[str, Any], listener: Listener, host: str) -> None:
    tables["http"] = {"enabled": True, "host": host, "port": listener.server_port}
    assert _health(tmp_path, tables) == (0, "all is well")


def test_what_listens_and_is_no_web_server_is_no_bridge(tmp_path: Path, tables: dict[str, Any]) -> None:
    tables["http"]["port"] = tables["mqtt"]["port"]  # the broker hangs up on what is no MQTT
    code, words = _health(tmp_path, tables)
    assert code == 69
    assert "does not answer" in words or "is no bridge" in words


def test_a_running_bridge_is_well_until_its_loop_stands_still(
    tmp_path: Path, tables: dict[str, Any], observer: Observer
) -> None:
    with BridgeProcess.run(write_config(tmp_path / "config.toml", tables)) as bridge:
        observer.wait_for(AVAILABILITY, "online")
        assert _health(tmp_path, tables)[0] == 0
        other = {**tables, "mqtt": {**tables["mqtt"], "client_id": "another"}}
        assert "another bridge answers" in _health(tmp_path, other)[1]
        bridge.send_signal(signal.SIGSTOP)
        code, words = _health(tmp_path, tables)
        assert code == 69
        assert "does not answer" in words


def test_where_nothing_listens_the_broker_is_asked(tmp_path: Path, tables: dict[str, Any], observer: Observer) -> None:
    assert _health(tmp_path, tables) == (69, "the bridge is not known to the broker")
    observer.publish(AVAILABILITY, "online", retain=True)
    assert _health(tmp_path, tables) == (0, "online")
    observer.publish(AVAILABILITY, "offline", retain=True)
    assert _health(tmp_path, tables) == (69, "the bridge is offline")


def test_where_another_bridge_has_the_port_the_broker_is_asked(
    tmp_path: Path, tables: dict[str, Any], listener: Listener, observer: Observer
) -> None:
    tables["http"]["port"] = listener.server_port
    tables["mqtt"]["client_id"] = "süd #2"
    listener.client_id = "s%C3%BCd%20%232"
    assert _health(tmp_path, tables) == (0, "all is well")
    listener.client_id = "north"
    observer.publish(AVAILABILITY, "online", retain=True)
    code, words = _health(tmp_path, tables)
    assert code == 0
    assert f"another bridge answers at 127.0.0.1:{listener.server_port}, north" in words
    assert words.endswith("online")
    observer.publish(AVAILABILITY, "offline", retain=True)
    assert _health(tmp_path, tables)[0] == 69


def test_where_the_page_is_off_its_address_is_not_asked(
    tmp_path: Path, tables: dict[str, Any], listener: Listener, observer: Observer
) -> None:
    tables["http"] = {"enabled": False, "port": listener.server_port}
    observer.publish(AVAILABILITY, "online", retain=True)
    assert _health(tmp_path, tables) == (0, "online")
    assert listener.paths == []


def test_where_neither_is_there_it_is_told(tmp_path: Path, tables: dict[str, Any], broker: Mosquitto) -> None:
    broker.stop()
    code, words = _health(tmp_path, tables)
    assert code == 69
    assert f"broker {broker.host}:{broker.port}" in words
