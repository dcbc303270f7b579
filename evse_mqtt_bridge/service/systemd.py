"""Notifies the service manager that started the bridge, by systemd's protocol (sd_notify(3)).

A manager that expects notifications names a datagram socket in NOTIFY_SOCKET. If it supervises the process with a
watchdog, it passes the watchdog's timeout in WATCHDOG_USEC. Without these variables every call does nothing. The bridge
leaves the variables in the environment: unsetting them protects child processes, and the bridge starts none.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from evse_mqtt_bridge.support.text import clean

__all__ = ["ServiceNotifier"]

_SEND_TIMEOUT = 1.0
"""Maximum seconds to wait for room in the manager's queue for a change of state, because the manager acts on it."""

_STATUS_LENGTH = 200


@dataclass(frozen=True, slots=True)
class ServiceNotifier:
    """Sends notifications to the service manager. No method raises, even if the manager's socket was removed.

    Attributes:
        address: The address of the manager's socket; empty: there is no manager.
        watchdog_interval: Seconds between two calls of `feed_watchdog`; `None`: there is no watchdog.
    """

    address: bytes = b""
    watchdog_interval: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Self:
        """Return a notifier for the manager that the variables name, in the process `pid`.

        Invalid values count as absent: a missing manager must not keep the bridge from running.
        """
        name = environ.get("NOTIFY_SOCKET", "")
        if not name.startswith(("/", "@")):  # other families, such as vsock, connect a virtual machine to its host
            return cls()
        address = os.fsencode(name)
        if name.startswith("@"):
            address = b"\0" + address[1:]
        return cls(address, _watchdog_interval(environ, pid))

    def ready(self, status: str = "") -> None:
        """Report that the start, or a reload, is complete; `status` describes the state of the bridge."""
        self._send("READY=1", *_status(status), timeout=_SEND_TIMEOUT)

    def reloading(self, monotonic_us: int) -> None:
        """Report that a reload began at `monotonic_us` of CLOCK_MONOTONIC; `ready` reports its end."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}", timeout=_SEND_TIMEOUT)

    def stopping(self) -> None:
        """Report that the bridge stops."""
        self._send("STOPPING=1", timeout=_SEND_TIMEOUT)

    def status(self, text: str) -> None:
        """Describe the state of the bridge in one line, for people."""
        self._send(*_status(text))

    def feed_watchdog(self) -> None:
        """Report that the bridge works."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str, timeout: float = 0) -> None:
        if not self.address or not assignments:
            return
        # A socket per message needs no closing, and works again after the manager restarted.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(timeout)
            sender.sendto("\n".join(assignments).encode(), self.address)


def _status(text: str) -> list[str]:
    """Return the assignment of a status; none for an empty text."""
    line = clean(text, _STATUS_LENGTH)
    return [f"STATUS={line}"] if line else []


def _watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return half of the watchdog's timeout, as sd_watchdog_enabled(3) advises; `None`: not for this process."""
    watched = environ.get("WATCHDOG_PID", str(pid))
    microseconds = environ.get("WATCHDOG_USEC", "")
    if watched != str(pid) or not (microseconds.isascii() and microseconds.isdecimal()):
        return None
    return int(microseconds) / 2e6 or None
