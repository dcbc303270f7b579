"""The tables of the history."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

__all__ = ["METADATA", "METERS", "PLUGS", "READINGS", "SCHEMA_VERSIONS", "SESSIONS"]


class UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite has no time zones, so its columns hold naive UTC times."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time as the database stores it."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


METADATA = MetaData()

SCHEMA_VERSIONS = Table(
    "schema_versions",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied", UtcTime, nullable=False),
)

PLUGS = Table(
    "plugs",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("station", String(64), nullable=False),
    Column("uuid", String(64), nullable=False),
    Column("station_name", Text, nullable=False, default=""),
    Column("name", Text, nullable=False, default=""),
    Index("plugs_by_uuid", "station", "uuid", unique=True),
)
"""The plugs with the names that they had last, so that a removed one is still readable in a report."""

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("plug", BigInteger, primary_key=True, autoincrement=False),
    Column("started", UtcTime, primary_key=True),
    Column("is_start_known", Boolean, nullable=False),
    Column("ended", UtcTime, nullable=False),
    Column("charged", Float(53), nullable=False),  # Wh
    Column("discharged", Float(53), nullable=False),  # Wh
    Column("gap", Float(53), nullable=False),  # seconds
    Column("charging", Float(53), nullable=False),  # seconds
    Column("peak", Float(53), nullable=False),  # W
    Index("sessions_by_end", "ended"),
)

READINGS = Table(
    "readings",
    METADATA,
    Column("plug", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", UtcTime, primary_key=True),  # the end of the hour
    Column("charged", Float(53), nullable=False),  # Wh since the start of the cycle
    Column("discharged", Float(53), nullable=False),  # Wh since the start of the cycle
    Column("gap", Float(53), nullable=False),  # seconds since the start of the cycle
    Index("readings_by_hour", "hour"),
    sqlite_with_rowid=False,  # stored in the order of the primary key, in which reports read
)

METERS = Table(
    "meters",
    METADATA,
    Column("plug", BigInteger, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),  # JSON, see `meter_payload`
)
