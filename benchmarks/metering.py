"""The cost of counting energy: a bridge with meters against one whose meters have not started, and the writer.

The meters of a bridge do not start while its history does not answer and the broker has no record of them. The bridge
without meters (without_meters.py) counts nothing meanwhile; everything else is the same.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bridge import Bridge, availability_topics, watch_availability
from benchmarks.effort import Effort
from benchmarks.instructions import missing_reason
from benchmarks.report import Table, spread
from benchmarks.rig import Rig, Settings
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, ReadingRecord, Record, SessionRecord
from tests.harness.net import free_port
from tests.harness.postgres import PostgreSql, find_postgres

__all__ = ["metering"]

_INTERVAL = 10.0
_START = 300.0
_POLLED = 300.0
_MEMORY_INTERVAL = 60.0  # the memory does not depend on it, so it spares the machine
_COUNTED_STATIONS = 1000  # 100 polls per second
_WITHOUT, _WITH = "without meters", "with meters"

_PLUGS = 20_000  # that charge all the time
_SESSIONS_PER_HOUR = 2_000
_FLUSHES_PER_HOUR = 120
_METERS_PER_FLUSH = 2_000  # the writer writes no more at once
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def metering(effort: Effort) -> Iterator[Table]:
    """Yield the table of the bridge, and that of the writer."""
    results: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(effort.rounds):
        for name in (_WITHOUT, _WITH):
            print(f"metering: {name}, round {number + 1} of {effort.rounds}", flush=True)
            for row, value in _figures(effort, name, is_first=not number).items():
                results[row][name].append(value)
    rows = tuple(_row(name, values[_WITHOUT], values[_WITH]) for name, values in results.items())
    reason = missing_reason()
    notes = (f"Instructions were not counted: {reason}.",) if reason else ()
    yield Table("metering", ("", _WITHOUT, _WITH, "ratio", "difference"), rows, notes)
    yield _writer_table()


def _figures(effort: Effort, name: str, *, is_first: bool) -> dict[str, float]:
    history = "" if name == _WITH else f"postgresql+psycopg://bridge@127.0.0.1:{free_port()}/none"
    module = "evse_mqtt_bridge" if name == _WITH else "benchmarks.without_meters"
    settings = Settings(interval=_INTERVAL, discovery=False, history=history)
    figures: dict[str, float] = {}
    if is_first and not missing_reason():
        with Rig(changing=0.1) as rig:
            count = _instructions(rig, settings, effort, module)
        figures[f"1000 instructions per poll, {_COUNTED_STATIONS / _INTERVAL:g} polls/s"] = count / 1000
    with Rig(changing=0.1) as rig, Bridge(rig, settings, range(effort.paced_stations), module=module) as bridge:
        _wait(rig, bridge, effort.paced_stations)
        measured = bridge.figures(effort.paced_seconds)
    figures[f"CPU us per poll, {effort.paced_stations / _INTERVAL:g} polls/s"] = measured.cpu_per_poll * 1000
    if is_first:
        figures |= _memory(replace(settings, interval=_MEMORY_INTERVAL), effort.sizes[-1], module)
    return figures


def _memory(settings: Settings, stations: int, module: str) -> dict[str, float]:
    with Rig(changing=0.1) as rig, Bridge(rig, settings, range(stations), module=module) as bridge:
        _wait(rig, bridge, stations)
        return {f"RSS KB per station, {stations:,} stations": bridge.usage.memory / 1024 / stations}


def _instructions(rig: Rig, settings: Settings, effort: Effort, module: str) -> float:
    with Bridge(rig, settings, range(_COUNTED_STATIONS), is_counted=True, module=module) as bridge:
        _wait(rig, bridge, _COUNTED_STATIONS)
        return bridge.instructions_per_poll(2 * effort.counted_seconds)


def _wait(rig: Rig, bridge: Bridge, stations: int) -> None:
    """Wait until everything is published, and each station was polled again."""
    topics = availability_topics(range(stations))
    with watch_availability(rig) as subscriber:
        subscriber.wait(lambda latest: latest.keys() == topics, bridge.patience(_START), "stations to be published")
    bridge.wait_for_polls(2 * stations, _POLLED)


def _row(name: str, before: list[float], after: list[float]) -> tuple[str, ...]:
    form = ".0f" if max(before + after) >= 100 else ".1f"
    old, new = (sorted(values)[len(values) // 2] for values in (before, after))
    return name, spread(before, form), spread(after, form), f"{new / old:.2f}", f"{new - old:+.1f}"


def _writer_table() -> Table:
    """Return the table of the time that the writer needs for an hour with 2,000 sessions."""
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="metering-")))
        urls = {"SQLite": f"sqlite:///{folder}/history.sqlite"}
        if find_postgres() is not None:
            server = PostgreSql().create()
            stack.callback(server.close)
            urls["PostgreSQL"] = server.new_database()
        for name, url in urls.items():
            durations, cpu = _write_an_hour(url)
            transactions = f"{sum(durations):.1f} s", f"{max(durations) * 1000:.0f} ms"
            rows.append((name, *transactions, f"{cpu:.1f} s"))
    note = (
        f"{_SESSIONS_PER_HOUR:,} sessions, and the meters of {_PLUGS:,} charging plugs, {_METERS_PER_FLUSH:,} in each "
        f"of the {_FLUSHES_PER_HOUR} transactions of an hour."
    )
    return Table("metering-writer", ("writer", "busy in an hour", "longest transaction", "CPU"), tuple(rows), (note,))


def _write_an_hour(url: str) -> tuple[list[float], float]:
    """Return the duration of each transaction, and the CPU time of all, in seconds."""
    database = Database(url)
    names = dict.fromkeys(map(_plug, range(_PLUGS)), ("Station", "Plug"))
    database.write([MeterRecord(plug, Meter()) for plug in names], names)  # so that all plugs are known
    durations = []
    cpu = time.process_time()
    for flush in range(_FLUSHES_PER_HOUR):
        records = list(_records(flush))
        began = time.perf_counter()
        database.write(records, names)
        durations.append(time.perf_counter() - began)
    used = time.process_time() - cpu
    database.close()
    return durations, used


def _records(flush: int) -> Iterator[Record]:
    now = _BEGAN + timedelta(seconds=flush * 3600 / _FLUSHES_PER_HOUR)
    hour = _BEGAN + timedelta(hours=1)
    for number in range(_SESSIONS_PER_HOUR // _FLUSHES_PER_HOUR + 1):
        plug = _plug(flush * 20 + number)
        started = now - timedelta(hours=1)
        session = Session(started, is_start_known=True, charged=7000.0, charging=3000.0, peak=11_000.0, ended=now)
        yield SessionRecord(plug, session)
    for number in range(_METERS_PER_FLUSH):
        plug = _plug(flush * _METERS_PER_FLUSH + number)
        reading = PlugReading(plug.uuid, status="charging", power=7000.0, time=now)
        meter = Meter(1e6 + flush, counted=reading, session=Session(_BEGAN, is_start_known=True, charged=100.0))
        yield ReadingRecord(plug, hour, meter.charged, 0.0, 0.0)
        yield MeterRecord(plug, meter)


def _plug(number: int) -> Plug:
    return Plug(f"{number % _PLUGS // 2:032x}", f"{number % _PLUGS:032x}")
