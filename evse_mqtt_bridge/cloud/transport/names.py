"""Names to addresses: in threads that hold nothing up, one lookup at a time for each name, kept for a minute."""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["LIFETIME", "Found", "Names", "is_address", "look_up", "numeric"]

LIFETIME = 60
"""Seconds for which the addresses of a name are used."""

Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""What getaddrinfo gives for one address."""


async def look_up(host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Found]:
    """The system's answer for a name; a lookup that is given up holds up neither the loop nor the end of the process.

    Raises:
        OSError: there is no such name, or nobody who would know.
    """

    def ask() -> list[Found]:
        return [*socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)]

    try:
        return await in_daemon_thread(ask, "cloud-resolve")
    except UnicodeError:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "no host is called so") from None


def numeric(found: Found) -> str:
    """An address as it is written, with its zone."""
    return socket.getnameinfo(found[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]


class Names:
    """The addresses of names, looked up where they are not known; `now` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._known: dict[str, tuple[tuple[str, ...], float]] = {}
        self._asked: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    def known(self, host: str) -> tuple[str, ...] | None:
        """The addresses of a name that was looked up within the last minute."""
        addresses, until = self._known.get(host, (None, 0.0))
        return addresses if self._now() < until else None

    async def addresses(self, host: str) -> tuple[str, ...]:
        """The addresses of a name.

        Raises:
            OSError: there is no such name, or nobody who would know.
        """
        known = self.known(host)
        if known is not None:
            return known
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = asyncio.create_task(self._ask(host), name=f"resolve {host}")
            asked.add_done_callback(_seen)
        await asyncio.wait((asked,))  # not shield(), which since Python 3.14 complains of failures nobody waited for
        return asked.result()

    async def aclose(self) -> None:
        """Give up what is being looked up."""
        asked = list(self._asked.values())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(self, host: str) -> tuple[str, ...]:
        try:
            found = tuple(dict.fromkeys(numeric(found) for found in await look_up(host)))
            # One that holds on one link alone has a zone, which libcurl takes no list with.
            addresses = tuple(address for address in found if "%" not in address)
            if not addresses:
                raise OSError(errno.EADDRNOTAVAIL, "only a link-local address is known of it; use an address itself")
            self._known[host] = (addresses, self._now() + LIFETIME)
        finally:
            del self._asked[host]
        return addresses


def is_address(host: str) -> bool:
    """Whether a host is an address already, which nobody needs to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _seen(task: asyncio.Task[tuple[str, ...]]) -> None:
    """Whoever waited has gone, and a failure is nobody's."""
    if not task.cancelled():
        task.exception()
