"""Reloads of a running bridge: they keep states and delay nothing. See also test_lifecycle.py."""

import asyncio
import fcntl
import json
import os
import signal
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from evse_mqtt_bridge.config.load import Loaded
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.service.supervisor import Supervisor
from evse_mqtt_bridge.service.systemd import ServiceNotifier
from tests.faults.setup import resident_memory
from tests.harness import BridgeProcess, CloudServer, Observer
from tests.harness.cloud import EXAMPLE_EVSE, Answer, plug_object, status_example
from tests.harness.configuration import write_config
from tests.harness.net import free_port
from tests.service.conftest import Start

_AVAILABILITY = "evse/bridge/availability"
_PLUG = f"evse/{EXAMPLE_EVSE}/{plug_object()['plug_uuid']}"


@contextmanager
def _hanging_reload(bridge: BridgeProcess, config: Path) -> Iterator[None]:
    """Reload a configuration that does not end: the bridge has read its beginning, and waits for the rest."""
    config.unlink()
    os.mkfifo(config, 0o600)
    # With a writer before the bridge opens the pipe, the bridge cannot find the pipe without content.
    pipe = os.open(config, os.O_RDWR)
    try:
        os.write(pipe, b"#")
        bridge.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4) != b"\0" * 4:
            assert time.monotonic() < deadline, "the bridge does not read its configuration"
            time.sleep(0.01)
        yield
    finally:
        os.close(pipe)


def test_stop_during_a_hanging_reload_exits(config: Path, observer: Observer, bridge_process: Start) -> None:
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    with _hanging_reload(bridge, config):
        bridge.stop()
    observer.wait_for(_AVAILABILITY, "offline")


def test_reload_of_a_fifo_is_rejected_and_the_next_one_works(config: Path, bridge_process: Start) -> None:
    bridge = bridge_process(config)
    bridge.wait_for_line("station available")
    text = config.read_text()
    config.unlink()
    os.mkfifo(config, 0o600)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("reload failed.*cannot be read: it is a pipe without content")
    config.unlink()
    config.write_text(text)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    bridge.stop()


