"""The modules that light commands import, which must be few so that the commands start fast."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest

from evse_mqtt_bridge.cli.main import cli
from tests.harness.bridge import clean_environment

HEAVY = frozenset(
    {
        "aiohttp",
        "asyncio",
        "httpx",
        "paho",
        "prometheus_client",
        "pycurl",
        "pydantic",
        "rich",
        "structlog",
        "tomlkit",
    }
)
"""Packages whose import costs more than the work of a light command."""

NOT_FOR_EVERY_BRIDGE = frozenset(
    {
        "aiohttp",
        "bz2",
        "difflib",
        "evse_mqtt_bridge.fleet.engines",
        "evse_mqtt_bridge.fleet.member",
        "evse_mqtt_bridge.fleet.etcd",
        "evse_mqtt_bridge.fleet.kubernetes",
        "greenlet",
        "httpx._main",
        "lzma",
        "prometheus_client",
        "pydantic.dataclasses",
        "pygments",
        "rich",
        "sqlite3",
    }
)
"""Modules that no bridge needs, or only one with a status page, a history or an engine, and that take memory."""

LIGHT_PACKAGES = frozenset({"cli", "config", "support", "web"})
"""Packages of the bridge from which light commands import some modules."""

_PROGRAM = """\
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from evse_mqtt_bridge.__main__ import main
sys.argv[1:] = json.loads(sys.argv[1])
main()
"""

_RUN_PROGRAM = """\
import contextlib, json, sys
from evse_mqtt_bridge.cli.run import run
with contextlib.suppress(Exception):
    run.main(["--config", sys.argv[1]], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""
"""Runs the bridge without a configuration, so that it ends as soon as it has imported what it needs."""


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # name given by http.server
        self.send_response_only(200)
        self.send_header("Server", "evse-mqtt-bridge")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """The configuration of a bridge that is healthy."""
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        path = tmp_path / "config.toml"
        path.write_text(f'[mqtt]\nhost = "localhost"\n[http]\nport = {server.server_port}\n')
        yield path
        server.shutdown()
        thread.join()


def _imported(*arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> set[str]:
    """Run a command that succeeds and return the modules that it imported."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps([str(argument) for argument in arguments])]
    result = subprocess.run(
        command, cwd=cwd, env=clean_environment(env), capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stderr.splitlines()[-1]))


def _assert_light(modules: set[str]) -> None:
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    packages = {name.split(".")[1] for name in modules if name.startswith("evse_mqtt_bridge.")}
    assert packages - {"__main__"} <= LIGHT_PACKAGES


def _help_arguments() -> list[list[str]]:
    assert isinstance(cli, click.Group)
    context = click.Context(cli)
    commands = [[name] for name in cli.list_commands(context)]
    commands += [["station", name] for name in ("add", "list", "remove")]
    return [["--help"], *([*command, "--help"] for command in commands)]


@pytest.mark.parametrize("arguments", [["--version"], *_help_arguments()], ids=" ".join)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    _assert_light(_imported(*arguments))


def test_health_bridge_answers_imports_nothing_heavy(config: Path) -> None:
    _assert_light(_imported("health", "--config", config))


def test_health_environment_only_imports_nothing_heavy(config: Path, tmp_path: Path) -> None:
    port = config.read_text().rpartition(" = ")[2].strip()
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {"EVSE_MQTT_BRIDGE__MQTT__HOST": "localhost", "evse_mqtt_bridge__http__port": port}
    _assert_light(_imported("health", cwd=folder, env=environment))


def test_check_imports_no_command_line_of_httpx(config: Path) -> None:
    modules = _imported("check", "--config", config)
    assert "httpx" in modules
    assert modules & {"httpx._main", "pygments"} == set()


def test_run_imports_nothing_that_it_may_not_need(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RUN_PROGRAM, str(tmp_path / "missing.toml")]
    result = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=30, check=True)
    modules = set(json.loads(result.stdout))
    assert "evse_mqtt_bridge.service.supervisor" in modules
    assert modules & NOT_FOR_EVERY_BRIDGE == set()
