"""What bounds a request, and the answer that a transport gives."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx

__all__ = ["KEEPALIVE", "RECEIVE_BUFFER", "Limits", "Whole", "answer"]

KEEPALIVE = 90
"""Seconds; longer than the usual interval, so that a lone station does not shake hands for every poll."""

RECEIVE_BUFFER = 32 * 1024
"""Bytes that a connection may have waiting to be read: ample for an answer, and little enough that a server which
floods one connection does not keep the loop from all others."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, the seconds for a whole request, and the bytes of a body that are read.

    An answer whose body is longer is returned as far as it was read, which is then more than `body`.
    """

    connections: int
    seconds: float
    body: int


class Whole(httpx.AsyncByteStream):
    """A body that is there already; `content` spares the iteration."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


def answer(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> httpx.Response:
    """A response as a transport gives it; without headers, it costs a third less to make."""
    return httpx.Response(status, headers=headers or None, stream=Whole(body))
