"""Cost that grows in a straight line: start, cadence, memory, reload and a broker that forgot, for more stations."""

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
_WINDOWS = 3.2  # intervals, so that each station is asked three times
_PATIENCE = 30  # intervals


@dataclass(frozen=True, slots=True)
class _Effort:
    """What something took: seconds, and CPU seconds of the bridge."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class _Size:
    """What was seen with so many stations."""

    stations: int
    start: _Effort
    steady: Figures
    cadence: Cadence
    reload: _Effort
    disturbed: Cadence
    reconnect: _Effort
    missing: int
    surplus: int


def scale(effort: Effort) -> Iterator[Table]:
    """With Home Assistant discovery, QoS 1, an interval of 10 s, one station in ten changing."""
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
    "p99 off",
    "worst off",
    "CPU of a core",
    "CPU ms per poll",
    "RSS MB",
    "KB per station",
)
_EVENTS = (
    "stations",
    "start s",
    "CPU ms per station",
    "a tenth replaced s",
    "CPU ms per station replaced",
    "broker forgot s",
    "CPU ms per station",
    "worst gap of the others s",
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
        yield f"With {size.stations:,} stations, {size.missing} topics were missing and {size.surplus} too many."
    if not wrong:
        yield "After all of it the broker retained each topic of the configuration, discovery included, and no other."


def _measure(count: int) -> _Size:
    patience = 60 + count / 50
    stations, others = range(count), range(count // 10, count + count // 10)
    with Rig(changing=0.1, log=True) as rig, Bridge(rig, Settings(interval=_INTERVAL), stations) as bridge:
        start = _until_published(rig, bridge, stations, bridge.began, 0.0)
        time.sleep(1.5 * _INTERVAL)
        _until_on_their_grid(rig, count)

        began = time.time()
        steady = bridge.figures(_WINDOWS * _INTERVAL)
        undisturbed = cadence(polls(rig.cloud.polls_log, began), _INTERVAL)

        disturbed_from = time.time()
        reload = _until_replaced(rig, bridge, others, patience)
        time.sleep(_INTERVAL)

        rig.broker.stop()
        rig.broker.start()
        reconnect = _until_published(rig, bridge, others, time.monotonic(), bridge.usage.cpu)
        time.sleep(1.5 * _INTERVAL)
        times = polls(rig.cloud.polls_log, disturbed_from)

        wanted = topics_of(others)
        retained = retained_topics(rig, len(wanted), patience)
        # those that came and went have no cadence to keep
        strangers = {uuid_of(number) for number in {*stations} ^ {*others}}
        return _Size(
            count,
            start,
            steady,
            undisturbed,
            reload,
            cadence(times, _INTERVAL, without=strangers),
            reconnect,
            len(wanted - retained),
            len(retained - wanted),
        )


def _until_published(rig: Rig, bridge: Bridge, stations: range, began: float, cpu: float) -> _Effort:
    """From `began` until every topic is there, to the second, and what it cost above `cpu`."""
    patience = 60 + len(stations) / 50
    topics = availability_topics(stations)
    with watch_availability(rig) as watching:
        watching.wait(lambda latest: latest.keys() == topics, patience, f"{len(stations)} stations to be published")
    rig.broker.wait_for_retained(len(topics_of(stations)), patience)
    return _Effort(time.monotonic() - began, bridge.usage.cpu - cpu)


def _until_on_their_grid(rig: Rig, count: int) -> None:
    """Until no more is polled than the interval asks for: what the start made late catches up with its grid."""
    for _ in range(_PATIENCE):
        polls = rig.cloud.polls()
        time.sleep(_INTERVAL)
        if rig.cloud.polls() - polls <= 1.02 * count:
            return


def _until_replaced(rig: Rig, bridge: Bridge, stations: range, patience: float) -> _Effort:
    """From the signal until those that came are there, and what went is cleared."""
    topics = availability_topics(stations)
    cpu = bridge.usage.cpu
    with watch_availability(rig) as watching:
        bridge.reload(stations)
        seconds = watching.wait(lambda latest: latest.keys() == topics, patience, "other stations")
    return _Effort(seconds, bridge.usage.cpu - cpu)
