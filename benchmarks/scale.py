"""Measures costs by number of stations: start, cadence, memory, reload, and a broker that restarts empty."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.bridge import Bridge, availability_topics, retained_topics, topics_of, watch_availability
from benchmarks.cadence import Cadence, cadence, polls
from benchmarks.client import Figures
from benchmarks.cloud import uuid_of
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.rig import Rig, Settings

__all__ = ["scale"]

_INTERVAL = 10.0
_WINDOW = 3.2  # in intervals, so that each station is polled three times
_MAX_INTERVALS = 30  # intervals


@dataclass(frozen=True, slots=True)
class _Cost:
    """The duration of an event in seconds, and the bridge's CPU seconds for it."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class _Size:
    """The results for one number of stations.

    Attributes:
        stations: The number of stations.
        start: The cost from the start of the process until every topic is published.
        steady: The figures in normal operation.
        cadence: The cadence in normal operation.
        reload: The cost of a reload that replaces a tenth of the stations.
        disturbed: The cadence of the other stations during reload and reconnect.
        reconnect: The cost of a restart of the broker without retained messages.
        missing: Number of topics missing at the end.
        surplus: Number of topics at the end that should not exist.
    """

    stations: int
    start: _Cost
    steady: Figures
    cadence: Cadence
    reload: _Cost
    disturbed: Cadence
    reconnect: _Cost
    missing: int
    surplus: int


def scale(effort: Effort) -> Iterator[Table]:
    """Measure with Home Assistant discovery, QoS 1, an interval of 10 s, and one station in ten changing."""
    sizes = []
    for stations in effort.sizes:
        print(f"scale: {stations} stations")
        sizes.append(_measure(stations))
    smallest = sizes[0]
    yield Table("scale", _COLUMNS, tuple(_row(size, smallest) for size in sizes), tuple(_notes(sizes)))
    yield Table("events", _EVENTS, tuple(_events(size) for size in sizes))


_COLUMNS = (
    "stations",
    "polls/s",
    "polls within 5 % of 10 s",
    "p99 deviation",
    "worst deviation",
    "CPU of a core",
    "CPU ms per poll",
    "RSS MB",
    "KB per station",
)
_EVENTS = (
    "stations",
    "start s",
    "CPU ms per station",
    "tenth replaced s",
    "CPU ms per replaced station",
    "broker restarted empty s",
    "CPU ms per station",
    "worst gap of other stations s",
)


def _row(size: _Size, smallest: _Size) -> tuple[str, ...]:
    more = size.stations - smallest.stations
    grown = f"{(size.steady.memory - smallest.steady.memory) / more / 1024:.1f}" if more else "-"
    return (
        f"{size.stations:,}",
        f"{size.steady.polls:,.0f}",
        f"{size.cadence.within:.2%}",
        f"{size.cadence.p99:.2%}",
        f"{size.cadence.worst:.1%}",
        f"{size.steady.cpu:.2f}",
        f"{size.steady.cpu_per_poll:.3f}",
        f"{size.steady.memory / 2**20:.0f}",
        grown,
    )


def _events(size: _Size) -> tuple[str, ...]:
    return (
        f"{size.stations:,}",
        f"{size.start.seconds:.1f}",
        f"{size.start.cpu / size.stations * 1000:.2f}",
        f"{size.reload.seconds:.1f}",
        f"{size.reload.cpu / (size.stations // 10) * 1000:.2f}",
        f"{size.reconnect.seconds:.1f}",
        f"{size.reconnect.cpu / size.stations * 1000:.2f}",
        f"{_INTERVAL * (1 + size.disturbed.worst):.1f}",
    )


def _notes(sizes: list[_Size]) -> Iterator[str]:
    wrong = [size for size in sizes if size.missing or size.surplus]
    for size in wrong:
        yield f"With {size.stations:,} stations, {size.missing} topics were missing and {size.surplus} were unexpected."
    if not wrong:
        yield "At the end the broker retained every topic of the configuration, including discovery, and no other."


def _measure(count: int) -> _Size:
    timeout = 60 + count / 50
    stations, others = range(count), range(count // 10, count + count // 10)
    with Rig(changing=0.1, log=True) as rig, Bridge(rig, Settings(interval=_INTERVAL), stations) as bridge:
        start = _until_published(rig, bridge, stations, bridge.began, 0.0)
        time.sleep(1.5 * _INTERVAL)
        _wait_for_steady_rate(rig, count)

        began = time.time()
        steady = bridge.figures(_WINDOW * _INTERVAL)
        undisturbed = cadence(polls(rig.cloud.polls_log, began), _INTERVAL)

        disturbed_from = time.time()
        reload = _until_replaced(rig, bridge, others, timeout)
        time.sleep(_INTERVAL)

        rig.broker.stop()
        rig.broker.start()
        reconnect = _until_published(rig, bridge, others, time.monotonic(), bridge.usage.cpu)
        time.sleep(1.5 * _INTERVAL)
        times = polls(rig.cloud.polls_log, disturbed_from)

        expected = topics_of(others)
        retained = retained_topics(rig, len(expected), timeout)
        # replaced stations have no continuous cadence
        replaced = {uuid_of(number) for number in {*stations} ^ {*others}}
        return _Size(
            count,
            start,
            steady,
            undisturbed,
            reload,
            cadence(times, _INTERVAL, without=replaced),
            reconnect,
            len(expected - retained),
            len(retained - expected),
        )


def _until_published(rig: Rig, bridge: Bridge, stations: range, began: float, cpu: float) -> _Cost:
    """Wait until every topic is published.

    Args:
        rig: Cloud and broker.
        bridge: The bridge under measurement.
        stations: Numbers of the stations.
        began: Start of the measured duration, which is accurate to a second.
        cpu: The bridge's CPU seconds at that moment.
    """
    timeout = 60 + len(stations) / 50
    topics = availability_topics(stations)
    with watch_availability(rig) as subscriber:
        subscriber.wait(lambda latest: latest.keys() == topics, timeout, f"{len(stations)} stations to be published")
    rig.broker.wait_for_retained(len(topics_of(stations)), timeout)
    return _Cost(time.monotonic() - began, bridge.usage.cpu - cpu)


def _wait_for_steady_rate(rig: Rig, count: int) -> None:
    """Wait until the poll rate is that of the interval, because polls delayed by the start are caught up first."""
    for _ in range(_MAX_INTERVALS):
        polls = rig.cloud.polls()
        time.sleep(_INTERVAL)
        if rig.cloud.polls() - polls <= 1.02 * count:
            return


def _until_replaced(rig: Rig, bridge: Bridge, stations: range, timeout: float) -> _Cost:
    """Reload other stations and wait until new ones are published and removed ones are cleared."""
    topics = availability_topics(stations)
    cpu = bridge.usage.cpu
    with watch_availability(rig) as subscriber:
        bridge.reload(stations)
        seconds = subscriber.wait(lambda latest: latest.keys() == topics, timeout, "other stations")
    return _Cost(seconds, bridge.usage.cpu - cpu)
