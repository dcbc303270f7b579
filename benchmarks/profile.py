"""Where the time and the memory go: the floor, what the bridge adds to it step by step, and the bytes of a station."""

import time
from collections.abc import Iterator, Mapping

from benchmarks import sampling
from benchmarks.client import Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings
from benchmarks.sampling import sampled
from benchmarks.steps import costs, memory
from benchmarks.throughput import busy_bridge

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
    with Rig() as rig, busy_bridge(rig, effort) as bridge:
        whole = bridge.figures(effort.seconds)
        shares = sampled(bridge.pid, round(effort.seconds), rig.folder)
    yield _of_a_poll(
        whole,
        shares,
        {
            sampling.REQUEST: request,
            sampling.ANSWER: steps.parsed,
            sampling.STATE: steps.taken[0.1],
            sampling.PUBLISHING: whole.messages / whole.polls * publication[0],
            sampling.AGENDA: steps.scheduled,
        },
    )
    words = [
        (f"state and words, {share:.0%} of stations changing", f"{cost:.1f}") for share, cost in steps.taken.items()
    ]
    floor = [(f"a publication at QoS {qos}, bare", f"{cost:.1f}") for qos, cost in publication.items()]
    yield Table("steps", ("step", "CPU us"), (*words, *floor))
    yield Table("memory", ("of a station", "bytes"), tuple((name, f"{size:,.0f}") for name, size in bytes_of.items()))


def _of_a_poll(whole: Figures, shares: Mapping[str, float] | None, alone: Mapping[str, float]) -> Table:
    """Each part in place, by its share of what was sampled, beside what it costs `alone`, in microseconds."""
    poll = whole.cpu_per_poll * 1000
    found = shares or {}
    rows = [
        (
            part,
            f"{found[part] * poll:.0f}" if part in found else "-",
            f"{found[part]:.0%}" if part in found else "-",
            f"{alone[part]:.0f}" if part in alone else "-",
        )
        for part in sorted({*found, *alone}, key=lambda part: -found.get(part, 0.0))
    ]
    last = ("all of it", f"{poll:.0f}", "100%", f"{sum(alone.values()):.0f}")
    notes = () if shares else ("py-spy was not there, or may not look at processes here: nothing was seen in place.",)
    return Table("profile", ("of a poll", "CPU us, in place", "share", "alone"), (*rows, last), notes)


def _publication(rig: Rig, qos: int, seconds: float) -> float:
    with Client(rig, script("bare_publish", broker=rig.broker.port, qos=qos)) as client:
        time.sleep(2)
        figures = client.figures(seconds)
    return figures.cpu / figures.messages * 1e6
