"""systemd's notify protocol, as a service manager receives it."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.service.systemd import ServiceNotifier
from tests.harness.service_manager import ServiceManager

PID = 4711


def _notifier(manager: ServiceManager, **environ: str) -> ServiceNotifier:
    return ServiceNotifier.from_environment({**manager.environment, **environ}, PID)


@pytest.mark.parametrize("abstract", [False, True], ids=["file", "abstract"])
def test_notifier_sends_each_message_as_one_datagram(tmp_path: Path, abstract: bool) -> None:
    with ServiceManager(tmp_path / "notify", abstract=abstract) as manager:
        notifier = _notifier(manager)
        notifier.ready("12 stations")
        notifier.status("disconnected")
        notifier.feed_watchdog()
        notifier.reloading(123_456)
        notifier.ready()
        notifier.stopping()
        assert [manager.next_message() for _ in range(6)] == [
            {"READY": "1", "STATUS": "12 stations"},
            {"STATUS": "disconnected"},
            {"WATCHDOG": "1"},
            {"RELOADING": "1", "MONOTONIC_USEC": "123456"},
            {"READY": "1"},
            {"STOPPING": "1"},
        ]


@given(text=st.text())
def test_status_any_text_assigns_nothing_else(text: str) -> None:
    with ServiceManager(Path(f"evse-mqtt-bridge-test-{os.getpid()}"), abstract=True) as manager:
        notifier = _notifier(manager)
        notifier.status(f"a{text}")
        assert manager.next_message().keys() == {"STATUS"}


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "@", "/" + 200 * "x", "/proc/nothing/notify"])
def test_notifier_without_listening_manager_does_nothing(address: str) -> None:
    notifier = ServiceNotifier.from_environment({"NOTIFY_SOCKET": address}, PID)
    notifier.ready("text")
    notifier.reloading(1)
    notifier.status("text")
    notifier.feed_watchdog()
    notifier.stopping()


def test_notifier_without_variables_does_nothing() -> None:
    assert ServiceNotifier.from_environment({"WATCHDOG_USEC": "2000000"}, PID) == ServiceNotifier()
    ServiceNotifier().ready()


def test_notifier_after_manager_restart_sends_again(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with ServiceManager(path) as manager:
        notifier = _notifier(manager)
        notifier.ready()
        manager.next_message()
    notifier.feed_watchdog()
    path.unlink()
    notifier.feed_watchdog()
    with ServiceManager(path) as manager:
        notifier.feed_watchdog()
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
def test_watchdog_interval_is_half_the_timeout(tmp_path: Path, environ: dict[str, str], interval: float | None) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        assert _notifier(manager, **environ).watchdog_interval == interval


def test_feed_watchdog_with_full_queue_does_not_wait(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        _fill(manager)
        began = time.monotonic()
        _notifier(manager).feed_watchdog()
        assert time.monotonic() - began < 0.9  # a send that waits for room takes a second


def test_ready_with_full_queue_waits_for_room(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        filled = _fill(manager)
        ready = threading.Thread(target=_notifier(manager).ready)
        ready.start()
        messages = [manager.next_message() for _ in range(filled + 1)]
        ready.join()
        assert messages[-1] == {"READY": "1"}


def _fill(manager: ServiceManager) -> int:
    """Fill the queue of the manager's socket; return the number of messages in it."""
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
