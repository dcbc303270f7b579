"""The thread that writes the history. The event loop never waits for the database.

Records gather in a bounded backlog and are written together, one transaction every FLUSH_AFTER seconds. A transaction
is small, because the event loop shares the interpreter with this thread: more records follow after a short pause, and
more meters that have only counted with the next transaction. If the database cannot be used, the writer reports it
once, tries again with growing pauses, and then writes the backlog. A damaged SQLite file is renamed, and a new one
takes its place.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.storage.backlog import Backlog
from evse_mqtt_bridge.storage.database import CorruptDatabaseError, Database, DatabaseError, PlugNames, set_aside
from evse_mqtt_bridge.storage.records import Plug, Record
from evse_mqtt_bridge.storage.sink import HistoryProblem, WriterCounts
from evse_mqtt_bridge.storage.spans import Spans

__all__ = ["FLUSH_AFTER", "HistoryWriter", "Retention"]

FLUSH_AFTER = 30.0
"""Seconds between two transactions. A crash of the process loses what came after the last one; a crash of the machine,
also the transactions that SQLite has not yet synchronized."""

BACKLOG_LIMIT = 100_000
"""Maximum number of readings, and of sessions, that wait while the database is away: about 50 MB."""

_SPANS_AT_ONCE = 2000
"""Maximum number of meters per transaction that have only counted, so that 40,000 charging plugs take no more CPU time
than 2,000. A crash of the machine loses nothing of them, as long as the broker has the topics of the plugs."""

_RECORDS_AT_ONCE = 5000  # per transaction, except for the last one
_SHORT_PAUSE = 1.0  # seconds, between two transactions of one backlog
_AT_ONCE = 0.001  # seconds, before the first transaction
_FIRST_PAUSE = 1.0  # seconds, after a failure
_LONGEST_PAUSE = 60.0  # seconds
_EXPIRY_EVERY = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the history keeps its rows.

    Attributes:
        sessions: For sessions; `None`: for ever.
        readings: For hourly readings; `None`: for ever.
    """

    sessions: timedelta | None
    readings: timedelta | None


class _MetersRead(NamedTuple):
    """See `HistoryWriter.read_meters`."""

    stations: Collection[str]
    on_read: Callable[[dict[Plug, Meter]], object]


