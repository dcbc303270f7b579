"""A signal reaches the process that is meant, or none."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from evse_mqtt_bridge.support.processes import identity_of, send_signal


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_identity_of_this_process_does_not_change() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid()) != ""
    assert str(os.getpid()) in identity_of(os.getpid())


def test_identities_of_two_processes_differ(child: subprocess.Popen[bytes]) -> None:
    assert identity_of(child.pid) != identity_of(os.getpid())


def test_signal_reaches_the_process(child: subprocess.Popen[bytes]) -> None:
    assert send_signal(child.pid, identity_of(child.pid), signal.SIGTERM)
    assert child.wait(10) == -signal.SIGTERM


def test_signal_does_not_reach_another_process_with_the_pid(child: subprocess.Popen[bytes]) -> None:
    """As in another PID namespace, or when the PID is used again."""
    namespace, pid, start = identity_of(child.pid).split()
    for other in (f"{namespace} {pid} 1", f"pid:[1] {pid} {start}"):
        assert not send_signal(child.pid, other, signal.SIGTERM)
    child.kill()
    assert child.wait(10) == -signal.SIGKILL


def test_process_that_has_exited_gets_no_signal(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)
    child.kill()
    child.wait(10)
    assert not send_signal(child.pid, identity, signal.SIGTERM)
    assert identity_of(child.pid) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_process_of_another_user_is_a_permission_error(child: subprocess.Popen[bytes]) -> None:
    """Linux hides its PID namespace, which must not look like another container."""
    identity = identity_of(child.pid)
    other = identity.replace("pid:[", "pid:[1")
    os.setresuid(65534, 65534, 0)
    try:
        assert identity_of(child.pid) == ""
        with pytest.raises(PermissionError):
            send_signal(child.pid, identity, signal.SIGTERM)
        assert not send_signal(child.pid, other, signal.SIGTERM)
    finally:
        os.setresuid(0, 0, 0)
