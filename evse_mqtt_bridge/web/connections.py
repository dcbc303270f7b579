"""Limits that protect the bridge from its clients: number of connections, idle time, and time to read a response."""

import asyncio
import socket

from aiohttp import web

__all__ = [
    "IDLE_TIMEOUT",
    "MAX_CONNECTIONS",
    "ConnectionLimiter",
    "abort",
    "send",
    "set_peer_timeout",
]

MAX_CONNECTIONS = 100
"""Open connections; further ones are closed, to leave file descriptors for polling and publishing."""

IDLE_TIMEOUT = 20.0
"""Seconds after which a connection without a request is closed: a new one, or one whose last request is answered."""

_CHUNK_TIMEOUT = 20.0
"""Seconds for a client to read one chunk, and for its kernel to acknowledge data."""

_BODY_TIMEOUT = 120.0
"""Seconds for a client to read a whole body, which stays in memory for that time."""

_CHUNK_SIZE = 32 * 1024
"""Bytes written at once, which bounds the send buffer of a slow client."""


class ConnectionLimiter:
    """Accepts connections for an aiohttp server, up to `MAX_CONNECTIONS`, and closes those that send no request."""

    def __init__(self, server: web.Server) -> None:
        self._server = server
        self._is_closed = False
        self._first_request_timers: dict[int, asyncio.TimerHandle] = {}  # by the id of the connection

    def accept(self) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection."""
        if self._is_closed or len(self._server.connections) >= MAX_CONNECTIONS:
            return _RejectedConnection()
        connection = self._server()
        # aiohttp's keep-alive timer starts with the first response only.
        timer = asyncio.get_running_loop().call_later(IDLE_TIMEOUT, self._timed_out, connection)
        self._first_request_timers[id(connection)] = timer
        return connection

    def request_received(self, request: web.Request) -> None:
        """Leave the connection of a request to aiohttp's own timers."""
        if (timer := self._first_request_timers.pop(id(request.protocol), None)) is not None:
            timer.cancel()

    def close(self) -> None:
        """Reject new connections and cancel all timers."""
        self._is_closed = True
        for timer in self._first_request_timers.values():
            timer.cancel()
        self._first_request_timers.clear()

    def _timed_out(self, connection: web.RequestHandler) -> None:
        del self._first_request_timers[id(connection)]
        connection.force_close()


class _RejectedConnection(asyncio.Protocol):
    """A connection above the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close the connection."""
        transport.close()


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


def set_peer_timeout(request: web.Request) -> None:
    """Let the kernel close the connection when the client's machine has disappeared (Linux only)."""
    connection = request.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(_CHUNK_TIMEOUT * 1000))


def abort(request: web.Request) -> None:
    """Close the connection of a request at once, without sending buffered data."""
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()
