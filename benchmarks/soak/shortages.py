"""Shortages of the machine around the bridge: nobody reads its log, no descriptor is free, its page is occupied."""

import resource
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from random import Random

from benchmarks.soak.environment import Environment, SoakError
from benchmarks.soak.faults import Fault
from tests.harness.net import HOST

__all__ = ["LASTING_SHORTAGES", "NO_DESCRIPTOR", "PASSING_SHORTAGES", "UNREAD_LOG"]

NO_DESCRIPTOR = "no free file descriptor"
UNREAD_LOG = "log that nobody reads"

_HALF_OPEN = 110
"""Connections; more than the page accepts."""

_PROBES = 10
_FEWEST_DESCRIPTORS = 8
"""Fewer than the bridge has open, so that it cannot open another one."""


def _unread_log(environment: Environment, _rng: Random) -> Callable[[], None]:
    environment.bridge.pause_log()
    return environment.bridge.resume_log


def _half_open_requests(environment: Environment, _rng: Random) -> Callable[[], None]:
    """Begin requests without ending them; probes of liveness must get an answer all the same."""
    with ExitStack() as stack:
        for _ in range(_HALF_OPEN):
            connection = stack.enter_context(socket.create_connection((HOST, environment.page), timeout=10))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        failed = [error for _ in range(_PROBES) if (error := _probe(environment.page))]
        if failed:
            raise SoakError(f"{len(failed)} of {_PROBES} probes failed beside {_HALF_OPEN} half-open requests", *failed)
        return stack.pop_all().close


def _probe(port: int) -> str:
    """Return why the bridge is not healthy; empty if it is."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=5) as response:
            return "" if response.status == 200 else f"status {response.status}"
    except OSError as error:  # a URLError is one
        return str(error)


def _no_descriptors(environment: Environment, rng: Random) -> Callable[[], None]:
    """Let the bridge open no file and no socket for some seconds, and reset its connections."""
    pid = environment.bridge.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (_FEWEST_DESCRIPTORS, hard))
    environment.to_broker.cut()
    environment.to_cloud.cut()
    seconds = rng.uniform(1, 6)

    def end() -> None:
        time.sleep(seconds)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    return end


PASSING_SHORTAGES: Mapping[str, Fault] = {NO_DESCRIPTOR: _no_descriptors}
"""End before the retained topics are checked."""

LASTING_SHORTAGES: Mapping[str, Fault] = {
    UNREAD_LOG: _unread_log,
    "half-open requests to the status page": _half_open_requests,
}
"""Last through the check."""
