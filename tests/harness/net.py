"""Ports on 127.0.0.1."""

import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Iterator

__all__ = ["HOST", "free_port", "is_listening", "wait_until_listening"]

HOST = "127.0.0.1"


def _candidates() -> Iterator[int]:
    """Ports below the range from which outgoing connections take theirs, those of this worker alone, in turn.

    A client that still looks for a port where nobody is any more finds no stranger there.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = 12_000 // workers
    first = 20_000 + share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = random.SystemRandom().randrange(share)  # not the shared generator, which hypothesis seeds
    return (first + (start + step) % share for step in itertools.count())


_PORTS = _candidates()


def free_port() -> int:
    """A port that nobody listens on, and that no other test has had for long."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def is_listening(port: int) -> bool:
    """Whether a connection to the port is accepted."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_listening(port: int, gone: Callable[[], str | None], timeout: float = 30) -> None:
    """Returns when the port accepts connections; fails when `gone` says why that will not happen."""
    deadline = time.monotonic() + timeout
    while not is_listening(port):
        if (reason := gone()) is not None:
            raise AssertionError(reason)
        assert time.monotonic() < deadline, f"nothing listens on port {port} after {timeout} s"
        time.sleep(0.01)  # a refused connection answers at once, there is no event to wait for
