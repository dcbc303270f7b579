"""Where the time and the memory go: the floor, what the bridge adds to it step by step, and the bytes of a station."""

import time
from collections.abc import Iterator

from benchmarks.client import Client, script
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings
from benchmarks.steps import costs, memory
from benchmarks.throughput import flat_out

__all__ = ["profile"]

_STATIONS = 2_000


def profile(effort: Effort) -> Iterator[Table]:
    """One station in ten changing, QoS 0."""
    print("profile: the floor")
    with Rig() as rig:
        where = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file}
        with Client(rig, script("bare_get", **where, stations=effort.flat_out)) as client:
            client.wait_for_polls(2_000, 30)
            request = client.figures(effort.seconds).cpu_per_poll * 1000
        publication = {qos: _publication(rig, qos, effort.seconds) for qos in (0, 1)}
        print("profile: the steps")
        config = rig.write_config(Settings(interval=10), range(_STATIONS))
        steps, bytes_of = costs(config), memory(config)
    print("profile: the bridge")
    with Rig() as rig:
        whole = flat_out(rig, effort)
    poll, per_poll = whole.cpu_per_poll * 1000, whole.messages / whole.polls
    parts = {
        "the request, as bare requests cost": request,
        "the answer, from bytes to a validated reading": steps.parsed,
        "the state moved on, what changed put into words": steps.taken[0.1],
        "the agenda": steps.scheduled,
        f"publishing, {per_poll:.1f} messages at {publication[0]:.0f} us": per_poll * publication[0],
    }
    parts["tasks, deadlines, log, and what the parts cost each other"] = poll - sum(parts.values())
    rows = [(name, f"{cost:.0f}", f"{cost / poll:.0%}") for name, cost in parts.items()]
    yield Table("profile", ("of a poll", "CPU us", "share"), (*rows, ("all of it", f"{poll:.0f}", "100%")))
    shares = [
        (f"state and words, {share:.0%} of stations changing", f"{cost:.1f}") for share, cost in steps.taken.items()
    ]
    floor = [(f"a publication at QoS {qos}, bare", f"{cost:.1f}") for qos, cost in publication.items()]
    yield Table("steps", ("step", "CPU us"), (*shares, *floor))
    yield Table("memory", ("of a station", "bytes"), tuple((name, f"{size:,.0f}") for name, size in bytes_of.items()))


def _publication(rig: Rig, qos: int, seconds: float) -> float:
    with Client(rig, script("bare_publish", broker=rig.broker.port, qos=qos)) as client:
        time.sleep(2)
        figures = client.figures(seconds)
    return figures.cpu / figures.messages * 1e6
