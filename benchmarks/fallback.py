"""Measures the bridge without libcurl beside the bridge with it: 200 stations that are polled every second."""

import time
from collections.abc import Iterator

from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.cadence import cadence, polls
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings

__all__ = ["fallback"]

_STATIONS = 200
_INTERVAL = 1.0
_START = 60.0


def fallback(effort: Effort) -> Iterator[Table]:
    """Measure with QoS 1 and one station in ten changing."""
    rows = []
    for name, transport in (("libcurl", "libcurl"), ("httpx, without libcurl", "httpx")):
        print(f"fallback: {name}")
        rows.append((name, *_measure(effort, transport)))
    columns = ("", "polls/s", "polls within 5 % of 1 s", "p99 deviation", "CPU of a core", "CPU ms per poll", "RSS MB")
    yield Table("fallback", columns, tuple(rows))


def _measure(effort: Effort, transport: str) -> tuple[str, ...]:
    stations = range(_STATIONS)
    topics = availability_topics(stations)
    settings = Settings(interval=_INTERVAL, discovery=False, transport=transport)
    with (
        Rig(changing=0.1, log=True) as rig,
        watch_availability(rig) as subscriber,
        Bridge(rig, settings, stations) as bridge,
    ):
        subscriber.wait(lambda latest: latest.keys() == topics, _START, f"{_STATIONS} stations to be published")
        time.sleep(10 * _INTERVAL)  # until polls are evenly distributed
        began = time.time()
        figures = bridge.figures(effort.paced_seconds)
        measured = cadence(polls(rig.cloud.polls_log, began), _INTERVAL)
    return (
        f"{figures.polls:.0f}",
        f"{measured.within:.2%}",
        f"{measured.p99:.1%}",
        f"{figures.cpu:.2f}",
        f"{figures.cpu_per_poll:.3f}",
        f"{figures.memory / 2**20:.0f}",
    )
