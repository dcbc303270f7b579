"""Measures the resident memory of the bridge: the interpreter, the imports, the stations, and each optional part."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bridge import availability_topics, environment_of, watch_availability
from benchmarks.client import ROOT, Client
from benchmarks.effort import Effort
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings
from tests.harness.net import HOST, free_port

__all__ = ["footprint"]

_STATIONS = 500
_CONNECTIONS = 20
"""The default of `cloud.max_concurrency`."""

_START = 90.0
_IMPORTS = """
import contextlib
from evse_mqtt_bridge.cli.run import run
with contextlib.suppress(Exception):
    run.main(["--config", "/nonexistent"], standalone_mode=False)
"""
"""Ends as soon as it has imported what every bridge needs."""


@dataclass(frozen=True, slots=True)
class _Setup:
    """A bridge to measure.

    Attributes:
        stations: Number of stations.
        history: Whether it keeps a history, in SQLite.
        page: Whether it serves the status page, which is then opened once.
        transport: The HTTP library, as in `cloud.transport`.
        connections: Maximum number of concurrent requests.
    """

    stations: int = _STATIONS
    history: bool = False
    page: bool = False
    transport: str = "auto"
    connections: int = _CONNECTIONS


_SETUPS = (
    ("bridge with 1 station, without history and status page", _Setup(stations=1)),
    ("bridge with 500 stations, without history and status page", _Setup()),
    ("the same, with httpx instead of libcurl", _Setup(transport="httpx")),
    ("with the history", _Setup(history=True)),
    ("with the status page", _Setup(page=True)),
    ("with both, the default", _Setup(history=True, page=True)),
    ("with both, and 100 concurrent requests", _Setup(history=True, page=True, connections=100)),
)


def footprint(effort: Effort) -> Iterator[Table]:
    """Measure with an interval of 10 s, QoS 1, discovery, and one station in ten changing."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # Compiling at the start would add to the memory. An installed package is compiled.
    subprocess.run([sys.executable, "-m", "compileall", "-q", ROOT / "evse_mqtt_bridge"], check=True, env=environment)
    rows = [_row("Python", [_of_program("")]), _row("all that every bridge imports", [_of_program(_IMPORTS)])]
    for name, setup in _SETUPS:
        print(f"footprint: {name}")
        rows.append(_row(name, [_of_bridge(effort, setup) for _ in range(effort.rounds)]))
    yield Table("footprint", ("", "RSS MB", "of it private"), tuple(rows))


def _row(name: str, found: list[tuple[float, float]]) -> tuple[str, ...]:
    resident, private = zip(*found, strict=True)
    return name, spread(resident), spread(private)


def _of_program(text: str) -> tuple[float, float]:
    """Return the resident and the private memory at the end of a Python program, in MB."""
    command = [sys.executable, "-c", f"{text}\nprint(open('/proc/self/smaps_rollup').read())"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return _of_smaps(result.stdout)


def _of_bridge(effort: Effort, setup: _Setup) -> tuple[float, float]:
    """Return the resident and the private memory of a bridge that has polled for some time, in MB."""
    stations = range(setup.stations)
    topics = availability_topics(stations)
    settings = Settings(interval=10, connections=setup.connections, transport=setup.transport)
    with ExitStack() as stack:
        rig = stack.enter_context(Rig(changing=0.1))
        config = rig.write_config(settings, stations)
        port = free_port()
        environment = environment_of(ROOT, rig) | _variables(setup, port)
        command = [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", str(config)]
        subscriber = stack.enter_context(watch_availability(rig))
        bridge = stack.enter_context(Client(rig, command, environment))
        subscriber.wait(lambda latest: latest.keys() == topics, _START, f"{setup.stations} stations to be published")
        if setup.page:
            _open_page(port, history=setup.history)
        time.sleep(effort.paced_seconds)
        return _of_smaps(Path(f"/proc/{bridge.pid}/smaps_rollup").read_text())


def _variables(setup: _Setup, port: int) -> dict[str, str]:
    return {
        "EVSE_MQTT_BRIDGE__HISTORY__ENABLED": str(setup.history).lower(),
        "EVSE_MQTT_BRIDGE__HTTP__ENABLED": str(setup.page).lower(),
        "EVSE_MQTT_BRIDGE__HTTP__PORT": str(port),
    }


def _open_page(port: int, *, history: bool) -> None:
    """Request what a browser and Prometheus do, because the bridge imports some modules for the first request."""
    for path in ("/", "/api/picture", "/metrics", *(("/api/history",) if history else ())):
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10) as response:
            response.read()


def _of_smaps(rollup: str) -> tuple[float, float]:
    """Return the resident and the private memory in MB from the content of a file smaps_rollup."""
    sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in rollup.splitlines()[1:] if line}
    return sizes["Rss:"], sizes["Anonymous:"]
