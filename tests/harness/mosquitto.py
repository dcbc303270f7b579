"""Runs a Mosquitto process on a free port of 127.0.0.1, with its own folder."""

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.net import HOST, free_port, wait_until_listening

__all__ = ["Mosquitto", "mosquitto_path"]


def mosquitto_path() -> str:
    """Return the path of the Mosquitto program; also searches the sbin folders, which are not on a user's PATH."""
    path = shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    assert path, "the tests need Mosquitto: `make test` installs it, or see CONTRIBUTING.md"
    return path


class Mosquitto:
    """A broker that keeps its port; use it as a context manager, or call `start()` and `stop()`.

    Args:
        folder: Folder for its configuration, log and data.
        extra: Configuration lines after the listener's, such as `cafile ...` (TLS), `acl_file ...`,
            `password_file ...`, `max_packet_size 1000`, or another `listener ...`.
        anonymous: Whether clients may connect without a user name.
        persistence: Whether retained messages survive `stop()`; they never survive `kill()`.
    """

    host = HOST

    def __init__(
        self, folder: Path, *, extra: Sequence[str] = (), anonymous: bool = True, persistence: bool = False
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.log_file = folder / "mosquitto.log"
        self._extra = tuple(extra)
        self._anonymous = anonymous
        self._persistence = persistence
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        assert self._process is None, "the broker is running already"
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join(self._configuration()) + "\n")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [mosquitto_path(), "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until_listening(self.port, self._exit_reason)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut the broker down (SIGTERM), even if it is frozen; does nothing if it is not running."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the broker, so that it sends and saves nothing (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop the broker and start it on the same port."""
        self.stop()
        self.start()

    def configure(self, *extra: str) -> None:
        """Replace the additional configuration lines; they apply when the broker starts."""
        self._extra = extra

    def freeze(self) -> None:
        """Suspend the broker: connections stay open, but it does not respond (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the broker after `freeze()` (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def _configuration(self) -> list[str]:
        return [
            f"user {getpass.getuser()}",  # as root it would switch to a user that cannot read the folder
            f"persistence {str(self._persistence).lower()}",
            f"persistence_location {self.folder}/",
            "log_dest stderr",
            "log_type all",
            # a slow observer loses nothing; with 0 (no limit), 2.0.11 drops clients whose publish it denies
            "max_queued_messages 1000000",
            "set_tcp_nodelay true",
            f"allow_anonymous {str(self._anonymous).lower()}",
            f"listener {self.port} {HOST}",
            *self._extra,
        ]

    def _exit_reason(self) -> str | None:
        if self._process is not None and self._process.poll() is not None:
            return f"Mosquitto exited with {self._process.returncode}:\n{self.log}"
        return None
