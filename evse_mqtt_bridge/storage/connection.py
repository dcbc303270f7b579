"""Connections to SQLite and PostgreSQL: one interface for their drivers, sqlite3 and psycopg.

Both databases understand the same statements, with `?` for each parameter. Times are stored in UTC: in SQLite, which
has no type for them, as text without a zone.
"""

import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from evse_mqtt_bridge.storage.url import DatabaseUrl

if TYPE_CHECKING:
    from psycopg import Connection as PsycopgConnection

__all__ = ["Connection", "Row", "Values", "connect", "driver_error_class", "utc_time"]

Row = tuple[Any, ...]
"""One row of the result of a query."""

Values = Sequence[object]
"""The parameters of a statement."""

_BUSY_TIMEOUT = 5.0  # seconds, for a SQLite file that another process has locked
_CONNECT_TIMEOUT = 5  # seconds, for PostgreSQL
_STATEMENT_TIMEOUT = 30.0  # seconds, for PostgreSQL
_CHECK_INTERVAL = 10_000  # instructions of SQLite's virtual machine between two checks of the time limit, about 1 ms
_STREAMED_ROWS = 1000  # number of rows that PostgreSQL sends at a time


class Connection(ABC):
    """A connection. A statement outside a transaction is its own transaction. Methods raise a `driver_error_class`.

    Attributes:
        is_sqlite: Whether the database is SQLite.
    """

    is_sqlite: ClassVar[bool]

    @abstractmethod
    def query(self, statement: str, values: Values = ()) -> list[Row]:
        """Return the rows of a query."""

    @abstractmethod
    def stream(self, statement: str, values: Values = ()) -> Iterator[Row]:
        """Yield the rows of a query, without keeping all in memory."""

    @abstractmethod
    def execute(self, statement: str, values: Values = ()) -> int:
        """Execute a statement, and return the number of rows that it changed."""

    @abstractmethod
    def execute_many(self, statement: str, rows: Iterable[Values]) -> None:
        """Execute a statement with the parameters of each row."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[object]:
        """Return a context with a transaction, which is rolled back if the context raises."""

    @abstractmethod
    def has_table(self, name: str) -> bool:
        """Return whether the database has a table."""

    @abstractmethod
    def damage(self) -> str:
        """Return the first problem that a check of the file finds; empty: none, or the database is on a server."""

    @abstractmethod
    def is_alive(self) -> bool:
        """Return whether the connection works; false if the server closed it, or the file was removed or replaced."""

    @abstractmethod
    def start_timer(self) -> None:
        """Start the time limit, with SQLite; PostgreSQL limits each statement. See `connect`."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class SqliteConnection(Connection):
    """A connection to SQLite; a file that does not exist is created. See `connect`."""

    is_sqlite = True

    def __init__(self, file: Path, time_limit: float | None) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():  # readable by the owner only, as it shows who charges when
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        self._file = file
        self._time_limit = time_limit
        self._sqlite = sqlite3.connect(file, timeout=_BUSY_TIMEOUT, isolation_level=None)
        try:
            # With WAL, reports can be read while the bridge writes. NORMAL loses the last transactions when the power
            # fails, but never damages the file.
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"):
                self._sqlite.execute(statement)
            self._identity = _identity(file)
        except (sqlite3.Error, OSError):
            self._sqlite.close()
            raise

    def query(self, statement: str, values: Values = ()) -> list[Row]:
        return self._sqlite.execute(statement, _adapted(values)).fetchall()

    def stream(self, statement: str, values: Values = ()) -> Iterator[Row]:
        yield from self._sqlite.execute(statement, _adapted(values))

    def execute(self, statement: str, values: Values = ()) -> int:
        return self._sqlite.execute(statement, _adapted(values)).rowcount

    def execute_many(self, statement: str, rows: Iterable[Values]) -> None:
        self._sqlite.executemany(statement, map(_adapted, rows))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._sqlite.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._sqlite.execute("COMMIT")
        except BaseException:
            if self._sqlite.in_transaction:  # after some errors, SQLite itself has rolled it back
                self._sqlite.execute("ROLLBACK")
            raise

    def has_table(self, name: str) -> bool:
        return bool(self.query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))

    def damage(self) -> str:
        [(result,)] = self.query("PRAGMA quick_check(1)")
        return "" if result == "ok" else str(result)

    def is_alive(self) -> bool:
        try:
            return _identity(self._file) == self._identity
        except FileNotFoundError:
            return False

    def start_timer(self) -> None:
        if self._time_limit is not None:
            end = time.monotonic() + self._time_limit
            self._sqlite.set_progress_handler(lambda: time.monotonic() > end, _CHECK_INTERVAL)

    def close(self) -> None:
        self._sqlite.close()


