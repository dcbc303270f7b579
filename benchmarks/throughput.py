"""Compares at full load: the bridge, a plain loop, a Node-RED flow, and bare requests as the lower bound."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.client import Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.node_red import NodeRed, missing_reason
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings

__all__ = ["busy_bridge", "full_load", "throughput"]

_START = 60.0
_LOOP = "plain loop, requests and paho"
_BRIDGE = "bridge, one station in ten changing"
_GET = "bare requests, the bridge's HTTP client"
_NODE_RED = "Node-RED flow"


def throughput(effort: Effort) -> Iterator[Table]:
    """Measure polls per second on one core, and the cost of each."""
    figures: dict[str, list[Figures]] = defaultdict(list)
    for number in range(effort.rounds):
        print(f"full load: round {number + 1} of {effort.rounds}")
        with Rig(changing=0.1) as rig:
            figures[_LOOP].append(_loop(rig, effort))
        with Rig(changing=0.1) as rig:
            figures[_BRIDGE].append(full_load(rig, effort))
        with Rig(changing=0.1) as rig:
            figures[_GET].append(_bare_get(rig, effort))
        if not missing_reason():
            with Rig(changing=0.1) as rig:
                figures[_NODE_RED].append(_node_red(rig, effort))
    for name, changing, qos in (
        ("bridge, nothing changing", 0.0, 0),
        ("bridge, every second station changing", 0.5, 0),
        ("bridge, every station changing", 1.0, 0),
        ("bridge, one station in ten changing, QoS 1", 0.1, 1),
    ):
        print(f"full load: {name}")
        with Rig(changing=changing) as rig:
            figures[name].append(full_load(rig, effort, qos))
    yield _table(figures)


def _table(figures: dict[str, list[Figures]]) -> Table:
    loop = sorted(each.polls for each in figures[_LOOP])[len(figures[_LOOP]) // 2]
    rows = []
    notes = []
    for name, runs in sorted(figures.items(), key=lambda item: max(each.polls for each in item[1])):
        times = sorted(each.polls for each in runs)[len(runs) // 2] / loop
        rows.append(
            (
                name,
                spread([each.polls for each in runs]),
                f"{times:.1f}",
                spread([each.cpu_per_poll for each in runs], ".3f"),
                spread([each.messages / each.polls for each in runs], ".1f"),
                f"{max(each.memory for each in runs) / 2**20:.0f}",
            )
        )
        if max(each.cpu for each in runs) < 0.9:
            notes.append(f"*{name}* used less than 90 % of its core: with a whole core it would be faster.")
    if missing_reason():
        notes.append(f"Node-RED was not measured: {missing_reason()}.")
    columns = ("", "polls/s", "times the loop", "CPU ms per poll", "messages per poll", "RSS MB")
    return Table("throughput", columns, tuple(rows), tuple(notes))


def _loop(rig: Rig, effort: Effort) -> Figures:
    addresses = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file, "broker": rig.broker.port}
    with Client(rig, script("plain_loop", **addresses, stations=effort.full_load_stations)) as client:
        client.wait_for_polls(500, _START)
        return client.figures(effort.seconds)


def _bare_get(rig: Rig, effort: Effort) -> Figures:
    addresses = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file}
    with Client(rig, script("bare_get", **addresses, stations=effort.full_load_stations)) as client:
        client.wait_for_polls(2_000, _START)
        return client.figures(effort.seconds)


def _node_red(rig: Rig, effort: Effort) -> Figures:
    with NodeRed(rig, effort.full_load_stations) as client:
        client.wait_for_polls(1_000, _START)
        return client.figures(effort.seconds)


def full_load(rig: Rig, effort: Effort, qos: int = 0) -> Figures:
    """Measure a bridge that should poll all stations every second, which is more than one core can do."""
    with busy_bridge(rig, effort, qos) as client:
        return client.figures(effort.seconds)


@contextmanager
def busy_bridge(rig: Rig, effort: Effort, qos: int = 0) -> Iterator[Bridge]:
    """Start a bridge with more stations than it can poll, and wait until it has polled each at least once."""
    stations = range(effort.full_load_stations)
    topics = availability_topics(stations)
    settings = Settings(interval=1, qos=qos, discovery=False)
    with watch_availability(rig) as subscriber, Bridge(rig, settings, stations) as client:
        subscriber.wait(
            lambda latest: latest.keys() == topics, 3 * _START, f"{effort.full_load_stations} stations to be published"
        )
        client.wait_for_polls(2 * effort.full_load_stations + rig.cloud.polls(), _START)
        yield client