@pytest.mark.parametrize("key", ["token_file", "ca_file"])
def test_reload_that_names_a_fifo_is_rejected(
    tmp_path: Path, tables: dict[str, Any], bridge_process: Start, key: str
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    bridge.wait_for_line("station available")
    os.mkfifo(tmp_path / "fifo", 0o600)
    table = tables["stations"][0] if key == "token_file" else tables["cloud"]
    table.pop("token", None)
    table[key] = "fifo"
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line(f"reload failed.*{key}: .*/fifo cannot be read: it is (a pipe without|not a regular)")
    bridge.stop()


@pytest.mark.asyncio(loop_factories=["virtual_time"])
async def test_reload_that_cannot_read_in_time_is_rejected() -> None:
    """A read from a network share may hang for hours."""
    config = Config.model_validate({"mqtt": {"host": "broker.test"}, "http": {"enabled": False}})
    log = StringIO()
    supervisor = Supervisor(config, make_logger("info", "json", log), ServiceNotifier())
    answered = threading.Event()

    def hang() -> Loaded:
        answered.wait()
        return Loaded(config)

    began = asyncio.get_running_loop().time()
    await supervisor.reload(hang, asyncio.get_running_loop().create_future())
    answered.set()
    assert asyncio.get_running_loop().time() - began == pytest.approx(30)
    line = json.loads(log.getvalue())
    assert (line["event"], "within 30 s" in line["problem"]) == ("configuration_rejected", True)


def test_reload_with_another_log_format_uses_it_at_once(
    tmp_path: Path, tables: dict[str, Any], observer: Observer, bridge_process: Start
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    write_config(config, tables | {"log": {"format": "json"}})
    config.chmod(0o644)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line('"message": *"configuration reloaded"')
    bridge.wait_for_line('{"detail": ".*secrets that other users can read.*"message": *"configuration warning"')


def test_reload_with_the_same_cloud_keeps_its_retry_after(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    cloud.answer(EXAMPLE_EVSE, "wait", status=429, headers={"Retry-After": "3600"})
    port = free_port()
    tables["http"] = {"port": port}
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    bridge.wait_for_line("rate limited by the cloud")
    cloud.answer(EXAMPLE_EVSE, status_example())  # another poll would get no Retry-After
    tables["cloud"]["timeout"] = 5
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    health = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
    assert (health.status_code, "rate limited" in health.text) == (200, True)
    bridge.stop()


def test_status_page_that_a_reload_enables_is_complete(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    tables["http"] = {"enabled": False}
    tables["polling"] = {"interval": 1}
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(f"evse/{EXAMPLE_EVSE}/availability", "online")
    port = free_port()
    write_config(config, tables | {"http": {"port": port}})
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    cloud.wait_for_requests(len(cloud.requests) + 2)  # the bridge has evaluated the poll before
    (station,) = httpx.get(f"http://127.0.0.1:{port}/api/picture", trust_env=False).json()["stations"]
    assert station["since"]
    assert all(plug["since"] and plug["steps"] for plug in station["plugs"])
    bridge.stop()


def test_reloads_keep_no_replaced_clients_in_memory(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, bridge_process: Start
) -> None:
    """With httpx, each client has the CAs of the system, and requests that are cancelled refer to their client."""
    cloud.answer(EXAMPLE_EVSE, Answer(hang=True))
    tables["http"] = {"enabled": False}
    tables["cloud"]["transport"] = "httpx"
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    cloud.wait_for_requests(1)
    memory = [0]
    for number in range(1, 31):
        tables["cloud"]["timeout"] = 10 + number
        write_config(config, tables)
        bridge.send_signal(signal.SIGHUP)
        cloud.wait_for_requests(number + 1)
        memory.append(resident_memory(bridge.pid))
    assert memory[30] - memory[10] < 4 * 2**20, memory
    bridge.stop()


def test_measurements_become_stale_during_a_hanging_reload(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    cloud.answer(EXAMPLE_EVSE, [plug_object(time=datetime.now(UTC).isoformat())])
    tables["polling"]["stale_after"] = 5
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(f"{_PLUG}/availability", "online")
    cloud.answer(EXAMPLE_EVSE, "wait", status=429, headers={"Retry-After": "3600"})
    bridge.wait_for_line("rate limited by the cloud")
    with _hanging_reload(bridge, config):
        observer.wait_for(f"{_PLUG}/availability_reason", "stale", timeout=30)
        bridge.stop()


def test_reload_with_other_broker_settings_keeps_polling(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    observer.wait_for(f"{_PLUG}/availability", "online")
    cloud.wait_for_requests(2)
    start = observer.count
    tables["mqtt"]["client_id"] = "another-id"
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    observer.wait(lambda: observer.payloads(_AVAILABILITY, start) == ["offline", "online"])
    observer.wait_for(f"{_PLUG}/availability", "online")
    times = [request.at for request in cloud.wait_for_requests(len(cloud.requests) + 2)]
    assert max(later - earlier for earlier, later in pairwise(times[1:])) < 1.7
    bridge.stop()


def test_reload_with_other_cloud_settings_stays_connected(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    observer.wait_for(f"{_PLUG}/availability", "online")
    observer.sync()
    start = observer.count
    cloud.answer(EXAMPLE_EVSE, [status_example()[0], plug_object(power=7200.5)])
    tables["cloud"]["timeout"] = 5
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    observer.wait_for(f"{_PLUG}/power", "7200.5")
    observer.sync()
    assert observer.payloads(_AVAILABILITY, start) == []
    assert {seen.topic for seen in observer.messages_since(start)} <= {f"{_PLUG}/power", f"{_PLUG}/state"}
    bridge.stop()


def test_reload_with_another_address_of_the_page_updates_links(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    observer.sync()
    start = observer.count
    tables["http"] = {"enabled": True, "port": free_port()}  # of loopback, so there is no link
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    bridge.wait_for_line("configuration reloaded")
    cloud.answer(EXAMPLE_EVSE, [status_example()[0], plug_object(power=7200.5)])
    observer.wait_for(f"{_PLUG}/power", "7200.5")
    observer.sync()
    assert {seen.topic for seen in observer.messages_since(start)} <= {f"{_PLUG}/power", f"{_PLUG}/state"}
    tables["http"]["public_url"] = "https://evse.example.com"
    write_config(config, tables)
    bridge.send_signal(signal.SIGHUP)
    configs = [topic for topic in observer.retained if topic.endswith("/config")]
    observer.wait(
        lambda: all('"configuration_url":"https://evse.example.com/' in observer.latest[topic] for topic in configs)
    )
    bridge.stop()


def test_reload_with_an_unusable_ca_file_changes_nothing(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, observer: Observer, bridge_process: Start
) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    observer.wait_for(_AVAILABILITY, "online")
    observer.wait_for(f"{_PLUG}/availability", "online")
    observer.sync()
    start = observer.count
    missing = str(tmp_path / "no-such-ca.pem")
    changed = {"mqtt": {**tables["mqtt"], "base_topic": "other"}, "log": {"format": "json"}, "polling": {"interval": 9}}
    for section in ("mqtt", "cloud"):
        tls = {"tls": {"ca_file": missing}} if section == "mqtt" else {"ca_file": missing}
        write_config(config, {**tables, **changed, section: {**tables[section], **tls}})
        known = len(bridge.stderr)
        bridge.send_signal(signal.SIGHUP)
        bridge.wait_for_line(f"\\[error.*{section}.*ca_file", since=known)
    times = [request.at for request in cloud.wait_for_requests(len(cloud.requests) + 3)]
    assert times[-1] - times[-2] < 1.7
    observer.sync()
    assert not [seen for seen in observer.messages_since(start) if seen.topic.startswith(("evse/", "other/"))]
    bridge.stop()
