"""Ports on 127.0.0.1."""

import random
import socket
import time
from collections.abc import Callable

__all__ = ["HOST", "free_port", "is_listening", "wait_until_listening"]

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on, below the range from which outgoing connections take theirs."""
    dice = random.SystemRandom()  # not the shared generator, which hypothesis seeds
    while True:
        port = dice.randrange(20_000, 32_000)
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
