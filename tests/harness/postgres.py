"""A PostgreSQL server process for tests, on a free port of 127.0.0.1."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from tests.harness.net import free_port

__all__ = ["PostgreSql", "find_postgres"]

_START_LIMIT = 30.0  # seconds


def find_postgres() -> Path | None:
    """Return the folder with PostgreSQL's programs; `None` if it is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class PostgreSql:
    """A server that every local user may use without a password. Its data are removed when it is closed."""

    def __init__(self) -> None:
        programs = find_postgres()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed")
        self._programs = programs
        # Not in pytest's folder, which only the user of the tests may enter.
        self._temporary = TemporaryDirectory(prefix="postgres-")
        self._folder = Path(self._temporary.name)
        self._data = self._folder / "data"
        self._user = None if os.getuid() else "nobody"  # PostgreSQL refuses to run as root
        self.port = free_port()
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None

    def new_database(self) -> str:
        """Create an empty database, and return its URL."""
        self._databases += 1
        name = f"history_{self._databases}"
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "bridge"]
        subprocess.run([self._programs / "createdb", *where, name], check=True)
        return f"postgresql+psycopg://bridge@127.0.0.1:{self.port}/{name}"

    def create(self) -> Self:
        """Create the data folder, and start the server."""
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        subprocess.run(
            [self._programs / "initdb", "-D", self._data, "-U", "bridge", "--auth=trust", "--no-sync", "-E", "UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        self.start()
        return self

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = [
            "-c",
            "fsync=off",
            "-c",
            f"unix_socket_directories={self._folder}",
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd="/",
        )
        deadline = time.monotonic() + _START_LIMIT
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not accept connections")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once; connections are closed."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(_START_LIMIT)

    def close(self) -> None:
        """Stop the server, and remove its data."""
        self.stop()
        self._temporary.cleanup()
