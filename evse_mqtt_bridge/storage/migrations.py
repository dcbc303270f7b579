"""The versions of the schema. A database of an older version is migrated when it is opened.

A migration is never changed after its release. A database of a newer version is refused, because writing to it could
damage what the newer version relies on.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, func, insert, inspect, select

from evse_mqtt_bridge.storage.tables import METADATA, SCHEMA_VERSIONS

__all__ = ["VERSION", "SchemaError", "migrate", "require_version"]


def _create(connection: Connection) -> None:
    METADATA.create_all(connection)


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create,)
"""The step to each version, from version 1."""

VERSION = len(_MIGRATIONS)
"""The version of the schema that this release writes."""


class SchemaError(Exception):
    """The schema of the database has another version."""


def migrate(connection: Connection) -> None:
    """Bring the schema to `VERSION`, within the transaction of the caller.

    Raises:
        SchemaError: The database has a newer version.
    """
    version = _version(connection)
    if version > VERSION:
        raise SchemaError(_other_version(version))
    for number, step in enumerate(_MIGRATIONS[version:], start=version + 1):
        step(connection)
        connection.execute(insert(SCHEMA_VERSIONS).values(version=number, applied=datetime.now(UTC)))


def require_version(connection: Connection) -> None:
    """Check that the schema has `VERSION`.

    Raises:
        SchemaError: It has another version.
    """
    version = _version(connection)
    if version != VERSION:
        raise SchemaError(_other_version(version))


def _version(connection: Connection) -> int:
    """Return the version of the schema; 0 for an empty database."""
    if not inspect(connection).has_table(SCHEMA_VERSIONS.name):
        return 0
    return connection.execute(select(func.max(SCHEMA_VERSIONS.c.version))).scalar() or 0


def _other_version(version: int) -> str:
    if version > VERSION:
        return f"it has version {version} of the schema, and this release knows {VERSION}: use the newer release"
    return f"it has version {version} of the schema instead of {VERSION}: the bridge migrates it when it runs"
