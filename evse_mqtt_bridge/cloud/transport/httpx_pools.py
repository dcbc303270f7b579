"""httpx's engine, httpcore, in several small pools: needs no compiled package, but many times the CPU time of libcurl.

The work of a pool of httpcore grows with the square of its size, so no pool has more than ten connections, and a
request goes to the least busy pool. names.py resolves names, because a lookup in the loop's executor could delay the
end of the process. So a request is sent to an address, with the name in its Host header and in the TLS handshake.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx

from evse_mqtt_bridge.cloud.errors import causes
from evse_mqtt_bridge.cloud.transport.httpcore_pool import HttpcorePool
from evse_mqtt_bridge.cloud.transport.limits import RECEIVE_BUFFER
from evse_mqtt_bridge.cloud.transport.names import Names
from evse_mqtt_bridge.cloud.transport.proxy import Proxy, named_proxy
from evse_mqtt_bridge.support.net import is_address

__all__ = ["POOL_SIZE", "HttpxPools"]

POOL_SIZE = 10
"""Maximum number of connections per pool."""

_CONNECT_TIMEOUT = 2.0
"""Seconds to wait for a connection to one address of a name if there are more addresses to try."""

_SOCKET_OPTIONS = ((socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER),)


@dataclass(slots=True)
class _Pool:
    """One pool of connections.

    Attributes:
        transport: The transport that owns the connections.
        size: Maximum number of connections.
        busy: Number of requests under way.
        is_replaced: Whether another pool has replaced this one, which is closed when its last request ends.
    """

    transport: HttpcorePool
    size: int
    busy: int = 0
    is_replaced: bool = False


class HttpxPools(httpx.AsyncBaseTransport):
    """A transport that follows no redirect, keeps no cookie and decodes no body.

    Args:
        connections: Maximum number of open connections.
        tls: The context that verifies servers.
        environment_proxy: Whether to use the proxy that the environment names.
    """

    def __init__(self, connections: int, tls: ssl.SSLContext, *, environment_proxy: bool) -> None:
        self._connections = connections
        self._tls = tls
        self._environment_proxy = environment_proxy
        self._slots = asyncio.Semaphore(connections)
        self._names = Names(asyncio.get_running_loop().time)
        self._working: dict[str, str] = {}
        """The address that accepted a connection last, by host with several addresses; it is tried first."""
        self._pools: dict[Proxy | None, tuple[_Pool, ...]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return its response when the head has arrived.

        Raises:
            httpx.HTTPError: The request failed.
            OSError: The host has no address, or the environment names a proxy that is not an HTTP proxy.
        """
        host = _host(request)
        proxy = named_proxy(request.url.scheme, host) if self._environment_proxy else None
        addresses = await self._addresses(proxy.host if proxy else host)
        await self._slots.acquire()
        try:
            return await self._send_to_first(addresses, proxy, request)
        except BaseException:
            self._slots.release()
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        await self._names.aclose()
        for pools in self._pools.values():
            for pool in pools:
                await pool.transport.aclose()

    async def _addresses(self, host: str) -> tuple[str, ...]:
        """Return the addresses of a host, the one that worked last first."""
        if is_address(host):
            return (host,)
        addresses = await self._names.addresses(host)
        working = self._working.get(host)
        if working not in addresses:
            return addresses
        return (working, *(address for address in addresses if address != working))

    async def _send_to_first(
        self, addresses: tuple[str, ...], proxy: Proxy | None, request: httpx.Request
    ) -> httpx.Response:
        """Send a request to the first of these addresses, of the proxy or the host, that accepts a connection."""
        *others, last = addresses
        for address in others:
            try:
                response = await self._send_to(address, proxy, request, _CONNECT_TIMEOUT)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if any(isinstance(cause, ssl.SSLError) for cause in causes(error)):
                    raise
            else:
                self._working[proxy.host if proxy else _host(request)] = address
                return response
        return await self._send_to(last, proxy, request)

    async def _send_to(
        self, address: str, proxy: Proxy | None, request: httpx.Request, connect_timeout: float | None = None
    ) -> httpx.Response:
        if proxy is None:
            request = _addressed(request, address, connect_timeout)
        else:
            proxy = replace(proxy, host=address)
        if request.url.scheme == "https":
            request.extensions["trace"] = _HandshakeTrace().on_event
        pool = min(self._pools_of(proxy), key=lambda pool: pool.busy)
        pool.busy += 1
        try:
            response = await pool.transport.handle_async_request(request)
        except BaseException:
            if proxy is not None and not pool.is_replaced:
                self._replace(pool, proxy)
            await self._leave(pool)
            raise
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise TypeError("an asynchronous transport returned a response with a synchronous body")
        response.stream = _Body(response.stream, partial(self._finish, pool))
        return response

    def _pools_of(self, proxy: Proxy | None) -> tuple[_Pool, ...]:
        """Return the pools for a proxy, or for direct connections; larger pools come first."""
        pools = self._pools.get(proxy)
        if pools is None:
            count = math.ceil(self._connections / POOL_SIZE)
            size, larger = divmod(self._connections, count)
            sizes = (size + (index < larger) for index in range(count))
            pools = self._pools[proxy] = tuple(_Pool(self._transport(size, proxy), size) for size in sizes)
        return pools

    def _replace(self, pool: _Pool, proxy: Proxy) -> None:
        """Replace a pool: httpcore never frees the slot of a tunnel whose TLS handshake failed."""
        pool.is_replaced = True
        fresh = _Pool(self._transport(pool.size, proxy), pool.size)
        self._pools[proxy] = tuple(fresh if other is pool else other for other in self._pools[proxy])

    def _transport(self, connections: int, proxy: Proxy | None) -> HttpcorePool:
        return HttpcorePool(connections, self._tls, proxy, _SOCKET_OPTIONS)

    async def _leave(self, pool: _Pool) -> None:
        """Remove a request that has ended from the count."""
        pool.busy -= 1
        if pool.is_replaced and not pool.busy:
            await pool.transport.aclose()

    async def _finish(self, pool: _Pool) -> None:
        """Free the slot of a request whose response was closed."""
        self._slots.release()
        await self._leave(pool)


class _HandshakeTrace:
    """Closes the connection of a cancelled TLS handshake, which httpcore leaves open."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def on_event(self, name: str, info: Mapping[str, Any]) -> None:
        """Follow the events of a request (httpx's `trace` extension)."""
        if name == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif name == "connection.start_tls.complete":
            self._stream = None
        elif name == "connection.start_tls.failed" and self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a response, which occupies its connection until it is closed."""

    def __init__(self, body: httpx.AsyncByteStream, on_closed: Callable[[], Awaitable[None]]) -> None:
        self._body = body
        self._on_closed: Callable[[], Awaitable[None]] | None = on_closed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    async def aclose(self) -> None:
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is None:
            return
        try:
            await self._body.aclose()
        finally:
            await on_closed()


def _host(request: httpx.Request) -> str:
    return request.url.raw_host.decode("ascii")


def _addressed(request: httpx.Request, address: str, connect_timeout: float | None) -> httpx.Request:
    """Return a request to this address of its host; it is cached in the extensions of the original request."""
    host = _host(request)
    if host == address:
        return request
    key = (address, connect_timeout)
    known: tuple[tuple[str, float | None], httpx.Request] | None = request.extensions.get("addressed")
    if known is not None and known[0] == key:
        return known[1]
    extensions = {"sni_hostname": host, "timeout": {"connect": connect_timeout}}
    url = request.url.copy_with(host=address)
    made = httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)
    request.extensions["addressed"] = (key, made)
    return made
