"""The database of the history: opening it, writing batches of records, and removing expired rows.

Every method blocks, so the writer's thread calls them, or a command. Each opens one transaction: it happens completely
or not at all.
"""

import os
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, exists, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.publishing.meter_payload import meter_payload, read_meter
from evse_mqtt_bridge.storage.migrations import SchemaError, migrate, require_version
from evse_mqtt_bridge.storage.records import MeterRecord, Plug, ReadingRecord, Record, SessionRecord
from evse_mqtt_bridge.storage.tables import METERS, PLUGS, READINGS, SESSIONS
from evse_mqtt_bridge.support.text import clean

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["CorruptDatabaseError", "Database", "DatabaseError", "PlugNames", "database_name", "set_aside"]

_BUSY_TIMEOUT = 5.0  # seconds, for a SQLite file that another process has locked
_CONNECT_TIMEOUT = 5  # seconds, for PostgreSQL
_STATEMENT_TIMEOUT = 30_000  # milliseconds, for PostgreSQL
_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})
_LOCKED = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})
_ROWS = 500  # per statement
_LONGEST_NAME = 200  # characters
_INSTRUCTIONS = 10_000  # of SQLite's virtual machine between two checks of the time limit, about 1 ms

PlugNames = Mapping[Plug, tuple[str, str]]
"""The display names of the station and the plug, by plug."""


class DatabaseError(Exception):
    """The database cannot be used at the moment; the text names it and the reason, without a password.

    Attributes:
        is_temporary: Whether it may work again soon, without a change: a server does not answer, or a file is locked.
    """

    def __init__(self, text: str, *, is_temporary: bool = False) -> None:
        super().__init__(text)
        self.is_temporary = is_temporary


class CorruptDatabaseError(DatabaseError):
    """The SQLite file is damaged, or is not a database."""