class HistoryWriter:
    """Writes records in a thread of its own.

    Args:
        url: The URL of the database; see `DatabaseUrl`.
        retention: How long rows are kept.
        report: Called in the writer's thread when the database fails, and when it works again.
    """

    def __init__(
        self,
        url: str,
        retention: Retention,
        report: Callable[[HistoryProblem], None],
    ) -> None:
        self.counts = WriterCounts()
        self._url = url
        self._retention = retention
        self._report = report
        self._reads: list[_MetersRead] = []
        """The reads of meters that wait for the database."""
        self._has_new_reads = False
        self._database: Database | None = None
        self._backlog = Backlog(BACKLOG_LIMIT)
        self._spans = Spans()
        self._names: dict[Plug, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._is_closing = False
        self._next_expiry = 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, new_records: Iterable[Record]) -> None:
        """Add records to write. Returns at once."""
        with self._changed:
            for record in new_records:
                self._backlog.put(record)
            self._count_backlog()

    def begin(self, plug: Plug, meter: Meter, time: datetime) -> None:
        """Begin with a meter whose last measurement was at `time`; see `Spans.begin`. Returns at once."""
        with self._lock:
            for record in self._spans.begin(plug, meter, time):
                self._backlog.put(record)

    def count(self, plug: tuple[str, str], old: Meter, new: Meter, time: datetime) -> bool:
        """Add what a meter counted with a measurement; see `RecordSink.count`. Returns at once."""
        with self._lock:  # that of the condition, whose own calls would cost more; this runs very often
            due = self._spans.add(plug, old, new, time)
            if due is None:
                return False
            for record in due:
                self._backlog.put(record)
        return True

    def read_meters(self, stations: Collection[str], on_read: Callable[[dict[Plug, Meter]], object]) -> None:
        """Read the meters that were written last, before anything else is written. Returns at once.

        Args:
            stations: The uuids of the stations whose meters are read.
            on_read: Called once in the writer's thread, as soon as the database answers; with no meters if they cannot
                be read, and waiting does not help.
        """
        with self._changed:
            self._reads.append(_MetersRead(stations, on_read))
            self._has_new_reads = True
            self._changed.notify()

    def name(self, plug: Plug, station_name: str, plug_name: str) -> None:
        """Set the display names of a plug, for reports. They are written with its first record after a start."""
        with self._changed:
            self._names[plug] = (station_name, plug_name)

    def close(self, limit: float) -> bool:
        """Write what waits, and end the thread; wait for at most `limit` seconds, and return whether it ended."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(limit)
        return not self._thread.is_alive()

    # In the thread

    def _run(self) -> None:
        pause = _AT_ONCE
        while True:
            with self._changed:
                if not self._is_closing and not self._has_new_reads:
                    self._changed.wait(pause or FLUSH_AFTER)
                is_closing, self._has_new_reads = self._is_closing, False
            is_written = self._write(is_last=is_closing)
            if is_closing:
                break
            if is_written:
                pause = _SHORT_PAUSE if len(self._backlog) else 0.0
            else:
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        if self._database is not None:
            self._database.close()

    def _write(self, *, is_last: bool) -> bool:
        """Write the oldest records of the backlog, and spans if that empties it; return whether that succeeded.

        Args:
            is_last: Whether to write everything.
        """
        with self._changed:
            waiting = self._backlog.remove(None if is_last else _RECORDS_AT_ONCE)
            # A span is newer than the records of its plug in the backlog, which must not be written after it.
            spans = [] if len(self._backlog) else self._spans.remove(None if is_last else _SPANS_AT_ONCE)
            names = dict(self._names)
        waiting += [record for span in spans for record in span.records()]
        try:
            self._write_or_fail(waiting, names)
        except Exception as error:  # noqa: BLE001  # a bug must not end the thread, and with it the history, silently
            aside = self._recover(error)
            with self._changed:
                self._backlog.put_back(waiting)
                self._count_backlog()
            is_bug = not isinstance(error, DatabaseError)
            self._failed(f"{type(error).__name__}: {error}" if is_bug else str(error), aside)
            if is_bug or not getattr(error, "is_temporary", False):
                self._pass_meters(self._reads, {})
            return False
        self.counts.written += len(waiting)
        with self._changed:
            self._count_backlog()
        if self.counts.error:
            self.counts.error = ""
            self._report(HistoryProblem(""))
        return True

    def _write_or_fail(self, waiting: list[Record], names: PlugNames) -> None:
        database = self._database = self._database or Database(self._url)
        if reads := list(self._reads):
            stations = frozenset[str]().union(*(read.stations for read in reads))
            self._pass_meters(reads, database.meters(stations))
        if waiting:
            database.write(waiting, names)
        if time.monotonic() >= self._next_expiry:
            now = datetime.now(UTC)
            sessions, readings = self._retention.sessions, self._retention.readings
            database.remove_expired(now - sessions if sessions else None, now - readings if readings else None)
            self._next_expiry = time.monotonic() + _EXPIRY_EVERY

    def _pass_meters(self, reads: Sequence[_MetersRead], meters: Mapping[Plug, Meter]) -> None:
        """Pass meters on to these reads, and forget the reads."""
        with self._changed:
            self._reads = [read for read in self._reads if read not in reads]
        for read in reads:
            read.on_read({plug: meter for plug, meter in meters.items() if plug.station in read.stations})

    def _recover(self, error: Exception) -> str:
        """Drop a database that failed; return the new name of a damaged file."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if not isinstance(error, CorruptDatabaseError):
            return ""
        try:
            return str(set_aside(self._url, datetime.now(UTC)))
        except OSError:
            return ""

    def _failed(self, error: str, aside: str) -> None:
        self.counts.failures += 1
        is_new = not self.counts.error or bool(aside)
        self.counts.error = error
        if is_new:
            self._report(HistoryProblem(error, aside))

    def _count_backlog(self) -> None:
        self.counts.waiting = len(self._backlog) + len(self._spans)
        self.counts.dropped = self._backlog.dropped
