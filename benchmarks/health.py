"""Measures the CPU time of a health check, which containers run every few seconds."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bridge import availability_topics, environment_of, watch_availability
from benchmarks.client import ROOT, Client
from benchmarks.effort import Effort
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings
from tests.harness.net import free_port

__all__ = ["health"]

_CHECKS = 20
_START = 60.0


def health(_effort: Effort) -> Iterator[Table]:
    """Measure with one station: `health` answered by the bridge, and by the broker."""
    # An installed package is compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-m", "compileall", "-q", ROOT / "evse_mqtt_bridge"], check=True, env=environment)
    rows = [
        _row("Python alone", [sys.executable, "-c", "pass"], dict(os.environ)),
        *(_row_of_health(name, is_enabled=is_enabled) for name, is_enabled in _CASES),
    ]
    yield Table("health", ("", "CPU s", "seconds"), tuple(rows), (f"Medians of {_CHECKS} checks, with the range.",))


_CASES = (("`health`, answered by the bridge", True), ("`health` without `[http]`, answered by the broker", False))


def _row_of_health(name: str, *, is_enabled: bool) -> tuple[str, ...]:
    with Rig() as rig, watch_availability(rig) as subscriber:
        config = rig.write_config(Settings(), range(1))
        environment = environment_of(ROOT, rig) | {
            "EVSE_MQTT_BRIDGE__HTTP__ENABLED": str(is_enabled).lower(),
            "EVSE_MQTT_BRIDGE__HTTP__PORT": str(free_port()),
        }
        command = [sys.executable, "-m", "evse_mqtt_bridge"]
        with Client(rig, [*command, "run", "--config", str(config)], environment):
            topics = availability_topics(range(1))
            subscriber.wait(lambda latest: latest.keys() == topics, _START, "the station to be published")
            return _row(name, [*command, "health", "--config", config], environment)


def _row(name: str, command: list[str | Path], environment: dict[str, str]) -> tuple[str, ...]:
    found = [_costs(command, environment) for _ in range(_CHECKS)]
    cpu, seconds = zip(*found, strict=True)
    return name, spread(cpu, ".2f"), spread(seconds, ".2f")


def _costs(command: list[str | Path], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its CPU time and its duration in seconds."""
    began, before = time.monotonic(), os.times()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return cpu, time.monotonic() - began
