"""Determines when the meters of a station start, and from which records of the previous run.

There are two records: the retained topics on the broker, and the history. Both can be late, and the history is up to
half a minute older. A meter that has started must not continue another record later: for a consumer, the difference
would be energy. The rules for a station:

- If the broker has a record, the meters start when it is read, from the larger counts of the two records.
- If the broker has none, the meters start when the history is read, too, and the search for previous base topics is
  complete. Without a record there either, they start at 0.
- If the broker is not read within BROKER_LIMIT, and the history has a record, the meters start from it. They have not
  been published yet, so a record of the broker can still be added.
- If the broker is read, the meters start HISTORY_LIMIT later at the latest.

BROKER_LIMIT counts from when the bridge began to run the station: at its start, or later, with a shard.

Meters that wait count already (waiting_meters.py), so the wait loses nothing unless the bridge ends before they start.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple

from evse_mqtt_bridge.domain.meter import Meter, larger
from evse_mqtt_bridge.domain.sessions import Session

__all__ = [
    "BROKER_LIMIT",
    "HISTORY_LIMIT",
    "NO_RECORD",
    "MeterStart",
    "Record",
    "Start",
    "joined",
    "unrecorded_sessions",
]

BROKER_LIMIT = 45.0
"""Seconds for which a station with a record in the history waits for the broker."""

HISTORY_LIMIT = 600.0
"""Seconds for which a station without a record on the broker waits for other records, once the broker is read."""

Record = Mapping[str, Meter]
"""The meters of the plugs of a station, by plug uuid."""

NO_RECORD: Record = MappingProxyType({})


class Start(NamedTuple):
    """The records from which a station starts.

    Attributes:
        record: The union of all records.
        history: The record of the history, as far as it is known.
    """

    record: Record
    history: Record


class _Broker(Enum):
    """What is known of the broker's record of a station that has not started."""

    NOT_READ = auto()
    SEARCHING = auto()
    """There is none below the known base topics; there may be one below a previous base topic."""
    NONE = auto()


class _Wait(NamedTuple):
    """The wait of a station.

    Attributes:
        since: When the wait began for what is not known now; monotonic seconds. `None`: since the next call of `due`.
        broker: What is known of the broker's record.
        is_history_expected: Whether the history is being read.
    """

    since: float | None
    broker: _Broker = _Broker.NOT_READ
    is_history_expected: bool = False


class MeterStart:
    """The stations whose meters have not started. Methods return the stations that start now, with their records."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Wait] = {}
        self._history: dict[str, Record] = {}
        """The records of the history; dropped when no station waits any more."""
        self._given_up: set[str] = set()
        """The stations that started before the history was read, or before the search was complete."""
        self._next_due = -math.inf
        """Before this time, no station is due unless another record is read; monotonic seconds."""

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._waiting

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, uuids: Iterable[str], now: float) -> None:
        """Add stations, which wait from `now` on, in monotonic seconds."""
        self._waiting |= dict.fromkeys(uuids, _Wait(now))
        self._next_due = -math.inf

    def expect_history(self, uuids: Iterable[str]) -> None:
        """Expect a call of `history_read` for these stations."""
        for uuid in uuids:
            if wait := self._waiting.get(uuid):
                self._waiting[uuid] = wait._replace(is_history_expected=True)

    def remove(self, uuid: str) -> None:
        """Remove a station that this bridge no longer runs."""
        self._waiting.pop(uuid, None)
        self._history.pop(uuid, None)
        self._given_up.discard(uuid)

    def start(self, uuid: str, record: Record) -> Start | None:
        """Return from what a station starts that has a record on the broker; `None` if it has started before."""
        if self._waiting.pop(uuid, None) is None:
            return None
        history = self._history.get(uuid, NO_RECORD)
        self._forget_history()
        return Start(joined(record, history), history)

    def broker_read(self, uuids: Collection[str], *, is_complete: bool) -> dict[str, Start]:
        """Note that the broker has no record of these stations, unless they have started.

        Args:
            uuids: The stations.
            is_complete: Whether the search for previous base topics is complete.
        """
        self._next_due = -math.inf
        known = _Broker.NONE if is_complete else _Broker.SEARCHING
        for uuid in uuids:
            if wait := self._waiting.get(uuid):
                since = None if wait.broker is _Broker.NOT_READ else wait.since
                self._waiting[uuid] = wait._replace(since=since, broker=known)
        return self._start_ready(uuids)

    def history_read(self, uuids: Collection[str], records: Mapping[str, Record]) -> dict[str, Start]:
        """Note the records that the history has of these stations; none if it cannot be read."""
        self._next_due = -math.inf
        for uuid in uuids:
            if wait := self._waiting.get(uuid):
                self._waiting[uuid] = wait._replace(is_history_expected=False)
                if record := records.get(uuid):
                    self._history[uuid] = record
        return self._start_ready(uuids)

    def may_join_history(self, uuid: str) -> bool:
        """Return whether the record of the history may be added to the meters of a station that has started."""
        return uuid not in self._waiting and uuid not in self._given_up

    def due(self, now: float) -> dict[str, Start]:
        """Return the stations that have waited long enough at `now`, in monotonic seconds."""
        if now < self._next_due:
            return {}
        due: list[str] = []
        self._next_due = math.inf
        for uuid, wait in self._waiting.items():
            since = wait.since
            if since is None:
                since = now
                self._waiting[uuid] = wait._replace(since=now)
            is_read = wait.broker is not _Broker.NOT_READ
            limit = since + (HISTORY_LIMIT if is_read else BROKER_LIMIT)
            if now < limit:
                self._next_due = min(self._next_due, limit)
            elif is_read:
                self._given_up.add(uuid)
                due.append(uuid)
            elif uuid in self._history:
                due.append(uuid)
        return self._start(due)

    def _start_ready(self, uuids: Iterable[str]) -> dict[str, Start]:
        """Start those of these stations whose records are all read."""
        waits = ((uuid, self._waiting.get(uuid)) for uuid in uuids)
        return self._start(
            [uuid for uuid, wait in waits if wait and wait.broker is _Broker.NONE and not wait.is_history_expected]
        )

    def _start(self, uuids: Iterable[str]) -> dict[str, Start]:
        records = {uuid: self._history.get(uuid, NO_RECORD) for uuid in uuids}
        starts = {uuid: Start(record, record) for uuid, record in records.items()}
        for uuid in starts:
            del self._waiting[uuid]
        self._forget_history()
        return starts

    def _forget_history(self) -> None:
        if not self._waiting:
            self._history = {}


def joined(first: Record, second: Record) -> Record:
    """Return the union of two records of the same plugs."""
    if not first or not second:
        return first or second
    both = first.keys() & second.keys()
    return {**first, **second, **{uuid: larger(first[uuid], second[uuid]) for uuid in both}}


def unrecorded_sessions(record: Record, other: Record) -> dict[str, tuple[Session, ...]]:
    """Return the last sessions of a record that another one lacks, by plug uuid."""
    found: dict[str, tuple[Session, ...]] = {}
    for uuid, meter in record.items():
        last, known = meter.last_session, other.get(uuid)
        known_last = known.last_session if known else None
        if last is not None and (known_last is None or known_last.started != last.started):
            found[uuid] = (last,)
    return found
