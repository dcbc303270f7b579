"""The limits of both transports, and the buffered body of libcurl's responses."""

from collections.abc import AsyncIterator, Sequence

import httpx

__all__ = ["BODY_LIMIT", "ERROR_BODY_LIMIT", "KEEPALIVE", "RECEIVE_BUFFER", "BufferedBody", "buffered_response"]

BODY_LIMIT = 1024 * 1024
"""Largest accepted body of a response, in bytes, before and after decoding. Real ones have about 200 per plug."""

ERROR_BODY_LIMIT = 16 * 1024
"""Largest body of an error response that is read to keep its connection open, in bytes."""

KEEPALIVE = 90
"""Seconds an idle connection stays open; longer than the usual polling interval, to save a handshake per poll."""

RECEIVE_BUFFER = 32 * 1024
"""Receive buffer of a connection's socket, in bytes: ample for a response, and small enough that a server which floods
one connection does not starve the others."""


class BufferedBody(httpx.AsyncByteStream):
    """A body that has arrived completely; reading `content` spares the iteration."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


def buffered_response(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> httpx.Response:
    """Return a response with a buffered body; without headers it takes a third less time to create."""
    return httpx.Response(status, headers=headers or None, stream=BufferedBody(body))
