"""The cost of evaluating by time which values are too old, measured in this process."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from benchmarks.effort import Effort
from benchmarks.report import Table
from evse_mqtt_bridge.domain.availability import Moment, Rules, age, next_change
from evse_mqtt_bridge.domain.model import PlugReading, Reading, Station
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.domain.timing_wheel import TimingWheel

__all__ = ["aging"]

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_RULES = Rules()
_INTERVAL = 10
_BATCH = 100


def aging(effort: Effort) -> Iterator[Table]:
    """Measure the largest number of stations, with two plugs each, polled every 10 s."""
    count = effort.sizes[-1]
    stations = Stations({str(number): Station(str(number), _INTERVAL) for number in range(count)}, _RULES, started=0.0)
    for number in range(count):
        _poll(stations, number, number * _INTERVAL / count)
    _drain(stations, _moment(_INTERVAL))
    per_poll = _cost_per_poll(stations, count)
    steady = _steady(stations, count)
    everything = _seconds(lambda: [age(stations.state(str(number)), _RULES, _moment(11)) for number in range(count)])
    batches = list(_all_at_once(stations))
    rows = (
        ("in each poll: find the next change, compare it with the deadline", f"{per_poll * 1e6:.2f} us per poll"),
        ("checking the deadlines, while polls confirm all values", f"{steady * 1e3:.2f} ms per second"),
        ("for comparison: evaluating every station once", f"{everything * 1e3:.0f} ms"),
        ("all values become too old in the same seconds", f"{sum(batches) * 1e3:.0f} ms in {len(batches)} steps"),
        ("the longest of these steps", f"{max(batches) * 1e3:.1f} ms"),
    )
    yield Table("aging", (f"with {count:,} stations at {_INTERVAL} s", "CPU"), rows)


def _moment(second: float) -> Moment:
    return Moment(second, _BEGAN + timedelta(seconds=second))


def _poll(stations: Stations, number: int, second: float) -> None:
    moment = _moment(second)
    stations.apply_outcome(
        str(number), Reading(tuple(PlugReading(plug, time=moment.utc) for plug in ("p1", "p2"))), moment, 0.1
    )


def _cost_per_poll(stations: Stations, count: int) -> float:
    """Return the seconds that a poll needs for the deadline of its station."""
    states = [(str(number), stations.state(str(number))) for number in range(count)]
    wheel, moment = TimingWheel(), _moment(_INTERVAL)
    for uuid, state in states:
        wheel.put(uuid, next_change(state, _RULES, moment))

    def keep() -> None:
        for uuid, state in states:
            wheel.put(uuid, next_change(state, _RULES, moment))

    return min(_seconds(keep) for _ in range(5)) / count


def _steady(stations: Stations, count: int) -> float:
    """Return the seconds of aging per second, over one time of `stale_after`, in which each station is due once."""
    spent, seconds = 0.0, int(_RULES.stale_after)
    for second in range(_INTERVAL, _INTERVAL + seconds):
        if second % _INTERVAL == 0:
            for number in range(count):
                _poll(stations, number, second)
        for moment in (_moment(second), _moment(second + 0.5)):
            while stations.is_aging_due(moment.monotonic):
                spent += _seconds(partial(_age, stations, moment))
    return spent / seconds


def _all_at_once(stations: Stations) -> Iterator[float]:
    """Yield the seconds of each step after which no value is live any more."""
    moment = _moment(10_000)
    while stations.is_aging_due(moment.monotonic):
        yield _seconds(partial(_age, stations, moment))


def _drain(stations: Stations, moment: Moment) -> None:
    _age(stations, moment)
    while stations.is_aging_due(moment.monotonic):
        _age(stations, moment)


def _age(stations: Stations, moment: Moment) -> None:
    for _ in stations.age(moment, _BATCH):
        pass


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
