"""Flat out, side by side in one run: the bridge, the loop, a Node-RED flow, and the floor of bare requests."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.client import Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.node_red import NodeRed, why_not
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings

__all__ = ["busy_bridge", "flat_out", "throughput"]

_START = 60.0
_LOOP = "plain loop, requests and paho"
_BRIDGE = "bridge, one station in ten changing"
_GET = "bare requests, the bridge's HTTP client"
_NODE_RED = "Node-RED flow"


def throughput(effort: Effort) -> Iterator[Table]:
    """Polls per second on one core, and what each costs."""
    figures: dict[str, list[Figures]] = defaultdict(list)
    for number in range(effort.rounds):
        print(f"flat out: round {number + 1} of {effort.rounds}")
        with Rig(changing=0.1) as rig:
            figures[_LOOP].append(_loop(rig, effort))
        with Rig(changing=0.1) as rig:
            figures[_BRIDGE].append(flat_out(rig, effort))
        with Rig(changing=0.1) as rig:
            figures[_GET].append(_bare_get(rig, effort))
        if not why_not():
            with Rig(changing=0.1) as rig:
                figures[_NODE_RED].append(_node_red(rig, effort))
    for words, changing, qos in (
        ("bridge, nothing changing", 0.0, 0),
        ("bridge, every second station changing", 0.5, 0),
        ("bridge, every station changing", 1.0, 0),
        ("bridge, one station in ten changing, QoS 1", 0.1, 1),
    ):
        print(f"flat out: {words}")
        with Rig(changing=changing) as rig:
            figures[words].append(flat_out(rig, effort, qos))
    yield _table(figures)


def _table(figures: dict[str, list[Figures]]) -> Table:
    floor = sorted(each.polls for each in figures[_LOOP])[len(figures[_LOOP]) // 2]
    rows = []
    notes = []
    for words, found in sorted(figures.items(), key=lambda item: max(each.polls for each in item[1])):
        times = sorted(each.polls for each in found)[len(found) // 2] / floor
        rows.append(
            (
                words,
                spread([each.polls for each in found]),
                f"{times:.1f}",
                spread([each.cpu_per_poll for each in found], ".3f"),
                spread([each.messages / each.polls for each in found], ".1f"),
                f"{max(each.memory for each in found) / 2**20:.0f}",
            )
        )
        if max(each.cpu for each in found) < 0.9:
            notes.append(f"*{words}* had its core to less than 90 %: what it could do with all of it is more.")
    if why_not():
        notes.append(f"Node-RED was left out: {why_not()}.")
    columns = ("", "polls/s", "times the loop", "CPU ms per poll", "messages per poll", "RSS MB")
    return Table("throughput", columns, tuple(rows), tuple(notes))


def _loop(rig: Rig, effort: Effort) -> Figures:
    where = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file, "broker": rig.broker.port}
    with Client(rig, script("plain_loop", **where, stations=effort.flat_out)) as client:
        client.wait_for_polls(500, _START)
        return client.figures(effort.seconds)


def _bare_get(rig: Rig, effort: Effort) -> Figures:
    where = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file}
    with Client(rig, script("bare_get", **where, stations=effort.flat_out)) as client:
        client.wait_for_polls(2_000, _START)
        return client.figures(effort.seconds)


def _node_red(rig: Rig, effort: Effort) -> Figures:
    with NodeRed(rig, effort.flat_out) as client:
        client.wait_for_polls(1_000, _START)
        return client.figures(effort.seconds)


def flat_out(rig: Rig, effort: Effort, qos: int = 0) -> Figures:
    """All stations are asked every second, which is more than one core can do; the first round is not measured."""
    with busy_bridge(rig, effort, qos) as client:
        return client.figures(effort.seconds)


@contextmanager
def busy_bridge(rig: Rig, effort: Effort, qos: int = 0) -> Iterator[Bridge]:
    """A bridge that is asked for more than it can do, after its first round."""
    stations = range(effort.flat_out)
    topics = availability_topics(stations)
    settings = Settings(interval=1, qos=qos, discovery=False)
    with watch_availability(rig) as watching, Bridge(rig, settings, stations) as client:
        watching.wait(lambda latest: latest.keys() == topics, 3 * _START, f"{effort.flat_out} stations to be published")
        client.wait_for_polls(2 * effort.flat_out + rig.cloud.polls(), _START)
        yield client
