"""Compares at full load: the bridge, a plain loop, a Node-RED flow, and bare requests as the lower bound."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import instructions
from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.client import ROOT, Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.node_red import NodeRed, missing_reason
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings

__all__ = ["FullLoad", "busy_bridge", "counted_full_load", "full_load", "throughput"]


@dataclass(frozen=True, slots=True)
class FullLoad:
    """A bridge that should poll all stations every second, which is more than one core can do.

    Attributes:
        qos: MQTT QoS.
        transport: The HTTP library, as in `cloud.transport`.
        tree: The folder with the code of the bridge.
    """

    qos: int = 0
    transport: str = "auto"
    tree: Path = ROOT


_START = 60.0
_COUNTED_STATIONS = 1_500
"""Number of stations while instructions are counted: more than a client can poll every second under Callgrind."""
_LOOP = "plain loop, requests and paho"
_BRIDGE = "bridge, one station in ten changing"
_GET = "bare requests, the bridge's HTTP client"
_NODE_RED = "Node-RED flow"
_VARIANTS = (
    ("bridge, nothing changing", 0.0, FullLoad()),
    ("bridge, every second station changing", 0.5, FullLoad()),
    ("bridge, every station changing", 1.0, FullLoad()),
    ("bridge, one station in ten changing, QoS 1", 0.1, FullLoad(qos=1)),
    ("bridge without libcurl, one station in ten changing", 0.1, FullLoad(transport="httpx")),
)
"""Name, share of changing stations, and load of the rows that are measured once."""


def throughput(effort: Effort) -> Iterator[Table]:
    """Measure polls per second on one core, and the cost of each."""
    figures: dict[str, list[Figures]] = defaultdict(list)
    for number in range(effort.rounds):
        print(f"full load: round {number + 1} of {effort.rounds}")
        with Rig(changing=0.1) as rig:
            figures[_LOOP].append(_loop(rig, effort))
        with Rig(changing=0.1) as rig:
            figures[_BRIDGE].append(full_load(rig, effort, FullLoad()))
        with Rig(changing=0.1) as rig:
            figures[_GET].append(_bare_get(rig, effort))
        if not missing_reason():
            with Rig(changing=0.1) as rig:
                figures[_NODE_RED].append(_node_red(rig, effort))
    for name, changing, load in _VARIANTS:
        print(f"full load: {name}")
        with Rig(changing=changing) as rig:
            figures[name].append(full_load(rig, effort, load))
    yield _table(figures, {} if instructions.missing_reason() else _counted(effort))


def _counted(effort: Effort) -> dict[str, float]:
    """Return the instructions per poll by row."""
    counts = {}
    with Rig(changing=0.1) as rig, _loop_client(rig, _COUNTED_STATIONS, is_counted=True) as client:
        counts[_LOOP] = _count(client, effort, 100)
    with Rig(changing=0.1) as rig, _bare_get_client(rig, _COUNTED_STATIONS, is_counted=True) as client:
        counts[_GET] = _count(client, effort, 300)
    for name, changing, load in ((_BRIDGE, 0.1, FullLoad()), *_VARIANTS):
        print(f"full load, instructions: {name}")
        with Rig(changing=changing) as rig:
            counts[name] = counted_full_load(rig, effort, load)
    return counts


def _count(client: Client, effort: Effort, first_polls: int) -> float:
    client.wait_for_polls(first_polls, _START)
    return client.instructions_per_poll(effort.counted_seconds)


def _table(figures: dict[str, list[Figures]], counts: dict[str, float]) -> Table:
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
                f"{counts[name] / 1000:,.0f}" if name in counts else "-",
                spread([each.messages / each.polls for each in runs], ".1f"),
                f"{max(each.memory for each in runs) / 2**20:.0f}",
            )
        )
        if max(each.cpu for each in runs) < 0.9:
            notes.append(f"*{name}* used less than 90 % of its core: with a whole core it would be faster.")
    if missing_reason():
        notes.append(f"Node-RED was not measured: {missing_reason()}.")
    if not counts:
        notes.append(f"Instructions were not counted: {instructions.missing_reason()}.")
    columns = ("", "polls/s", "times the loop", "CPU ms per poll", "1000 instructions", "messages per poll", "RSS MB")
    return Table("throughput", columns, tuple(rows), tuple(notes))


def _loop(rig: Rig, effort: Effort) -> Figures:
    with _loop_client(rig, effort.full_load_stations) as client:
        client.wait_for_polls(500, _START)
        return client.figures(effort.seconds)


def _loop_client(rig: Rig, stations: int, *, is_counted: bool = False) -> Client:
    addresses = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file, "broker": rig.broker.port}
    return Client(rig, script("plain_loop", **addresses, stations=stations), is_counted=is_counted)


def _bare_get_client(rig: Rig, stations: int, *, is_counted: bool = False) -> Client:
    addresses = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file}
    return Client(rig, script("bare_get", **addresses, stations=stations), is_counted=is_counted)


def _bare_get(rig: Rig, effort: Effort) -> Figures:
    with _bare_get_client(rig, effort.full_load_stations) as client:
        client.wait_for_polls(2_000, _START)
        return client.figures(effort.seconds)


def _node_red(rig: Rig, effort: Effort) -> Figures:
    with NodeRed(rig, effort.full_load_stations) as client:
        client.wait_for_polls(1_000, _START)
        return client.figures(effort.seconds)


def full_load(rig: Rig, effort: Effort, load: FullLoad) -> Figures:
    """Measure a bridge at full load."""
    with busy_bridge(rig, effort.full_load_stations, load) as client:
        return client.figures(effort.seconds)


def counted_full_load(rig: Rig, effort: Effort, load: FullLoad) -> float:
    """Return the instructions per poll at full load."""
    with busy_bridge(rig, _COUNTED_STATIONS, load, is_counted=True) as client:
        return client.instructions_per_poll(effort.counted_seconds)


@contextmanager
def busy_bridge(rig: Rig, count: int, load: FullLoad, *, is_counted: bool = False) -> Iterator[Bridge]:
    """Start a bridge with more stations than it can poll, and wait until it has polled each at least once."""
    stations = range(count)
    topics = availability_topics(stations)
    settings = Settings(interval=1, qos=load.qos, discovery=False, transport=load.transport)
    with (
        watch_availability(rig) as subscriber,
        Bridge(rig, settings, stations, tree=load.tree, is_counted=is_counted) as client,
    ):
        timeout = client.patience(3 * _START)
        subscriber.wait(lambda latest: latest.keys() == topics, timeout, f"{count} stations to be published")
        client.wait_for_polls(2 * count + rig.cloud.polls(), _START)
        yield client
