"""The tables of the history, and the statements that write their rows."""

from typing import NamedTuple

__all__ = ["METERS", "PLUGS", "READINGS", "SESSIONS", "Table", "creation"]


class Table(NamedTuple):
    """A table whose rows are written.

    Attributes:
        name: Its name.
        key: The columns that identify a row.
        values: The other columns.
    """

    name: str
    key: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def upsert(self) -> str:
        """The statement that inserts a row, or replaces the one with the same key. Parameters: key, values."""
        changes = ", ".join(f"{name} = excluded.{name}" for name in self.values)
        return f"{self._insert} ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {changes}"

    @property
    def insert_missing(self) -> str:
        """The statement that inserts a row, unless there is one with the same key. Parameters: key, values."""
        return f"{self._insert} ON CONFLICT DO NOTHING"

    @property
    def _insert(self) -> str:
        columns = (*self.key, *self.values)
        parameters = ", ".join("?" for _ in columns)
        return f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES ({parameters})"  # noqa: S608  # only constants


PLUGS = Table("plugs", ("station", "uuid"), ("station_name", "name"))
"""The plugs with the names that they had last, so that a removed one is still readable in a report."""

SESSIONS = Table(
    "sessions",
    ("plug", "started"),
    ("is_start_known", "ended", "charged", "discharged", "gap", "charging", "peak"),
)

READINGS = Table("readings", ("plug", "hour"), ("charged", "discharged", "gap"))

METERS = Table("meters", ("plug",), ("content",))

_CREATION = """
CREATE TABLE schema_versions (
    version INTEGER NOT NULL PRIMARY KEY,
    applied TIMESTAMP WITH TIME ZONE NOT NULL
);
CREATE TABLE plugs (
    id {id} NOT NULL PRIMARY KEY,
    station VARCHAR(64) NOT NULL,
    uuid VARCHAR(64) NOT NULL,
    station_name TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE UNIQUE INDEX plugs_by_uuid ON plugs (station, uuid);
CREATE TABLE sessions (
    plug BIGINT NOT NULL,
    started TIMESTAMP WITH TIME ZONE NOT NULL,
    is_start_known BOOLEAN NOT NULL,
    ended TIMESTAMP WITH TIME ZONE NOT NULL,
    charged DOUBLE PRECISION NOT NULL,     -- Wh
    discharged DOUBLE PRECISION NOT NULL,  -- Wh
    gap DOUBLE PRECISION NOT NULL,         -- seconds
    charging DOUBLE PRECISION NOT NULL,    -- seconds
    peak DOUBLE PRECISION NOT NULL,        -- W
    PRIMARY KEY (plug, started)
);
CREATE INDEX sessions_by_end ON sessions (ended);
CREATE TABLE readings (
    plug BIGINT NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,  -- the end of the hour
    charged DOUBLE PRECISION NOT NULL,       -- Wh since the start of the cycle
    discharged DOUBLE PRECISION NOT NULL,    -- Wh since the start of the cycle
    gap DOUBLE PRECISION NOT NULL,           -- seconds since the start of the cycle
    PRIMARY KEY (plug, hour)
){readings};
CREATE INDEX readings_by_hour ON readings (hour);
CREATE TABLE meters (
    plug BIGINT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL                    -- JSON, see `meter_payload`
)
"""


def creation(*, is_sqlite: bool) -> list[str]:
    """Return the statements that create all tables, in version 1 of the schema."""
    if is_sqlite:
        # Readings are stored in the order of the primary key, in which reports read.
        text = _CREATION.format(id="INTEGER", readings=" WITHOUT ROWID")
    else:
        text = _CREATION.format(id="BIGSERIAL", readings="")
    return text.split(";\n")
