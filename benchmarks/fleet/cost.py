"""Measures what shards cost a member at rest: CPU, memory, and calls of the engine."""

import re
import time
import urllib.request

from benchmarks.fleet.rig import FleetRig, FleetSettings
from benchmarks.machine import usage

__all__ = ["measure_cost"]

_START = 45.0
"""Seconds until a member has begun all shards and published everything."""
_MIB = 1024**2
_CALLS = re.compile(r'^grpc_server_handled_total\{grpc_code="OK".*\} (\S+)$', re.MULTILINE)


def measure_cost(stations: int, shards: int, seconds: float) -> str:
    """Return the cost of a member that runs all shards, as one line."""
    with FleetRig(FleetSettings(stations, shards)) as fleet:
        fleet.start("m1")
        time.sleep(_START)
        pid = fleet.members["m1"].pid
        before, calls = usage(pid), _calls(fleet)
        time.sleep(seconds)
        after, more_calls = usage(pid), _calls(fleet)
    cpu = 100 * (after.cpu - before.cpu) / seconds
    rate = (more_calls - calls) / seconds
    return (
        f"{shards} shards, {stations} stations: {cpu:.2f} % CPU, {after.memory / _MIB:.1f} MiB, {after.files} files, "
        f"{rate:.2f} calls of etcd per second"
    )


def _calls(fleet: FleetRig) -> float:
    """Return the number of calls that etcd has answered."""
    with urllib.request.urlopen(f"{fleet.etcd.url}/metrics", timeout=10) as answer:  # noqa: S310  # a server of its own
        return sum(map(float, _CALLS.findall(answer.read().decode())))
