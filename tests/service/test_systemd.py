"""The notify protocol, as a service manager hears it."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.service.systemd import Service
from tests.harness.service_manager import ServiceManager

PID = 4711


def _service(manager: ServiceManager, **environ: str) -> Service:
    return Service.from_environment({**manager.environment, **environ}, PID)


@pytest.mark.parametrize("abstract", [False, True], ids=["file", "abstract"])
def test_each_message_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    with ServiceManager(tmp_path / "notify", abstract=abstract) as manager:
        service = _service(manager)
        service.ready("12 stations")
        service.status("the broker is away")
        service.alive()
        service.reloading(123_456)
        service.ready()
        service.stopping()
        assert [manager.next_message() for _ in range(6)] == [
            {"READY": "1", "STATUS": "12 stations"},
            {"STATUS": "the broker is away"},
            {"WATCHDOG": "1"},
            {"RELOADING": "1", "MONOTONIC_USEC": "123456"},
            {"READY": "1"},
            {"STOPPING": "1"},
        ]


@given(words=st.text())
def test_a_status_assigns_nothing_else(words: str) -> None:
    with ServiceManager(Path(f"evse-mqtt-bridge-test-{os.getpid()}"), abstract=True) as manager:
        service = _service(manager)
        service.status(f"a{words}")
        assert manager.next_message().keys() == {"STATUS"}


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "@", "/" + 200 * "x", "/proc/nothing/notify"])
def test_where_nobody_listens_nothing_happens(address: str) -> None:
    service = Service.from_environment({"NOTIFY_SOCKET": address}, PID)
    service.ready("words")
    service.reloading(1)
    service.status("words")
    service.alive()
    service.stopping()


def test_without_the_variables_nothing_happens() -> None:
    assert Service.from_environment({"WATCHDOG_USEC": "2000000"}, PID) == Service()
    Service().ready()


def test_a_socket_that_went_and_came_back_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with ServiceManager(path) as manager:
        service = _service(manager)
        service.ready()
        manager.next_message()
    service.alive()
    path.unlink()
    service.alive()
    with ServiceManager(path) as manager:
        service.alive()
        assert manager.next_message() == {"WATCHDOG": "1"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "30s"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time(tmp_path: Path, environ: dict[str, str], interval: float | None) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        assert _service(manager, **environ).watchdog_interval == interval


def test_a_queue_that_is_full_holds_up_no_sign_of_life(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        _fill(manager)
        began = time.monotonic()
        _service(manager).alive()
        assert time.monotonic() - began < 0.9  # with a second of patience it is no less than that


def test_a_change_of_state_waits_for_room_in_the_queue(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        filled = _fill(manager)
        ready = threading.Thread(target=_service(manager).ready)
        ready.start()
        messages = [manager.next_message() for _ in range(filled + 1)]
        ready.join()
        assert messages[-1] == {"READY": "1"}


def _fill(manager: ServiceManager) -> int:
    """Fills the queue of the manager's socket, and says with how many messages."""
    count = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        while True:
            try:
                sender.sendto(b"STATUS=full", manager.address)
            except BlockingIOError:
                assert count
                return count
            count += 1
