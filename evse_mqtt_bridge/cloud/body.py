"""Reads the bodies of responses from any httpx transport, within a size limit, and closes them."""

import asyncio
import contextlib
import zlib

import httpx

from evse_mqtt_bridge.cloud.errors import EXPECTED
from evse_mqtt_bridge.cloud.transport.buffered import BufferedBody
from evse_mqtt_bridge.cloud.transport.limits import BODY_LIMIT, ERROR_BODY_LIMIT
from evse_mqtt_bridge.domain.model import Failure, Reason

__all__ = ["ERROR_BODY_TIMEOUT", "decoded", "read", "read_error_body"]

ERROR_BODY_TIMEOUT = 1.0
"""Seconds to wait for the body of an error response, whose status has arrived already."""

_WBITS = {"gzip": 47, "deflate": 15}
"""By content encoding: the window size for zlib, with the bit that selects the format of the stream."""


async def read(response: httpx.Response, limit: int = BODY_LIMIT) -> bytes:
    """Return the body as received, and close it; a body beyond `limit` bytes is not read to its end."""
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous transport returned a response with a synchronous body")
    body = bytearray()
    try:
        async for chunk in stream:
            body += chunk
            if len(body) > limit:
                break
    finally:
        await stream.aclose()
    return bytes(body)


def decoded(response: httpx.Response, body: bytes) -> bytes | Failure:
    """Return the decoded body; a Failure if it exceeds the limit, or has an encoding other than gzip and deflate."""
    encoding = response.headers.get("content-encoding", "identity").lower() if response.headers else "identity"
    if encoding in _WBITS:
        try:
            body = zlib.decompressobj(wbits=_WBITS[encoding]).decompress(body, BODY_LIMIT + 1)
        except zlib.error:
            return Failure(Reason.INVALID_RESPONSE, f"the body is not {encoding}, as its header declares")
    elif encoding != "identity":
        return Failure(Reason.INVALID_RESPONSE, "the body has a content encoding that was not requested")
    if len(body) > BODY_LIMIT:
        return Failure(Reason.INVALID_RESPONSE, f"the body is larger than {BODY_LIMIT} bytes")
    return body


async def read_error_body(response: httpx.Response, deadline: float) -> bytes:
    """Return the body of an error response, so that its connection can be used again; empty if it cannot be read.

    The status determines the outcome, and the body only shows whether the response is the API's. A body that is too
    large, too slow or broken costs the connection.

    Args:
        response: The response.
        deadline: The time of the event loop at which the whole request has to end, in seconds.
    """
    if isinstance(response.stream, BufferedBody):
        return response.stream.content
    end = asyncio.get_running_loop().time() + ERROR_BODY_TIMEOUT
    with contextlib.suppress(*EXPECTED):
        async with asyncio.timeout_at(min(end, deadline)):
            return await read(response, ERROR_BODY_LIMIT)
    return b""
