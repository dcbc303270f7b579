"""A history of sessions for the status page: one each second day, of 10 kWh from 08:00 to 10:00 in UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.storage.database import Database
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord, Record, SessionRecord

__all__ = ["NAMES", "SESSION_ENERGY", "history_settings", "write_history"]

NAMES = ("Station 1", "Left")
SESSION_ENERGY = 10_000.0
"""Energy of each session, in Wh."""


def history_settings(folder: Path) -> History:
    """Return settings with a SQLite file in a folder, and days in UTC."""
    return History(url=f"sqlite:///{folder}/history.sqlite", time_zone="UTC")


def write_history(settings: History, plug: Plug, days: int, now: datetime, names: tuple[str, str] = NAMES) -> None:
    """Write the sessions of a plug, the last one today, each with a gap of three minutes.

    Args:
        settings: The history.
        plug: The plug.
        days: Number of days before `now`.
        now: The current time, in UTC.
        names: The names of station and plug.
    """
    database = Database(settings.url)
    database.write(_records(plug, days, now), {plug: names})
    database.close()


def _records(plug: Plug, days: int, now: datetime) -> Iterator[Record]:
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    charged = 0.0
    yield ReadingRecord(plug, today - timedelta(days=days + 1), 0.0, 0.0, 0.0)
    for before in range(days - days % 2, -1, -2):
        start = today - timedelta(days=before) + timedelta(hours=8)
        for hour in (1, 2):
            charged += SESSION_ENERGY / 2
            yield ReadingRecord(plug, start + timedelta(hours=hour), charged, 0.0, 0.0)
        end = start + timedelta(hours=2)
        session = Session(
            start,
            is_start_known=bool(before),
            charged=SESSION_ENERGY,
            gap=180.0,
            charging=7_000.0,
            peak=11_040.0,
            ended=end,
        )
        yield SessionRecord(plug, session)
