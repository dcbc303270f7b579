"""The status page of a bridge process: stop, reload, used port, exhausted file descriptors."""

import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.harness import BridgeProcess, CloudServer, Mosquitto
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, write_config
from tests.harness.net import HOST, free_port, is_listening

StartBridge = Callable[..., BridgeProcess]


@pytest.fixture
def tables(broker: Mosquitto, cloud: CloudServer) -> dict[str, Any]:
    cloud.answer(EXAMPLE_EVSE, status_example(), token=f"token-{EXAMPLE_EVSE}")
    return config_tables(
        broker, cloud, polling={"stale_after": 0}, http={"enabled": True, "host": HOST, "port": free_port()}
    )


@contextmanager
def _event_stream(port: int) -> Iterator[socket.socket]:
    """Open an event stream and read until its first event."""
    with closing(socket.create_connection((HOST, port), timeout=10)) as viewer:
        viewer.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"event: picture" not in received:
            received += (part := viewer.recv(4096))
            assert part, received
        yield viewer


def _read_until_closed(viewer: socket.socket) -> None:
    try:
        while viewer.recv(65536):
            pass
    except ConnectionResetError:
        pass


def test_bridge_stop_does_not_wait_for_viewers(
    tmp_path: Path, tables: dict[str, Any], bridge_process: StartBridge
) -> None:
    bridge = bridge_process(write_config(tmp_path / "config.toml", tables))
    bridge.wait_for_line("status page")
    with _event_stream(tables["http"]["port"]) as viewer:
        began = time.monotonic()
        bridge.stop(timeout=5)
        assert time.monotonic() - began < 4
        _read_until_closed(viewer)


def test_reload_with_new_port_moves_page(tmp_path: Path, tables: dict[str, Any], bridge_process: StartBridge) -> None:
    config = write_config(tmp_path / "config.toml", tables)
    bridge = bridge_process(config)
    bridge.wait_for_line("status page")
    old, new = tables["http"]["port"], free_port()
    with _event_stream(old) as viewer:
        tables["http"]["port"] = new
        write_config(config, tables)
        bridge.send_signal(signal.SIGHUP)
        bridge.wait_for_line("configuration reloaded")
        _read_until_closed(viewer)
    assert not is_listening(old)
    with _event_stream(new):
        pass
    bridge.stop()


def test_used_port_is_logged_and_retried(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, bridge_process: StartBridge
) -> None:
    with socket.create_server((HOST, tables["http"]["port"])):
        bridge = bridge_process(write_config(tmp_path / "config.toml", tables))
        bridge.wait_for_line("status page unavailable.*another program uses this port")
        cloud.wait_for_requests(2)
    bridge.wait_for_line("status page .*http://", timeout=30)
    assert bridge.stderr_text.count("status page unavailable") == 1
    with _event_stream(tables["http"]["port"]):
        pass
    bridge.stop()


def test_exhausted_descriptors_do_not_stop_polling(
    tmp_path: Path, tables: dict[str, Any], cloud: CloudServer, bridge_process: StartBridge
) -> None:
    bridge = bridge_process(write_config(tmp_path / "config.toml", tables))
    bridge.wait_for_line("status page")
    cloud.wait_for_requests(2)
    limit = len(list(Path(f"/proc/{bridge.pid}/fd").iterdir())) + 10
    resource.prlimit(bridge.pid, resource.RLIMIT_NOFILE, (limit, limit))
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(closing(socket.create_connection((HOST, tables["http"]["port"]), timeout=10)))
        bridge.wait_for_line("error in the event loop.*Too many open files")
        cloud.wait_for_requests(len(cloud.requests) + 3)
    assert bridge.stderr_text.count("error in the event loop") <= 6
    with _event_stream(tables["http"]["port"]):
        pass
    bridge.stop()
