"""The client with transports that enforce nothing: it sets deadlines and limits, closes, and translates errors."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from evse_mqtt_bridge.cloud.body import ERROR_BODY_TIMEOUT
from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.cloud.transport.limits import BODY_LIMIT, ERROR_BODY_LIMIT
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason
from tests.cloud.clients import EXAMPLE, TOKEN, Clients, is_example, request_for

pytestmark = pytest.mark.usefixtures("_token_stays_secret")


class _Body(httpx.AsyncByteStream):
    """Yields `chunks`, after a pause for each, then raises `error` if there is one.

    Attributes:
        sent: Number of chunks that have been read.
        closed: Number of times that it was closed.
    """

    def __init__(self, *chunks: bytes, pause: float = 0, error: Exception | None = None) -> None:
        self.chunks, self.pause, self.error = chunks, pause, error
        self.sent = self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            await asyncio.sleep(self.pause)
            self.sent += 1
            yield chunk
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed += 1


async def _poll(answer: Callable[[httpx.Request], Awaitable[httpx.Response]], **settings: object) -> Outcome:
    # A separate transport, because httpx.MockTransport reads the whole body before it returns.
    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await answer(request)

    return await Clients("auto", Transport).poll("http://cloud.example", **settings)


async def _poll_body(
    body: _Body, status: int = 200, headers: dict[str, str] | None = None, **settings: object
) -> Outcome:
    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, stream=body)

    return await _poll(answer, **settings)


async def test_body_in_chunks_is_read_and_closed() -> None:
    body = _Body(EXAMPLE[:100], b"", EXAMPLE[100:])
    assert is_example(await _poll_body(body))
    assert body.closed == 1


async def test_compressed_body_in_chunks_is_decoded() -> None:
    content = gzip.compress(EXAMPLE)
    body = _Body(content[:30], content[30:])
    assert is_example(await _poll_body(body, headers={"content-encoding": "gzip"}))


async def test_body_beyond_the_limit_is_not_read_to_its_end() -> None:
    body = _Body(*[b" " * 65_536] * 100)
    assert await _poll_body(body) == Failure(Reason.INVALID_RESPONSE, f"the body is larger than {BODY_LIMIT} bytes")
    assert (body.sent, body.closed) == (BODY_LIMIT // 65_536 + 1, 1)


async def test_deadline_includes_the_body() -> None:
    body = _Body(*[b" "] * 1000, pause=0.05)
    began = time.monotonic()
    assert await _poll_body(body, timeout=0.3) == Failure(Reason.UNREACHABLE, "no complete response within 0.3 s")
    assert 0.25 < time.monotonic() - began < 5
    assert body.closed == 1


async def test_deadline_includes_the_wait_for_the_head() -> None:
    async def hang(_request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    assert await _poll(hang, timeout=0.1) == Failure(Reason.UNREACHABLE, "no complete response within 0.1 s")


async def test_cancelled_poll_stays_cancelled_and_closes_the_body() -> None:
    body = _Body(b" ", pause=60)
    poll = asyncio.create_task(_poll_body(body))
    await asyncio.sleep(0.05)
    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll
    assert body.closed == 1


async def test_error_body_is_read_to_its_end_and_closed() -> None:
    body = _Body(*[b"x" * 1024] * 16)
    assert await _poll_body(body, 503) == Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
    assert (body.sent, body.closed) == (16, 1)


async def test_error_body_beyond_the_limit_is_given_up() -> None:
    body = _Body(*[b"x" * 1024] * 1000)
    assert await _poll_body(body, 503) == Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
    assert (body.sent, body.closed) == (ERROR_BODY_LIMIT // 1024 + 1, 1)


@pytest.mark.parametrize(("deadline", "longest"), [(60, ERROR_BODY_TIMEOUT + 2), (0.2, 0.9)])
async def test_slow_error_body_delays_the_status_little(deadline: float, longest: float) -> None:
    body = _Body(b"x", pause=60)
    began = time.monotonic()
    outcome = await _poll_body(body, 401, timeout=deadline)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.detail) == (Reason.UNAUTHORIZED, "HTTP 401 Unauthorized: the token was rejected")
    assert time.monotonic() - began < longest
    assert body.closed == 1


@pytest.mark.parametrize("error", [httpx.ReadError(TOKEN[:3]), OSError(), TimeoutError()])
async def test_broken_error_body_does_not_hide_the_status(error: Exception) -> None:
    body = _Body(b"x", error=error)
    assert await _poll_body(body, 503) == Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
    assert body.closed == 1


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        (httpx.ConnectTimeout("x"), Reason.UNREACHABLE, "the connection could not be established in time"),
        (httpx.RemoteProtocolError("illegal status line"), Reason.INVALID_RESPONSE, "the response is not valid HTTP"),
        (TimeoutError(), Reason.UNREACHABLE, "no complete response within 10 s"),
        (ConnectionRefusedError(), Reason.UNREACHABLE, "connection refused"),
    ],
)
async def test_error_of_the_transport_is_translated(error: Exception, reason: Reason, text: str) -> None:
    async def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    assert await _poll(fail) == Failure(reason, text)


async def test_error_while_reading_the_body_is_translated() -> None:
    body = _Body(EXAMPLE[:100], error=httpx.ReadError("x"))
    assert await _poll_body(body) == Failure(Reason.UNREACHABLE, "the connection ended in mid-response")
    assert body.closed == 1


async def test_bug_of_the_transport_is_raised() -> None:
    async def fail(_request: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _poll(fail)


async def test_synchronous_body_is_a_bug_of_the_transport() -> None:
    class Synchronous(httpx.SyncByteStream):
        pass

    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Synchronous())

    with pytest.raises(TypeError, match="synchronous body"):
        await _poll(answer)


async def test_client_closes_the_transport_once() -> None:
    class Transport(httpx.AsyncBaseTransport):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    transport = Transport()
    async with CloudClient(Clients("auto").settings("http://cloud.example"), transport) as client:
        await client.aclose()
    assert transport.closed == 1
    with pytest.raises(RuntimeError, match="outside of its context"):
        await client.fetch(request_for(client))
