"""Responses of httpx whose body has arrived completely, as libcurl delivers them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

__all__ = ["BufferedBody", "LightResponse", "buffered_response"]


class BufferedBody(httpx.AsyncByteStream):
    """A body that has arrived completely; reading `content` spares the iteration."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


class LightResponse(httpx.Response):
    """A response with status 200 to a poll, which is created thousands of times per second.

    It has no headers, because the client needs those of a useful response only if the body is encoded. Creating it
    takes a fraction of the time of a usual response.

    Args:
        body: The body, which is not encoded, and at most as large as the limit.

    Attributes:
        body: See above; reading it spares the stream.
    """

    status_code = 200
    headers = httpx.Headers()
    is_closed = False
    is_stream_consumed = False
    default_encoding = "utf-8"
    _request = None
    _num_bytes_downloaded = 0

    def __init__(self, body: bytes) -> None:
        self.body = body

    @property
    def stream(self) -> httpx.AsyncByteStream:  # type: ignore[override]  # an attribute of httpx.Response
        """The body as a stream."""
        return BufferedBody(self.body)

    @property
    def extensions(self) -> dict[str, Any]:  # type: ignore[override]  # an attribute of httpx.Response
        """What a transport adds to a response: nothing."""
        return {}


def buffered_response(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> httpx.Response:
    """Return a response with a buffered body."""
    return httpx.Response(status, headers=headers, stream=BufferedBody(body))
