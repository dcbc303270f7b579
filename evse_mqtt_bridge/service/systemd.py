"""What the bridge tells the service manager that started it, in systemd's notify protocol (sd_notify(3)).

A manager that wants to be told names a datagram socket in NOTIFY_SOCKET, and in WATCHDOG_USEC how long it waits for a
sign of life. Without these variables every call does nothing. The variables stay in the environment: unsetting them is
for programs whose children could take them for theirs, and the bridge starts none.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from evse_mqtt_bridge.support.text import clean

__all__ = ["Service"]

_PATIENCE = 1.0
"""Seconds that a change of state, which the manager acts on, may wait for room in the manager's queue."""

_WORDS = 200


@dataclass(frozen=True, slots=True)
class Service:
    """The bridge as the service of a manager.

    `address` is the manager's socket as the system calls take it, empty where nobody listens; `watchdog_interval` the
    seconds between two signs of life, `None` where nobody waits for them. No call raises, whatever became of the
    socket.
    """

    address: bytes = b""
    watchdog_interval: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Self:
        """The service that the variables describe, for the process `pid`.

        Values that make no sense count as absent: a service must not fail for want of somebody who listens.
        """
        name = environ.get("NOTIFY_SOCKET", "")
        if not name.startswith(("/", "@")):  # vsock and the like are between a machine and its host
            return cls()
        address = os.fsencode(name)
        if name.startswith("@"):
            address = b"\0" + address[1:]
        return cls(address, _interval(environ, pid))

    def ready(self, status: str = "") -> None:
        """It has started, or has taken a changed configuration over; `status` says in words how it is."""
        self._send("READY=1", *_status(status), patience=_PATIENCE)

    def reloading(self, monotonic_us: int) -> None:
        """It takes a changed configuration over, since `monotonic_us` of CLOCK_MONOTONIC; ends with `ready`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us}", patience=_PATIENCE)

    def stopping(self) -> None:
        """It ends."""
        self._send("STOPPING=1", patience=_PATIENCE)

    def status(self, words: str) -> None:
        """How it is, in words for people, as one line."""
        self._send(*_status(words))

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str, patience: float = 0) -> None:
        if not self.address or not lines:
            return
        # A socket for each message: there is nothing to close, and a manager that starts anew is found again.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(patience)
            sender.sendto("\n".join(lines).encode(), self.address)


def _status(words: str) -> list[str]:
    """The assignment of a status; none without words."""
    line = clean(words, _WORDS)
    return [f"STATUS={line}"] if line else []


def _interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Half of the watchdog's time, as sd_watchdog_enabled(3) advises; `None` where it is not for this process."""
    watched = environ.get("WATCHDOG_PID", str(pid))
    microseconds = environ.get("WATCHDOG_USEC", "")
    if watched != str(pid) or not (microseconds.isascii() and microseconds.isdecimal()):
        return None
    return int(microseconds) / 2e6 or None
