"""At an ordinary rate: the CPU cost of a poll, and the time from its response to its last message at a subscriber.

The server puts its own time into `time` in the response; the subscriber compares it with the clock of the same machine.
nginx rounds down to milliseconds, so that the measured latency is up to 1 ms too long.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks import instructions
from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.client import ROOT, Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.node_red import NodeRed, missing_reason
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings
from benchmarks.subscriber import Subscriber

__all__ = ["COUNTED_RATE", "Latencies", "counted_paced", "latency", "paced"]

_START = 60.0
_INTERVAL = 10.0
_LAST_FIELD = "dyn_current_limit"

COUNTED_RATE = 100.0
"""Polls per second while instructions are counted, which Callgrind leaves time for."""


@dataclass(slots=True)
class Latencies:
    """Collects latencies, in milliseconds from the response to the subscriber's callback."""

    values: list[float] = field(default_factory=list)
    _times: dict[str, str] = field(default_factory=dict)

    def of_state(self, _topic: str, payload: bytes) -> None:
        """Add a message of the bridge, whose last topic of a plug is `state`, which contains the time."""
        self._add(payload.partition(b'"time":"')[2].partition(b'"')[0].decode())

    def of_fields(self, topic: str, payload: bytes) -> None:
        """Add a message of another client, which publishes the fields in the order of the response, the time first."""
        prefix, _, name = topic.rpartition("/")
        if name == "time":
            self._times[prefix] = payload.decode()
        elif prefix in self._times:
            self._add(self._times[prefix])

    def _add(self, measured: str) -> None:
        self.values.append((time.time() - datetime.fromisoformat(measured).timestamp()) * 1000)

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return statistics.quantiles(self.values, n=100)[percent - 1]


def latency(effort: Effort) -> Iterator[Table]:
    """Measure CPU per poll and latency at a tenth of `effort.paced_stations` polls per second."""
    runs: list[tuple[str, Callable[[Rig, Effort], tuple[Figures, Latencies]]]] = [
        ("plain loop, requests and paho", _loop),
        ("bridge, QoS 0", lambda rig, effort: paced(rig, effort, 0)),
        ("bridge, QoS 1", lambda rig, effort: paced(rig, effort, 1)),
    ]
    if not missing_reason():
        runs.insert(0, ("Node-RED flow", _node_red))
    rows = []
    counted = {} if instructions.missing_reason() else _counted(effort)
    loop = float("nan")
    for name, run in runs:
        print(f"paced: {name}")
        with Rig(changing=0.1) as rig:
            figures, latencies = run(rig, effort)
        if run is _loop:
            loop = figures.cpu_per_poll
        rows.append((name, figures, latencies, counted.get(name, math.nan)))
    columns = (
        *("", "polls/s", "CPU ms per poll", "of the loop's", "1000 instructions"),
        *("p50 ms", "p95 ms", "p99 ms", "samples", "RSS MB"),
    )
    reason = instructions.missing_reason()
    notes = (f"Instructions were not counted: {reason}.",) if reason else ()
    yield Table("latency", columns, tuple(_row(*row, loop) for row in rows), notes)


def _counted(effort: Effort) -> dict[str, float]:
    """Return the instructions per poll by row, at a lower rate than the other figures."""
    counts = {}
    for qos in (0, 1):
        print(f"paced, instructions: bridge, QoS {qos}")
        with Rig(changing=0.1) as rig:
            counts[f"bridge, QoS {qos}"] = counted_paced(rig, effort, qos)
    return counts


def counted_paced(rig: Rig, effort: Effort, qos: int, *, tree: Path = ROOT) -> float:
    """Return the instructions per poll of a bridge at `COUNTED_RATE` polls per second."""
    stations = range(round(COUNTED_RATE * _INTERVAL))
    settings = Settings(interval=_INTERVAL, qos=qos, discovery=False)
    with _published_bridge(rig, settings, stations, tree=tree, is_counted=True) as client:
        return client.instructions_per_poll(2 * effort.counted_seconds)


def _row(name: str, figures: Figures, latencies: Latencies, counted: float, loop: float) -> tuple[str, ...]:
    return (
        name,
        f"{figures.polls:,.0f}",
        f"{figures.cpu_per_poll:.3f}",
        f"{figures.cpu_per_poll / loop:.2f}",
        spread([counted / 1000]),
        *(f"{latencies.percentile(percent):.1f}" for percent in (50, 95, 99)),
        f"{len(latencies.values):,}",
        f"{figures.memory / 2**20:.0f}",
    )


def _loop(rig: Rig, effort: Effort) -> tuple[Figures, Latencies]:
    rate = effort.paced_stations / _INTERVAL
    addresses = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file, "broker": rig.broker.port}
    with Client(rig, script("plain_loop", **addresses, stations=effort.paced_stations, rate=rate)) as client:
        return _measure(rig, client, effort, of_state=False)


def _node_red(rig: Rig, effort: Effort) -> tuple[Figures, Latencies]:
    with NodeRed(rig, effort.paced_stations, effort.paced_stations / _INTERVAL) as client:
        return _measure(rig, client, effort, of_state=False)


def paced(rig: Rig, effort: Effort, qos: int, *, tree: Path = ROOT) -> tuple[Figures, Latencies]:
    """Measure a bridge at a tenth of `effort.paced_stations` polls per second."""
    settings = Settings(interval=_INTERVAL, qos=qos, discovery=False)
    with _published_bridge(rig, settings, range(effort.paced_stations), tree=tree) as client:
        return _measure(rig, client, effort, of_state=True)


@contextmanager
def _published_bridge(
    rig: Rig, settings: Settings, stations: range, *, tree: Path = ROOT, is_counted: bool = False
) -> Iterator[Bridge]:
    """Start a bridge, and wait until it has published every station and polls are evenly distributed."""
    topics = availability_topics(stations)
    with (
        watch_availability(rig) as subscriber,
        Bridge(rig, settings, stations, tree=tree, is_counted=is_counted) as client,
    ):
        timeout = client.patience(2 * _START)
        subscriber.wait(lambda latest: latest.keys() == topics, timeout, f"{len(stations)} stations to be published")
        time.sleep(1.5 * settings.interval)
        yield client


def _measure(rig: Rig, client: Client, effort: Effort, *, of_state: bool) -> tuple[Figures, Latencies]:
    client.wait_for_polls(round(effort.paced_stations / _INTERVAL), _START)
    latencies = Latencies()
    filters = ("evse/+/+/state",) if of_state else ("evse/+/+/time", f"evse/+/+/{_LAST_FIELD}")
    receive = latencies.of_state if of_state else latencies.of_fields
    with Subscriber(rig.broker.port, *filters, on_message=receive):
        time.sleep(2)  # until the retained messages have arrived
        latencies.values.clear()
        return client.figures(effort.paced_seconds), latencies
