"""Reloads, beside what tests/run/test_lifecycle.py shows: what they take along, and what they must not hold up."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.harness import CloudServer, Observer
from tests.harness.cloud import EXAMPLE_EVSE, plug_object, status_example
from tests.harness.configuration import write_config
from tests.harness.net import free_port
from tests.service.conftest import Start

_AVAILABILITY = "evse/bridge/availability"
_PLUG = f"evse/{EXAMPLE_EVSE}/{plug_object()['plug_uuid']}"


def test_ends_while_a_reload_waits_for_a_file_that_nobody_writes(
    config: Path, observer: Observer, bridge_process: Start
) -> None:
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    config.unlink()
    os.mkfifo(config, 0o600)
    bridge.send_signal(signal.SIGHUP)
    # Opening it for writing waits until the bridge has opened it for reading: the reload is under way then.
    with config.open("w"):
        bridge.stop()
    observer.wait_for(_AVAILABILITY, "offline")


def test_what_is_logged_changes_with_a_reload(
    tmp_path: Path, tables: dict[str, Any], observer: Observer, bridge_process: Start
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    write_config(config, tables | {"log": {"format": "json"}})
    config.chmod(0o644)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line('"message": *"configuration taken over"')
    bridge.wait_for_line('{"detail": ".*others can read this file.*"message": *"configuration"')


def test_a_wait_that_the_cloud_asked_for_outlives_other_settings_of_the_cloud(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    cloud.answer(EXAMPLE_EVSE, "wait", status=429, headers={"Retry-After": "3600"})
    port = free_port()
    tables["http"] = {"port": port}
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    bridge.wait_for_line("the cloud asks to wait")
    cloud.answer(EXAMPLE_EVSE, status_example())  # so that whoever asks again hears of no wait
    tables["cloud"]["timeout"] = 5
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration taken over")
    health = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    assert (health.status_code, "asked to wait" in health.text) == (200, True)
    bridge.stop()


def test_measurements_grow_old_while_a_reload_waits_for_a_file_that_nobody_writes(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    cloud.answer(EXAMPLE_EVSE, [plug_object(time=datetime.now(UTC).isoformat())])
    tables["polling"]["stale_after"] = 5
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(f"{_PLUG}/availability", "online")
    cloud.answer(EXAMPLE_EVSE, "wait", status=429, headers={"Retry-After": "3600"})
    bridge.wait_for_line("the cloud asks to wait")
    config.unlink()
    os.mkfifo(config, 0o600)
    bridge.send_signal(signal.SIGHUP)
    with config.open("w"):  # the reload is under way then
        observer.wait_for(f"{_PLUG}/availability_reason", "stale", timeout=30)
        bridge.stop()
