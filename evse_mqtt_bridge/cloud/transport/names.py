"""Resolves names of hosts in daemon threads, one lookup at a time per name, and caches the addresses for a minute."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from evse_mqtt_bridge.support.tasks import shared_result
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["LIFETIME", "Names", "resolve"]

LIFETIME = 60
"""Seconds for which the addresses of a name are cached."""

_AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""The result of getaddrinfo for one address."""


async def resolve(host: str) -> list[str]:
    """Return the addresses of a name; a cancelled lookup delays neither the loop nor the end of the process.

    Raises:
        OSError: The name does not exist, or no name server answers.
    """

    def call() -> list[_AddressInfo]:
        return [*socket.getaddrinfo(host, 0, socket.AF_UNSPEC, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)]

    try:
        infos = await in_daemon_thread(call, "cloud-resolve")
    except UnicodeError:  # a label is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from None
    return [socket.getnameinfo(info[4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0] for info in infos]


class Names:
    """A cache of resolved names.

    Args:
        now: Returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._cache: dict[str, tuple[tuple[str, ...], float]] = {}
        """The addresses of each name, and until when they are valid."""
        self._lookups: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    def known(self, host: str) -> tuple[str, ...] | None:
        """Return the cached addresses of a name; `None` if there are none."""
        addresses, until = self._cache.get(host, (None, 0.0))
        return addresses if self._now() < until else None

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a name, from the cache or by a lookup.

        Raises:
            OSError: The name does not exist, or no name server answers.
        """
        known = self.known(host)
        if known is not None:
            return known
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.create_task(self._resolve(host), name=f"resolve {host}")
            lookup.add_done_callback(_retrieve_exception)
        return await shared_result(lookup)

    async def aclose(self) -> None:
        """Cancel all lookups."""
        lookups = list(self._lookups.values())
        for task in lookups:
            task.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    async def _resolve(self, host: str) -> tuple[str, ...]:
        try:
            found = dict.fromkeys(await resolve(host))
            # A link-local address has a zone, and libcurl accepts no address with a zone in a list.
            addresses = tuple(address for address in found if "%" not in address)
            if not addresses:
                raise OSError(errno.EADDRNOTAVAIL, "the name has only a link-local address; use the address itself")
            self._cache[host] = (addresses, self._now() + LIFETIME)
        finally:
            del self._lookups[host]
        return addresses


def _retrieve_exception(task: asyncio.Task[tuple[str, ...]]) -> None:
    """Keep asyncio from reporting a failed lookup that no request waits for any more."""
    if not task.cancelled():
        task.exception()
