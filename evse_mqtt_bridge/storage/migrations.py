"""The versions of the schema. A database of an older version is migrated when it is opened.

A migration is never changed after its release. A database of a newer version is refused, because writing to it could
damage what the newer version relies on.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from evse_mqtt_bridge.storage.connection import Connection
from evse_mqtt_bridge.storage.tables import creation

__all__ = ["VERSION", "SchemaError", "migrate", "require_version"]


def _create(connection: Connection) -> None:
    for statement in creation(is_sqlite=connection.is_sqlite):
        connection.execute(statement)


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create,)
"""The step to each version, from version 1."""

VERSION = len(_MIGRATIONS)
"""The version of the schema that this release writes."""


class SchemaError(Exception):
    """The schema of the database has another version."""


def migrate(connection: Connection) -> None:
    """Bring the schema to `VERSION`, in one transaction.

    Raises:
        SchemaError: The database has a newer version.
    """
    if _version(connection) == VERSION:
        return
    with connection.transaction():
        version = _version(connection)
        if version > VERSION:
            raise SchemaError(_other_version(version))
        for number, step in enumerate(_MIGRATIONS[version:], start=version + 1):
            step(connection)
            connection.execute("INSERT INTO schema_versions VALUES (?, ?)", (number, datetime.now(UTC)))


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
    if not connection.has_table("schema_versions"):
        return 0
    [(version,)] = connection.query("SELECT max(version) FROM schema_versions")
    return version or 0


def _other_version(version: int) -> str:
    if version > VERSION:
        return f"it has version {version} of the schema, and this release knows {VERSION}: use the newer release"
    return f"it has version {version} of the schema instead of {VERSION}: the bridge migrates it when it runs"
