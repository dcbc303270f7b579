"""The database of the history: opening it, writing batches of records, and removing expired rows.

Every method blocks, so the writer's thread calls them, or a command. Each that writes does so in one transaction: it
happens completely or not at all.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.publishing.meter_payload import meter_payload, read_meter
from evse_mqtt_bridge.storage.connection import Connection, Values, connect, driver_error_class
from evse_mqtt_bridge.storage.migrations import SchemaError, migrate, require_version
from evse_mqtt_bridge.storage.records import (
    MeterRecord,
    Plug,
    ReadingRecord,
    Record,
    SessionRecord,
    first_reading_before,
)
from evse_mqtt_bridge.storage.tables import METERS, PLUGS, READINGS, SESSIONS, Table
from evse_mqtt_bridge.storage.url import DatabaseUrl
from evse_mqtt_bridge.support.text import clean

__all__ = ["CorruptDatabaseError", "Database", "DatabaseError", "PlugNames", "set_aside"]

# The names of SQLite's error codes begin with these; extended codes such as SQLITE_BUSY_RECOVERY add the cause.
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")
_READ_ONLY = "SQLITE_READONLY"
_NOT_OPENED = "SQLITE_CANTOPEN"
_ROWS = 500  # per statement
_LONGEST_NAME = 200  # characters

_METERS = "SELECT plugs.station, plugs.uuid, meters.content FROM plugs JOIN meters ON meters.plug = plugs.id"
_WITH_READINGS = """
SELECT id FROM plugs WHERE id IN ({}) AND EXISTS (SELECT 1 FROM readings WHERE readings.plug = plugs.id)
"""

# The last of the old readings of each plug stays, because the energy of the next one counts from it. Otherwise, the
# first hour after a long pause would have no energy.
_EXPIRED_READINGS = """
DELETE FROM readings
WHERE hour < ?
    AND hour < (SELECT max(old.hour) FROM readings AS old WHERE old.plug = readings.plug AND old.hour < ?)