class PostgresConnection(Connection):
    """A connection to PostgreSQL. See `connect`."""

    is_sqlite = False

    def __init__(self, conninfo: str, time_limit: float | None) -> None:
        import psycopg  # noqa: PLC0415  # an optional extra

        timeout = max(1, round((_STATEMENT_TIMEOUT if time_limit is None else time_limit) * 1000))
        options = f"-c statement_timeout={timeout}"
        self._errors = psycopg.Error
        try:
            self._psycopg: PsycopgConnection = psycopg.connect(
                conninfo, connect_timeout=_CONNECT_TIMEOUT, options=options, autocommit=True
            )
        except UnicodeError as error:  # Python cannot encode the name of the host, and psycopg lets the error through
            raise psycopg.OperationalError(f"the host has an invalid name: {error}") from None

    def query(self, statement: str, values: Values = ()) -> list[Row]:
        return self._psycopg.execute(_with_placeholders(statement), values).fetchall()

    def stream(self, statement: str, values: Values = ()) -> Iterator[Row]:
        # A cursor with a name is on the server, and needs a transaction.
        with self._psycopg.transaction(), self._psycopg.cursor("stream") as cursor:
            cursor.itersize = _STREAMED_ROWS
            yield from cursor.execute(_with_placeholders(statement), values)

    def execute(self, statement: str, values: Values = ()) -> int:
        return self._psycopg.execute(_with_placeholders(statement), values).rowcount

    def execute_many(self, statement: str, rows: Iterable[Values]) -> None:
        with self._psycopg.cursor() as cursor:
            cursor.executemany(_with_placeholders(statement), rows)

    def transaction(self) -> AbstractContextManager[object]:
        return self._psycopg.transaction()

    def has_table(self, name: str) -> bool:
        return self.query("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]

    def damage(self) -> str:
        return ""

    def is_alive(self) -> bool:
        try:
            self._psycopg.execute("SELECT 1")
        except self._errors:
            return False
        return True

    def start_timer(self) -> None:
        """Do nothing: the server limits each statement."""

    def close(self) -> None:
        self._psycopg.close()


def connect(url: DatabaseUrl, time_limit: float | None = None) -> Connection:
    """Return a connection.

    Args:
        url: The database.
        time_limit: Time limit in seconds. With PostgreSQL, for each statement; `None`: 30 s. With SQLite, for all
            statements after `start_timer` together; `None`: no limit.

    Raises:
        OSError: The folder or the file of SQLite cannot be created.
        Exception: An error of `driver_error_class`.
    """
    file = url.file
    return PostgresConnection(url.conninfo, time_limit) if file is None else SqliteConnection(file, time_limit)


def driver_error_class(url: DatabaseUrl) -> type[Exception]:
    """Return the base class of the errors that the driver of a database raises."""
    if url.file is not None:
        return sqlite3.Error
    import psycopg  # noqa: PLC0415  # an optional extra

    return psycopg.Error


def utc_time(stored: str | datetime) -> datetime:
    """Return a time from a row of either database, in UTC."""
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    return stored.astimezone(UTC)


def _identity(file: Path) -> tuple[int, int]:
    """Return what tells a file from another one with the same name."""
    status = file.stat()
    return status.st_dev, status.st_ino


def _adapted(values: Values) -> Values:
    """Return the parameters as SQLite stores them."""
    return [_time_text(value) if isinstance(value, datetime) else value for value in values]


def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _with_placeholders(statement: str) -> bytes:
    """Return a statement with psycopg's placeholders."""
    return statement.replace("?", "%s").encode()
