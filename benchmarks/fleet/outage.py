"""Measures an outage of etcd: whether shards move, and the longest gap between two polls of a station."""

import re
import time
from collections.abc import Callable
from itertools import pairwise

from benchmarks.cadence import polls
from benchmarks.fleet.rig import FleetRig, FleetSettings

__all__ = ["OUTAGES", "measure_outage"]

_MEMBERS = ("m1", "m2")
_SETTLING = 60.0
"""Seconds until the members share the shards, and after the outage until nothing more follows from it."""
_MOVES = re.compile("running a shard|handed over a shard|stopped a shard")

OUTAGES: dict[str, tuple[Callable[[FleetRig], None], Callable[[FleetRig], None]]] = {
    "freeze": (lambda fleet: fleet.etcd.freeze(), lambda fleet: fleet.etcd.thaw()),
    "kill": (lambda fleet: fleet.etcd.kill(), lambda fleet: fleet.etcd.start()),
    "empty": (lambda fleet: fleet.etcd.kill(), lambda fleet: fleet.etcd.empty()),
}
"""How an outage begins and ends."""


def measure_outage(stations: int, interval: float, outage: str, seconds: float) -> str:
    """Return what two members did during and after an outage, as one line."""
    begin, end = OUTAGES[outage]
    with FleetRig(FleetSettings(stations, interval=interval)) as fleet:
        for name in _MEMBERS:
            fleet.start(name)
        time.sleep(_SETTLING)
        moves, began = _moves(fleet), time.time()
        begin(fleet)
        time.sleep(seconds)
        end(fleet)
        time.sleep(_SETTLING)
        found = polls(fleet.rig.cloud.polls_log, began)
        moved = _moves(fleet) - moves
    gaps = [after - before for times in found.values() for before, after in pairwise(sorted(times))]
    return (
        f"etcd, {outage} for {seconds:g} s: {moved} moves of shards; {len(found)} of {stations} stations polled, "
        f"at most {max(gaps):.1f} s apart at an interval of {interval:g} s"
    )


def _moves(fleet: FleetRig) -> int:
    """Return the number of lines about shards in the logs of the members."""
    return sum(len(_MOVES.findall(fleet.log_of(name).read_text())) for name in _MEMBERS)
