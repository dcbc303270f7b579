"""The records that wait to be written: one per key, the newest wins, and bounded while the database is away."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from evse_mqtt_bridge.storage.records import MeterRecord, ReadingRecord, Record, SessionRecord

__all__ = ["Backlog"]

_Key = tuple[object, ...]


class Backlog:
    """Records by key, in the order in which they were put first. It is not thread-safe.

    When it is full, readings are dropped before sessions, the oldest first. A dropped reading moves the energy of its
    hour into a later one; the meter of a plug is never dropped.

    Args:
        limit: Maximum number of readings, and of sessions.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._meters: dict[_Key, MeterRecord] = {}
        self._readings: OrderedDict[_Key, ReadingRecord] = OrderedDict()
        self._sessions: OrderedDict[_Key, SessionRecord] = OrderedDict()
        self.dropped = 0
        """Number of dropped readings and sessions."""

    def __len__(self) -> int:
        return len(self._meters) + len(self._readings) + len(self._sessions)

    def put(self, record: Record) -> None:
        """Add a record; it replaces an older one with the same key.

        Exceptions: a restored session, which is rounded, and the first reading after a start of a plug, whose energy
        may be that of the hour after it.
        """
        match record:
            case MeterRecord(plug=plug):
                self._meters[(plug,)] = record
            case ReadingRecord(plug=plug, hour=hour, is_first=is_first):
                key = (plug, hour)
                if not is_first or key not in self._readings:
                    self._readings[key] = record
                    self._drop(self._readings)
            case SessionRecord(plug=plug, session=session, is_restored=is_restored):
                key = (plug, session.started)
                if not is_restored or key not in self._sessions:
                    self._sessions[key] = record
                    self._drop(self._sessions)

    def remove(self, limit: int | None = None) -> list[Record]:
        """Return and remove records: sessions, readings, then meters, the oldest first.

        Args:
            limit: Maximum number of records; `None`: all.
        """
        taken: list[Record] = []
        for waiting in (self._sessions, self._readings, self._meters):
            rest = None if limit is None else limit - len(taken)
            taken += [waiting.pop(key) for key in list(islice(waiting, rest))]
        return taken

    def put_back(self, records: Iterable[Record]) -> None:
        """Return records that could not be written; those that were put meanwhile are newer and stay."""
        newer = self.remove()
        for record in (*records, *newer):
            self.put(record)

    def _drop(self, records: OrderedDict[_Key, ReadingRecord] | OrderedDict[_Key, SessionRecord]) -> None:
        if len(records) > self._limit:
            records.popitem(last=False)
            self.dropped += 1