"""

PlugNames = Mapping[Plug, tuple[str, str]]
"""The display names of the station and the plug, by plug."""


class DatabaseError(Exception):
    """The database cannot be used at the moment; the text names it and the reason, without a password.

    Attributes:
        is_temporary: Whether a later attempt may succeed: after any error of a server, and if a file is locked, or was
            removed or replaced.
    """

    def __init__(self, text: str, *, is_temporary: bool = False) -> None:
        super().__init__(text)
        self.is_temporary = is_temporary


class CorruptDatabaseError(DatabaseError):
    """The SQLite file is damaged, or is not a database."""


class Database:
    """A database whose schema has the current version.

    Args:
        url: See `DatabaseUrl`.
        is_report: Whether to open an existing database for reading only. Otherwise it is created or migrated if needed.
        time_limit: See `connect`; with SQLite, it starts with each `reading`.

    Raises:
        DatabaseError: It cannot be opened.
        CorruptDatabaseError: The SQLite file is damaged.
    """

    def __init__(self, url: str, *, is_report: bool = False, time_limit: float | None = None) -> None:
        self._url = DatabaseUrl(url)
        self._time_limit = time_limit
        try:
            self._driver_error = driver_error_class(self._url)
        except ImportError as error:
            advice = "run `pip install '.[postgres]'` in the source folder of the bridge"
            raise DatabaseError(f"{self.name}: {error}; {advice}") from None
        self._connection: Connection | None = None
        self._ids: dict[Plug, int] = {}
        try:
            with self._translated_errors():
                self._open(is_report=is_report)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The SQLite file, or the URL with its password hidden."""
        return self._url.name

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Return a context with the connection for queries.

        Raises:
            DatabaseError: The database is closed, or a query in the context fails.
        """
        with self._translated_errors():
            connection = self._living_connection()
            connection.start_timer()
            yield connection

    def meters(self, stations: Container[str] | None = None) -> dict[Plug, Meter]:
        """Return the meters that were written last.

        Args:
            stations: The uuids of their stations; `None`: all.

        Raises:
            DatabaseError: They cannot be read.
        """
        with self.reading() as connection:
            rows = connection.query(_METERS)
        found = {
            Plug(station, uuid): read_meter(uuid, content.encode())
            for station, uuid, content in rows
            if stations is None or station in stations
        }
        return {plug: meter for plug, meter in found.items() if meter is not None}

    def write(self, records: Iterable[Record], names: PlugNames) -> None:
        """Write records in one transaction.

        Args:
            records: The records.
            names: The names of their plugs.

        Raises:
            DatabaseError: Nothing was written.
        """
        records = list(records)
        try:
            with self._writing() as connection:
                records += _first_readings(records, self._ids)
                ids = self._plug_ids(connection, {record.plug for record in records}, names)
                known = _plugs_with_readings(connection, records, ids)
                for table, rows in _additional_rows(records, ids, known).items():
                    connection.execute_many(table.insert_missing, rows)
                for table, rows in _rows(records, ids).items():
                    connection.execute_many(table.upsert, rows)
        except DatabaseError:
            self._ids.clear()
            raise

    def remove_expired(self, sessions_before: datetime | None, readings_before: datetime | None) -> int:
        """Remove old rows, and return how many there were.

        Args:
            sessions_before: Remove the sessions that ended before; `None`: keep all.
            readings_before: Remove the readings of hours before, except the last one of each plug; `None`: keep all.

        Raises:
            DatabaseError: Nothing was removed.
        """
        removed = 0
        with self._writing() as connection:
            if sessions_before is not None:
                removed += connection.execute("DELETE FROM sessions WHERE ended < ?", (sessions_before,))
            if readings_before is not None:
                removed += connection.execute(_EXPIRED_READINGS, (readings_before, readings_before))
        return removed

    def _open(self, *, is_report: bool) -> None:
        if is_report and self._url.file is not None and not self._url.file.exists():
            raise FileNotFoundError("there is no history yet; the bridge creates it while it runs")
        self._connection = connection = connect(self._url, self._time_limit)
        if is_report:
            require_version(connection)
            return
        if damage := connection.damage():
            raise CorruptDatabaseError(f"{self.name}: the integrity check found: {damage}")
        migrate(connection)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Return a context with the connection, in a transaction."""
        with self._translated_errors():
            connection = self._living_connection()
            with connection.transaction():
                yield connection

    def _living_connection(self) -> Connection:
        """Return the connection; a new one if a server has closed it.

        Raises:
            DatabaseError: The database is closed, or its file was removed or replaced: it must be opened again.
        """
        if self._connection is None:
            raise DatabaseError(f"{self.name}: it is closed")
        if not self._connection.is_alive():
            if self._url.file is not None:
                raise DatabaseError(f"{self.name}: the file was removed or replaced", is_temporary=True)
            self._connection.close()
            self._connection = connect(self._url, self._time_limit)
        return self._connection

    def _plug_ids(self, connection: Connection, plugs: Iterable[Plug], names: PlugNames) -> dict[Plug, int]:
        """Return the ids of plugs; new plugs are added."""
        missing = [plug for plug in plugs if plug not in self._ids]
        for start in range(0, len(missing), _ROWS):
            some = missing[start : start + _ROWS]
            connection.execute_many(PLUGS.upsert, [_plug_row(plug, names) for plug in some])
            stations = tuple({plug.station for plug in some})
            query = f"SELECT station, uuid, id FROM plugs WHERE station IN ({_parameters(stations)})"  # noqa: S608
            known = {plug: plug for plug in some}  # the ids refer to these plugs, so that none is stored twice
            for station, uuid, number in connection.query(query, stations):
                plug = Plug(station, uuid)
                self._ids[known.get(plug, plug)] = number
        return self._ids

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Return a context that turns the errors of the driver into `DatabaseError`."""
        try:
            yield
        except (self._driver_error, SchemaError, OSError) as error:
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> DatabaseError:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        sqlite_name = getattr(error, "sqlite_errorname", "")
        if sqlite_name.startswith(_CORRUPT):
            return CorruptDatabaseError(f"{self.name}: {reason}")
        if sqlite_name.startswith(_READ_ONLY):
            reason += "; the user needs permission to write to the file and its folder, for reports as well"
        elif sqlite_name.startswith(_NOT_OPENED):  # SQLite does not report the cause; this is the usual one
            reason += "; check that the user has permission to write to the file and its folder"
        is_temporary = self._url.file is None or sqlite_name.startswith(_LOCKED)
        return DatabaseError(f"{self.name}: {reason}", is_temporary=is_temporary)


def set_aside(url: str, now: datetime) -> Path:
    """Rename a damaged SQLite file, with its journals, and return its new name.

    Raises:
        OSError: It cannot be renamed.
    """
    path = DatabaseUrl(url).file or Path()
    renamed = path.with_name(f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    for suffix in ("-wal", "-shm", ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(renamed.with_name(renamed.name + suffix))
    return renamed


def _first_readings(records: Iterable[Record], known: Container[Plug]) -> list[ReadingRecord]:
    """Return a first reading, one hour earlier, of each plug that this object has not written yet.

    The energy of the plug counts from it. It is only written if the database has no reading of the plug, as after the
    loss of a damaged or removed file.

    Args:
        records: The records to write.
        known: The plugs that have been written.
    """
    found: dict[Plug, ReadingRecord] = {}
    for record in records:
        if isinstance(record, ReadingRecord) and record.plug not in known:
            earliest = found.get(record.plug)
            if earliest is None or record.hour < earliest.hour:
                found[record.plug] = record
    return [first_reading_before(each) for each in found.values() if not each.is_first]


def _plugs_with_readings(connection: Connection, records: Iterable[Record], ids: Mapping[Plug, int]) -> set[int]:
    """Return the ids of the plugs with a first reading that have readings already."""
    numbers = sorted({ids[record.plug] for record in records if isinstance(record, ReadingRecord) and record.is_first})
    found: set[int] = set()
    for start in range(0, len(numbers), _ROWS):
        some = numbers[start : start + _ROWS]
        found.update(number for (number,) in connection.query(_WITH_READINGS.format(_parameters(some)), some))
    return found


def _additional_rows(
    records: Sequence[Record], ids: Mapping[Plug, int], known: Container[int]
) -> dict[Table, list[Values]]:
    """Return the rows that are only written if the table has none with the same key, or no reading of the plug.

    Args:
        records: The records.
        ids: The ids of their plugs.
        known: The ids of the plugs that have readings already.
    """
    rows: dict[Table, list[Values]] = {SESSIONS: [], READINGS: []}
    for record in records:
        match record:
            case SessionRecord(is_restored=True):
                rows[SESSIONS].append(_session_row(record, ids))
            case ReadingRecord(is_first=True) if ids[record.plug] not in known:
                rows[READINGS].append(_reading_row(record, ids))
    return {table: some for table, some in rows.items() if some}


def _rows(records: Sequence[Record], ids: Mapping[Plug, int]) -> dict[Table, list[Values]]:
    rows: dict[Table, list[Values]] = {SESSIONS: [], READINGS: [], METERS: []}
    for record in records:
        match record:
            case SessionRecord(is_restored=False):
                rows[SESSIONS].append(_session_row(record, ids))
            case ReadingRecord(is_first=False):
                rows[READINGS].append(_reading_row(record, ids))
            case MeterRecord(meter=meter):
                rows[METERS].append((ids[record.plug], meter_payload(meter).decode()))
    return {table: some for table, some in rows.items() if some}


def _session_row(record: SessionRecord, ids: Mapping[Plug, int]) -> Values:
    session = record.session
    return (
        ids[record.plug],
        session.started,
        session.is_start_known,
        session.ended,
        session.charged,
        session.discharged,
        session.gap,
        session.charging,
        session.peak,
    )


def _reading_row(record: ReadingRecord, ids: Mapping[Plug, int]) -> Values:
    return (ids[record.plug], record.hour, record.charged, record.discharged, record.gap)


def _plug_row(plug: Plug, names: PlugNames) -> Values:
    # A label comes from the cloud, and PostgreSQL stores no NUL: one such label would fail every batch.
    station_name, name = (clean(text, _LONGEST_NAME) for text in names.get(plug, ("", "")))
    return (plug.station, plug.uuid, station_name, name)


def _parameters(values: Values) -> str:
    """Return a parameter per value, for `IN`."""
    return ", ".join("?" for _ in values)
