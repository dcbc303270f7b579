"""Limits that protect the bridge from its clients: number of connections, idle time, and time to read a response."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import Logger

from aiohttp import web

from evse_mqtt_bridge.support.http_connection import Connection
from evse_mqtt_bridge.web.headers import ERROR_HEADERS

__all__ = [
    "IDLE_TIMEOUT",
    "ConnectionLimiter",
    "abort",
    "send",
    "send_document",
    "set_peer_timeout",
]


IDLE_TIMEOUT = 20.0
"""Seconds after which a connection is closed that has sent no complete request: a new one, or one whose last request is
answered."""

_CHUNK_TIMEOUT = 20.0
"""Seconds for a client to read one chunk, and for its kernel to acknowledge data."""

_BODY_TIMEOUT = 120.0
"""Seconds for a client to read a whole body, which stays in memory for that time."""

_CHUNK_SIZE = 32 * 1024
"""Bytes written at once, which bounds the send buffer of a slow client."""


class ConnectionLimiter:
    """Creates the connections of a server and closes the least useful one if there are too many.

    A connection is replaceable unless the bridge is handling its request: it has sent no complete request yet, is idle
    after one, or is reading the end of a response. The one that has been replaceable for the longest time is closed for
    a new one. So clients that hold many connections cannot keep out a health probe, which sends its request at once.
    """

    def __init__(self, server: web.Server, limit: int, logger: Logger) -> None:
        self._server = server
        self._limit = limit
        self._logger = logger
        self._is_closed = False
        self._open: set[web.RequestHandler] = set()
        self._replaceable: dict[web.RequestHandler, None] = {}  # in the order in which they became it

    def accept(self) -> Connection:
        """Return the protocol of a new connection."""
        return _LimitedConnection(self._server, self, self._logger)

    @contextmanager
    def handling(self, request: web.Request) -> Iterator[None]:
        """Keep the connection of a request until its handler returns."""
        connection = request.protocol
        self._replaceable.pop(connection, None)
        try:
            yield
        finally:
            if connection in self._open:
                self._replaceable[connection] = None

    def close(self) -> None:
        """Reject new connections."""
        self._is_closed = True

    def opened(self, connection: web.RequestHandler) -> None:
        """Make room for a new connection, or close it if there is none."""
        if len(self._open) >= self._limit:
            replaced = next(iter(self._replaceable), None)
            if replaced is not None:
                self.lost(replaced)
                replaced.force_close()
        if self._is_closed or len(self._open) >= self._limit:
            connection.force_close()
            return
        self._open.add(connection)
        self._replaceable[connection] = None

    def lost(self, connection: web.RequestHandler) -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        self._replaceable.pop(connection, None)


class _LimitedConnection(Connection):
    __slots__ = ("_limiter",)

    def __init__(self, server: web.Server, limiter: ConnectionLimiter, logger: Logger) -> None:
        super().__init__(server, ERROR_HEADERS, logger, IDLE_TIMEOUT)
        self._limiter = limiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        super().connection_made(transport)
        self._limiter.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._limiter.lost(self)
        super().connection_lost(exc)


async def send(request: web.Request, response: web.StreamResponse, body: bytes) -> bool:
    """Write a body as fast as the client reads it; close the connection and return `False` if the client stops."""
    rest = memoryview(body)
    try:
        async with asyncio.timeout(_BODY_TIMEOUT):
            for start in range(0, len(rest), _CHUNK_SIZE):
                async with asyncio.timeout(_CHUNK_TIMEOUT):
                    await response.write(rest[start : start + _CHUNK_SIZE])
    except (ConnectionError, TimeoutError):
        abort(request)
        return False
    return True


async def send_document(request: web.Request, headers: Mapping[str, str], body: bytes) -> web.StreamResponse:
    """Respond to a request with a large body; only with the headers if the method is HEAD."""
    response = web.StreamResponse(headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    if request.method != "HEAD":
        await send(request, response, body)
    return response


def set_peer_timeout(request: web.Request) -> None:
    """Let the kernel close the connection when the client's machine has disappeared (Linux only)."""
    connection = request.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(_CHUNK_TIMEOUT * 1000))


def abort(request: web.Request) -> None:
    """Close the connection of a request at once, without sending buffered data."""
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()
