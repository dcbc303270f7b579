"""Fills a database with the history of many plugs: python -m benchmarks.history_data URL [--plugs N] [--sessions N]."""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.simulator.seeded_random import SeededRandom
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, ReadingRecord, Record, SessionRecord, start_of_hour

__all__ = ["PLUGS_PER_STATION", "fill", "plug"]

PLUGS_PER_STATION = 2

_PERIOD = timedelta(days=365)
_HOUR = timedelta(hours=1)
_BATCH = 20_000  # records per transaction


def plug(number: int) -> Plug:
    """Return a plug of the generated history."""
    return Plug(f"{number // PLUGS_PER_STATION:032x}", f"{number:032x}")


def fill(url: str, plugs: int, sessions: int, now: datetime) -> int:
    """Write the sessions of a year, evenly distributed over the plugs, with their hourly readings.

    Args:
        url: The URL of an empty database.
        plugs: Number of plugs.
        sessions: Number of sessions of all plugs.
        now: The end of the year.

    Returns:
        The number of readings.
    """
    names = {plug(number): (f"Station {number // PLUGS_PER_STATION}", f"Plug {number}") for number in range(plugs)}
    database = Database(url)
    readings = 0
    try:
        everything = (record for number in range(plugs) for record in _records(number, sessions // plugs, now))
        for some in _batches(everything):
            database.write(some, names)
            readings += sum(isinstance(record, ReadingRecord) for record in some)
    finally:
        database.close()
    return readings


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _records(number: int, sessions: int, now: datetime) -> Iterator[Record]:
    """Yield the records of a plug: a session of 2 to 12 h in each part of the year, which charges for up to 6 h."""
    name = plug(number)
    pause = _PERIOD / sessions
    began, charged = start_of_hour(now - _PERIOD), 0.0
    yield ReadingRecord(name, began, 0.0, 0.0, 0.0)
    for at in range(sessions):
        random = SeededRandom("history", number * sessions + at)
        started = began + at * pause + random.random() * 0.4 * pause
        connected = timedelta(hours=2 + 10 * random.random())
        charging = min(connected, timedelta(hours=1 + 5 * random.random()))
        power = 3_700 + 18_300 * random.random()
        energy = power * charging / _HOUR
        ended = min(started + connected, began + (at + 1) * pause)
        hour = start_of_hour(started) + _HOUR
        while hour < started + charging + _HOUR:
            share = min(1.0, (hour - started) / charging)
            yield ReadingRecord(name, hour, charged + energy * share, 0.0, 0.0)
            hour += _HOUR
        charged += energy
        yield SessionRecord(
            name,
            Session(
                started,
                is_start_known=True,
                charged=energy,
                charging=charging.total_seconds(),
                peak=power,
                ended=ended,
            ),
        )
    yield MeterRecord(name, Meter(charged))


def main() -> None:
    """Fill the database that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history_data", description=__doc__)
    parser.add_argument("url", help="URL of an empty database, such as sqlite:////tmp/history.sqlite")
    parser.add_argument("--plugs", type=int, default=1_000, help="number of plugs (default: 1000)")
    parser.add_argument("--sessions", type=int, default=100_000, help="number of sessions (default: 100000)")
    options = parser.parse_args()
    readings = fill(options.url, options.plugs, options.sessions, datetime.now(UTC))
    print(f"{options.plugs} plugs, {options.sessions} sessions, {readings} readings")


if __name__ == "__main__":
    main()
