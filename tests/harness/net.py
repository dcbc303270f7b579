"""Finds free ports on 127.0.0.1 and waits for servers on them."""

import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Iterator

__all__ = ["HOST", "free_port", "is_listening", "wait_until_listening"]

HOST = "127.0.0.1"


def _candidates() -> Iterator[int]:
    """Yield ports below the ephemeral range, from a part of it that only this test worker uses, round robin.

    A client that still tries to reach a stopped server thus does not connect to the server of another test.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = 12_000 // workers
    first = 20_000 + share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = random.SystemRandom().randrange(share)  # not the shared generator, which hypothesis seeds
    return (first + (start + step) % share for step in itertools.count())


_PORTS = _candidates()


def free_port() -> int:
    """Return a port that nothing listens on and that no other test has used recently."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def is_listening(port: int) -> bool:
    """Return whether a connection to the port is accepted."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_listening(port: int, exit_reason: Callable[[], str | None], timeout: float = 30) -> None:
    """Wait until the port accepts connections.

    Args:
        port: The port on 127.0.0.1.
        exit_reason: Returns why the server has exited, or None while it is running; the test fails with that text.
        timeout: Seconds until the test fails.
    """
    deadline = time.monotonic() + timeout
    while not is_listening(port):
        if (reason := exit_reason()) is not None:
            raise AssertionError(reason)
        assert time.monotonic() < deadline, f"nothing listens on port {port} after {timeout} s"
        time.sleep(0.01)  # connections are refused at once, and there is no event to wait for