class Database:
    """A database whose schema has the current version.

    Args:
        url: A SQLAlchemy URL of SQLite, or of PostgreSQL with psycopg.
        is_report: Whether to open an existing database for reading only. Otherwise it is created or migrated if needed.
        time_limit: Maximum duration of a statement, in seconds; `None`: 30 s with PostgreSQL, unlimited with SQLite.
            With SQLite, it counts from when the connection is taken from the pool.

    Raises:
        DatabaseError: It cannot be opened.
        CorruptDatabaseError: The SQLite file is damaged.
    """

    def __init__(self, url: str, *, is_report: bool = False, time_limit: float | None = None) -> None:
        self._url = make_url(url)
        self._engine: Engine | None = None
        self._ids: dict[Plug, int] = {}
        try:
            if is_report:
                _require_file(self._url)
            self._engine = _engine(self._url, time_limit)
            with self._engine.begin() as connection:
                if is_report:
                    require_version(connection)
                else:
                    _check(connection)
                    migrate(connection)
        except (SQLAlchemyError, SchemaError, OSError) as error:
            self.close()
            raise self._translated(error) from None

    @property
    def name(self) -> str:
        """The database without its password: a file, or a URL."""
        return database_name(self._url)

    @property
    def engine(self) -> Engine:
        """The engine, for queries.

        Raises:
            DatabaseError: The database is closed.
        """
        if self._engine is None:
            raise DatabaseError(f"{self.name}: it is closed")
        return self._engine

    def close(self) -> None:
        """Close all connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def meters(self, stations: Container[str] | None = None) -> dict[Plug, Meter]:
        """Return the meters that were written last.

        Args:
            stations: The uuids of their stations; `None`: all.

        Raises:
            DatabaseError: They cannot be read.
        """
        query = select(PLUGS.c.station, PLUGS.c.uuid, METERS.c.content).join(METERS, METERS.c.plug == PLUGS.c.id)
        try:
            with self.engine.connect() as connection:
                rows = connection.execute(query).all()
        except SQLAlchemyError as error:
            raise self._translated(error) from None
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
            with self.engine.begin() as connection:
                ids = self._plug_ids(connection, {record.plug for record in records}, names)
                known = _plugs_with_readings(connection, records, ids)
                for table, rows in _additional_rows(records, ids, known).items():
                    connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)
                for table, rows in _rows(records, ids).items():
                    _upsert(connection, table, rows)
        except (SQLAlchemyError, OSError) as error:
            self._ids.clear()
            raise self._translated(error) from None

    def remove_expired(self, sessions_before: datetime | None, readings_before: datetime | None) -> int:
        """Remove old rows, and return how many there were.

        Args:
            sessions_before: Remove the sessions that ended before; `None`: keep all.
            readings_before: Remove the readings of hours before; `None`: keep all.

        Raises:
            DatabaseError: Nothing was removed.
        """
        removed = 0
        try:
            with self.engine.begin() as connection:
                if sessions_before is not None:
                    removed += connection.execute(delete(SESSIONS).where(SESSIONS.c.ended < sessions_before)).rowcount
                if readings_before is not None:
                    removed += connection.execute(delete(READINGS).where(READINGS.c.hour < readings_before)).rowcount
        except SQLAlchemyError as error:
            raise self._translated(error) from None
        return removed

    def _plug_ids(self, connection: Connection, plugs: Iterable[Plug], names: PlugNames) -> dict[Plug, int]:
        """Return the ids of plugs; new plugs are added."""
        missing = [plug for plug in plugs if plug not in self._ids]
        for start in range(0, len(missing), _ROWS):
            some = missing[start : start + _ROWS]
            rows = [_plug_row(plug, names) for plug in some]
            _upsert(connection, PLUGS, rows, key=("station", "uuid"))
            query = select(PLUGS.c.station, PLUGS.c.uuid, PLUGS.c.id).where(
                PLUGS.c.station.in_({plug.station for plug in some})
            )
            known = {plug: plug for plug in some}  # the ids refer to these plugs, so that none is stored twice
            for station, uuid, number in connection.execute(query):
                plug = Plug(station, uuid)
                self._ids[known.get(plug, plug)] = number
        return self._ids

    def _translated(self, error: Exception) -> DatabaseError:
        original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        reason = str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__
        if getattr(original, "sqlite_errorname", "").split("_VTAB")[0] in _CORRUPT or isinstance(error, _DamagedError):
            return CorruptDatabaseError(f"{self.name}: {reason}")
        is_server = self._url.get_backend_name() != "sqlite"
        is_temporary = is_server or getattr(original, "sqlite_errorname", "") in _LOCKED
        return DatabaseError(f"{self.name}: {reason}", is_temporary=is_temporary)


class _DamagedError(SQLAlchemyError):
    """The integrity check of SQLite found an error."""


def database_name(url: URL) -> str:
    """Return the database without its password: a file, or a URL."""
    return url.database or "memory" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def set_aside(url: str, now: datetime) -> Path:
    """Rename a damaged SQLite file, with its journals, and return its new name.

    Raises:
        OSError: It cannot be renamed.
    """
    path = Path(make_url(url).database or "")
    renamed = path.with_name(f"{path.name}.damaged-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    for suffix in ("-wal", "-shm", ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(renamed.with_name(renamed.name + suffix))
    return renamed


def _engine(url: URL, time_limit: float | None) -> Engine:
    if url.get_backend_name() != "sqlite":
        timeout = _STATEMENT_TIMEOUT if time_limit is None else max(1, round(time_limit * 1000))
        options = {"connect_timeout": _CONNECT_TIMEOUT, "options": f"-c statement_timeout={timeout}"}
        return create_engine(url, connect_args=options, pool_size=1, max_overflow=1, pool_pre_ping=True)
    if url.database:
        path = Path(url.database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():  # readable by the owner only, as it shows who charges when
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT})
    event.listen(engine, "connect", _configure_sqlite)
    if time_limit is not None:
        event.listen(engine, "checkout", _sqlite_timer(time_limit))
    return engine


def _require_file(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise FileNotFoundError("there is no history yet; the bridge creates it while it runs")


def _configure_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  # a DB-API connection has no type
    # With WAL, reports can be read while the bridge writes. NORMAL loses the last transactions when the power fails,
    # but never damages the file.
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"):
        connection.execute(statement)


def _sqlite_timer(time_limit: float) -> Callable[..., None]:
    """Return a listener that lets SQLite interrupt the statements of a connection `time_limit` seconds from then on."""

    def start(connection: Any, *_: object) -> None:  # noqa: ANN401  # a DB-API connection has no type
        end = time.monotonic() + time_limit
        connection.set_progress_handler(lambda: time.monotonic() > end, _INSTRUCTIONS)

    return start


def _check(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        result = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if result != "ok":
            raise _DamagedError(f"the integrity check found: {result}")


def _plugs_with_readings(connection: Connection, records: Iterable[Record], ids: Mapping[Plug, int]) -> set[int]:
    """Return the ids of the plugs with a first reading that have readings already."""
    numbers = sorted({ids[record.plug] for record in records if isinstance(record, ReadingRecord) and record.is_first})
    found: set[int] = set()
    for start in range(0, len(numbers), _ROWS):
        some = PLUGS.c.id.in_(numbers[start : start + _ROWS])
        query = select(PLUGS.c.id).where(some, exists().where(READINGS.c.plug == PLUGS.c.id))
        found.update(connection.execute(query).scalars())
    return found


def _additional_rows(
    records: Sequence[Record], ids: Mapping[Plug, int], known: Container[int]
) -> dict[Table, list[dict[str, object]]]:
    """Return the rows that are only written if the table has none with the same key, or no reading of the plug.

    Args:
        records: The records.
        ids: The ids of their plugs.
        known: The ids of the plugs that have readings already.
    """
    rows: dict[Table, list[dict[str, object]]] = {SESSIONS: [], READINGS: []}
    for record in records:
        match record:
            case SessionRecord(is_restored=True):
                rows[SESSIONS].append(_session_row(record, ids))
            case ReadingRecord(is_first=True) if ids[record.plug] not in known:
                rows[READINGS].append(_reading_row(record, ids))
    return {table: some for table, some in rows.items() if some}


def _rows(records: Sequence[Record], ids: Mapping[Plug, int]) -> dict[Table, list[dict[str, object]]]:
    rows: dict[Table, list[dict[str, object]]] = {SESSIONS: [], READINGS: [], METERS: []}
    for record in records:
        match record:
            case SessionRecord(is_restored=False):
                rows[SESSIONS].append(_session_row(record, ids))
            case ReadingRecord(is_first=False):
                rows[READINGS].append(_reading_row(record, ids))
            case MeterRecord(meter=meter):
                rows[METERS].append({"plug": ids[record.plug], "content": meter_payload(meter).decode()})
    return {table: some for table, some in rows.items() if some}


def _session_row(record: SessionRecord, ids: Mapping[Plug, int]) -> dict[str, object]:
    row = record.session._asdict()
    del row["is_charging"]
    return {"plug": ids[record.plug], **row}


def _reading_row(record: ReadingRecord, ids: Mapping[Plug, int]) -> dict[str, object]:
    row = record._asdict()
    del row["is_first"]
    return {**row, "plug": ids[record.plug]}


def _plug_row(plug: Plug, names: PlugNames) -> dict[str, object]:
    # A label comes from the cloud, and PostgreSQL stores no NUL: one such label would fail every batch.
    station_name, name = (clean(text, _LONGEST_NAME) for text in names.get(plug, ("", "")))
    return {"station": plug.station, "uuid": plug.uuid, "station_name": station_name, "name": name}


def _upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, object]], key: tuple[str, ...] = ()
) -> None:
    """Insert rows, or replace those with the same key; by default, the primary key."""
    names = key or tuple(column.name for column in table.primary_key)
    statement = _insert(connection, table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in names}
    connection.execute(statement.on_conflict_do_update(index_elements=names, set_=changed), rows)


def _insert(connection: Connection, table: Table) -> "sqlite.Insert | postgresql.Insert":
    # Each of these modules takes memory, 2 MB for PostgreSQL.
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)
