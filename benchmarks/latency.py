"""At an ordinary pace: what a poll costs, and how long after the answer its last message reaches a subscriber.

The answer carries the server's own time in `time`; the subscriber compares it with its clock, which is the same
machine's. nginx tells whole milliseconds that are over, so that what is measured is up to 1 ms too long.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.client import Client, Figures, script
from benchmarks.effort import Effort
from benchmarks.node_red import NodeRed, why_not
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings
from benchmarks.subscriber import Subscriber

__all__ = ["latency"]

_START = 60.0
_INTERVAL = 10.0
_LAST_FIELD = "dyn_current_limit"


@dataclass(slots=True)
class _Delays:
    """Milliseconds from answer to subscriber, from what a callback of a subscriber is given."""

    values: list[float] = field(default_factory=list)
    _times: dict[str, str] = field(default_factory=dict)

    def of_state(self, _topic: str, payload: bytes) -> None:
        """The bridge says `state` last of a plug's values, and the time stands in it."""
        self._add(payload.partition(b'"time":"')[2].partition(b'"')[0].decode())

    def of_fields(self, topic: str, payload: bytes) -> None:
        """Others say the fields in the order of the answer, the time first."""
        prefix, _, name = topic.rpartition("/")
        if name == "time":
            self._times[prefix] = payload.decode()
        elif prefix in self._times:
            self._add(self._times[prefix])

    def _add(self, measured: str) -> None:
        self.values.append((time.time() - datetime.fromisoformat(measured).timestamp()) * 1000)

    def percentile(self, percent: int) -> float:
        """In milliseconds."""
        return statistics.quantiles(self.values, n=100)[percent - 1]


def latency(effort: Effort) -> Iterator[Table]:
    """CPU per poll and latency at a tenth of `effort.paced` polls per second."""
    runs: list[tuple[str, Callable[[Rig, Effort], tuple[Figures, _Delays]]]] = [
        ("plain loop, requests and paho", _loop),
        ("bridge, QoS 0", lambda rig, effort: _bridge(rig, effort, 0)),
        ("bridge, QoS 1", lambda rig, effort: _bridge(rig, effort, 1)),
    ]
    if not why_not():
        runs.insert(0, ("Node-RED flow", _node_red))
    rows = []
    loop = float("nan")
    for words, run in runs:
        print(f"paced: {words}")
        with Rig(changing=0.1) as rig:
            figures, delays = run(rig, effort)
        if run is _loop:
            loop = figures.cpu_per_poll
        rows.append((words, figures, delays))
    columns = ("", "polls/s", "CPU ms per poll", "of the loop's", "p50 ms", "p95 ms", "p99 ms", "samples", "RSS MB")
    yield Table("latency", columns, tuple(_row(*row, loop) for row in rows))


def _row(words: str, figures: Figures, delays: _Delays, loop: float) -> tuple[str, ...]:
    return (
        words,
        f"{figures.polls:,.0f}",
        f"{figures.cpu_per_poll:.3f}",
        f"{figures.cpu_per_poll / loop:.2f}",
        *(f"{delays.percentile(percent):.1f}" for percent in (50, 95, 99)),
        f"{len(delays.values):,}",
        f"{figures.memory / 2**20:.0f}",
    )


def _loop(rig: Rig, effort: Effort) -> tuple[Figures, _Delays]:
    rate = effort.paced / _INTERVAL
    where = {"cloud": rig.cloud.url, "ca": rig.cloud.ca_file, "broker": rig.broker.port}
    with Client(rig, script("plain_loop", **where, stations=effort.paced, rate=rate)) as client:
        return _measured(rig, client, effort, of_state=False)


def _node_red(rig: Rig, effort: Effort) -> tuple[Figures, _Delays]:
    with NodeRed(rig, effort.paced, effort.paced / _INTERVAL) as client:
        return _measured(rig, client, effort, of_state=False)


def _bridge(rig: Rig, effort: Effort, qos: int) -> tuple[Figures, _Delays]:
    stations = range(effort.paced)
    topics = availability_topics(stations)
    settings = Settings(interval=_INTERVAL, qos=qos, discovery=False)
    with watch_availability(rig) as watching, Bridge(rig, settings, stations) as client:
        watching.wait(lambda latest: latest.keys() == topics, 2 * _START, f"{effort.paced} stations to be published")
        time.sleep(1.5 * _INTERVAL)  # until the stations are on their grid
        return _measured(rig, client, effort, of_state=True)


def _measured(rig: Rig, client: Client, effort: Effort, *, of_state: bool) -> tuple[Figures, _Delays]:
    client.wait_for_polls(round(effort.paced / _INTERVAL), _START)
    delays = _Delays()
    filters = ("evse/+/+/state",) if of_state else ("evse/+/+/time", f"evse/+/+/{_LAST_FIELD}")
    receive = delays.of_state if of_state else delays.of_fields
    with Subscriber(rig.broker.port, *filters, on_message=receive):
        time.sleep(2)  # what was retained before has come
        delays.values.clear()
        return client.figures(effort.paced_seconds), delays
