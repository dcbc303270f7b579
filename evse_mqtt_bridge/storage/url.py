"""The URL of a database: "sqlite:///" and a file, or "postgresql+psycopg://user:password@host/database"."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

__all__ = ["DatabaseUrl", "with_password"]

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql+psycopg://"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The URL of a database.

    Attributes:
        text: The URL, which may contain a password; "sqlite:///" is followed by a path, which is absolute or relative.
    """

    text: str = field(repr=False)

    @property
    def file(self) -> Path | None:
        """The file of SQLite; `None`: it is PostgreSQL."""
        return Path(self.text.removeprefix(_SQLITE)) if self.text.startswith(_SQLITE) else None

    @property
    def conninfo(self) -> str:
        """The URL in the form that PostgreSQL's libpq accepts."""
        return "postgresql://" + self.text.removeprefix(_POSTGRESQL)

    @property
    def name(self) -> str:
        """The database without its password: a file, or a URL."""
        if self.file is not None:
            return str(self.file)
        password = urlsplit(self.text).password
        return self.text if password is None else self.text.replace(f":{password}@", ":***@", 1)


def with_password(url: str, password: str) -> str:
    """Return the URL of a PostgreSQL database with a password; `url` has none."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
