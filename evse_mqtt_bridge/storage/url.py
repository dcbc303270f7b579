"""The URL of a database: "sqlite:///" and a path, or "postgresql+psycopg://user:password@host/database"."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

__all__ = ["DatabaseUrl", "with_password"]

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql+psycopg://"
_PASSWORDS = frozenset({"password", "sslpassword"})
"""The options of libpq that contain a password."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The URL of a database.

    Attributes:
        text: The URL, which may contain a password. The path after "sqlite:///" is absolute or relative.
    """

    text: str = field(repr=False)

    @property
    def file(self) -> Path | None:
        """The SQLite file; `None`: the database is PostgreSQL."""
        return Path(self.text.removeprefix(_SQLITE)) if self.text.startswith(_SQLITE) else None

    @property
    def conninfo(self) -> str:
        """The URL in the form that PostgreSQL's libpq accepts."""
        return "postgresql://" + self.text.removeprefix(_POSTGRESQL)

    @property
    def name(self) -> str:
        """The file, or the URL with its password hidden."""
        if self.file is not None:
            return str(self.file)
        password = urlsplit(self.text).password
        text = self.text if password is None else self.text.replace(f":{password}@", ":***@", 1)
        url, mark, options = text.partition("?")
        return url + mark + "&".join(map(_without_password, options.split("&")))


def with_password(url: str, password: str) -> str:
    """Return the URL of a PostgreSQL database with a password added; `url` must have none."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()


def _without_password(option: str) -> str:
    """Return an option of a URL, with its value hidden if that is a password."""
    key, _, _ = option.partition("=")
    return f"{key}=***" if unquote(key) in _PASSWORDS else option
