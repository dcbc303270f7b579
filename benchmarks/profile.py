"""Profiles time and memory: the minimum cost of a poll, the cost of each step of the bridge, the bytes per station."""

import time
from collections.abc import Iterator, Mapping

from benchmarks import sampling
from benchmarks.client import Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings
from benchmarks.sampling import sampled
from benchmarks.steps import costs, memory
from benchmarks.throughput import FullLoad, busy_bridge

__all__ = ["profile"]

_STATIONS = 2_000


def profile(effort: Effort) -> Iterator[Table]:
    """Profile the bridge with one station in ten changing, at QoS 0."""
    print("profile: minimum cost")
    with Rig() as rig:
        addresses = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file}
        with Client(rig, script("bare_get", **addresses, stations=effort.full_load_stations)) as client:
            client.wait_for_polls(2_000, 30)
            request = client.figures(effort.seconds).cpu_per_poll * 1000
        message_costs = {qos: _message_cost(rig, qos, effort.seconds) for qos in (0, 1)}
        print("profile: steps")
        config = rig.write_config(Settings(interval=10), range(_STATIONS))
        steps, sizes = costs(config), memory(config)
    print("profile: bridge")
    with Rig() as rig, busy_bridge(rig, effort.full_load_stations, FullLoad()) as bridge:
        bridge_figures = bridge.figures(effort.seconds)
        shares = sampled(bridge.pid, round(effort.seconds), rig.folder)
    yield _poll_table(
        bridge_figures,
        shares,
        {
            sampling.REQUEST: request,
            sampling.ANSWER: steps.parse,
            sampling.STATE: steps.apply[0.1],
            sampling.PUBLISHING: bridge_figures.messages / bridge_figures.polls * message_costs[0],
            sampling.SCHEDULING: steps.schedule,
        },
    )
    state = [
        (f"state and messages, {share:.0%} of stations changing", f"{cost:.1f}") for share, cost in steps.apply.items()
    ]
    bare = [(f"a bare message at QoS {qos}", f"{cost:.1f}") for qos, cost in message_costs.items()]
    yield Table("steps", ("step", "CPU us"), (*state, *bare))
    yield Table("memory", ("of a station", "bytes"), tuple((name, f"{size:,.0f}") for name, size in sizes.items()))


def _poll_table(bridge_figures: Figures, shares: Mapping[str, float] | None, alone: Mapping[str, float]) -> Table:
    """Return the cost of each part of a poll.

    Args:
        bridge_figures: Measurement of the running bridge.
        shares: Share of samples in each part, if py-spy is available.
        alone: Cost of a part measured on its own, in microseconds.
    """
    poll = bridge_figures.cpu_per_poll * 1000
    known_shares = shares or {}
    rows = [
        (
            part,
            f"{known_shares[part] * poll:.0f}" if part in known_shares else "-",
            f"{known_shares[part]:.0%}" if part in known_shares else "-",
            f"{alone[part]:.0f}" if part in alone else "-",
        )
        for part in sorted({*known_shares, *alone}, key=lambda part: -known_shares.get(part, 0.0))
    ]
    last = ("total", f"{poll:.0f}", "100%", f"{sum(alone.values()):.0f}")
    notes = () if shares else ("py-spy is not installed or not permitted to inspect processes: no costs in place.",)
    return Table("profile", ("part of a poll", "CPU us, in place", "share", "alone"), (*rows, last), notes)


def _message_cost(rig: Rig, qos: int, seconds: float) -> float:
    with Client(rig, script("bare_publish", broker=rig.broker.port, qos=qos)) as client:
        time.sleep(2)
        figures = client.figures(seconds)
    return figures.cpu / figures.messages * 1e6
