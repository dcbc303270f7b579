"""Invalid and endless responses: over real sockets, within bounded time and memory."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.transport.limits import BODY_LIMIT
from evse_mqtt_bridge.domain.model import Reason
from tests.cloud.clients import EXAMPLE, Clients, failure_of, reading_of, request_for
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import (
    Behaviour,
    MisbehavingServer,
    answer,
    drip,
    endless,
    gzip_bomb,
    hang,
    raw,
    reset,
)

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_MEGABYTE = 2**20


@contextmanager
def _memory(most: int) -> Iterator[None]:
    """Fail if more than `most` bytes are allocated at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak / _MEGABYTE:.1f} MiB at once"


def test_memory_limit_fails_when_exceeded() -> None:
    with pytest.raises(AssertionError, match="MiB at once"), _memory(8 * _MEGABYTE):
        bytearray(16 * _MEGABYTE)


# Invalid responses

_NO_HTTP = "the response is not valid HTTP"
_CUT_OFF = "the connection ended in mid-response"
_CLOSED = "the server closed the connection without a response"

_MISBEHAVIOURS: dict[str, tuple[Behaviour, Reason, str]] = {
    "closed at once": (raw(b""), Reason.UNREACHABLE, _CLOSED),
    "reset at once": (reset(), Reason.UNREACHABLE, _CLOSED),
    "cut in the status line": (raw(b"HTTP/1.1 20"), Reason.UNREACHABLE, _CLOSED),
    "cut in the headers": (raw(_HEAD), Reason.UNREACHABLE, _CLOSED),
    "cut in the body": (raw(_HEAD + b"Content-Length: 9999\r\n\r\n" + EXAMPLE), Reason.UNREACHABLE, _CUT_OFF),
    "reset in the body": (reset(_HEAD + b"Content-Length: 9999\r\n\r\n" + EXAMPLE), Reason.UNREACHABLE, ""),
    "cut in a chunk": (raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n[{"), Reason.UNREACHABLE, _CUT_OFF),
    "no HTTP": (raw(EXAMPLE), Reason.INVALID_RESPONSE, _NO_HTTP),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "bytes": (raw(bytes(range(256)) * 10), Reason.INVALID_RESPONSE, _NO_HTTP),
    "an invalid status": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "a header without a name": (raw(b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "an invalid length": (raw(_HEAD + b"Content-Length: x\r\n\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "a header of a megabyte": (
        raw(_HEAD + b"X: " + b"x" * _MEGABYTE + b"\r\n\r\n"),
        Reason.INVALID_RESPONSE,
        _NO_HTTP,
    ),
    "an encoding that was not requested": (
        answer(EXAMPLE, content_encoding="br"),
        Reason.INVALID_RESPONSE,
        "the body has a content encoding that was not requested",
    ),
    "no gzip": (
        answer(EXAMPLE, content_encoding="gzip"),
        Reason.INVALID_RESPONSE,
        "the body is not gzip, as its header declares",
    ),
    "gzip that is cut off": (
        answer(gzip.compress(EXAMPLE)[:-30], content_encoding="gzip"),
        Reason.INVALID_RESPONSE,
        "not JSON, or truncated",
    ),
    "an empty body": (answer(b""), Reason.INVALID_RESPONSE, "an empty response"),
    "a page": (answer(b"<html>", content_type="text/html"), Reason.INVALID_RESPONSE, "HTML or XML instead of JSON"),
}


@pytest.mark.parametrize(("behaviour", "reason", "text"), _MISBEHAVIOURS.values(), ids=_MISBEHAVIOURS.keys())
async def test_invalid_answer_is_a_failure_with_a_reason(
    clients: Clients, server: MisbehavingServer, behaviour: Behaviour, reason: Reason, text: str
) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    failure = failure_of(await clients.poll(server.url))
    assert failure.reason is reason
    assert text in failure.detail


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: %d\r\n\r\n" % len(EXAMPLE) + EXAMPLE),
        raw(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(EXAMPLE) + EXAMPLE),
        raw(b"HTTP/1.0 200 OK\r\n\r\n" + EXAMPLE),
        raw(
            _HEAD + b"X-Place: Stra\xdfe\r\nSet-Cookie: \xff=;;\r\nContent-Length: %d\r\n\r\n" % len(EXAMPLE) + EXAMPLE
        ),
        raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(EXAMPLE), EXAMPLE)),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" + _HEAD + b"Content-Length: %d\r\n\r\n" % len(EXAMPLE) + EXAMPLE),
        answer(EXAMPLE, content_type="text/html; charset=no-such-thing"),
        answer(EXAMPLE, content_encoding="identity"),
        answer(gzip.compress(EXAMPLE), content_encoding="gzip"),
        answer(gzip.compress(EXAMPLE), content_encoding="GZIP"),
        answer(zlib.compress(EXAMPLE), content_encoding="deflate"),
    ],
)
async def test_unusual_answer_is_read(clients: Clients, server: MisbehavingServer, behaviour: Behaviour) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    assert len(reading_of(await clients.poll(server.url)).plugs) == 2


def test_client_raises_for_no_bytes(clients: Clients, server: MisbehavingServer) -> None:
    good = _HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(EXAMPLE) + EXAMPLE

    with asyncio.Runner() as runner, ExitStack() as stack:
        client = runner.run(clients.client(server.url, timeout=2).__aenter__())
        stack.callback(lambda: runner.run(client.__aexit__(None, None, None)))

        @settings(max_examples=100)
        @given(st.binary(max_size=60), st.integers(0, 110), st.integers(0, 20))
        def try_bytes(odd: bytes, start: int, length: int) -> None:
            server.set_behaviour(EXAMPLE_EVSE, raw(good[:start] + odd + good[start + length :]))
            runner.run(client.fetch(request_for(client)))

        try_bytes()


# Responses without an end


@pytest.mark.parametrize(
    "behaviour",
    [
        hang(),
        drip(_HEAD + b"X: " + b"x" * 1000, 0.01),
        drip(_HEAD + b"Content-Length: 5000\r\n\r\n" + EXAMPLE, 0.01),
        drip(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 1000, 0.005),
    ],
    ids=["silence", "headers that drip", "a body that drips", "chunks that drip"],
)
async def test_deadline_covers_head_and_body(clients: Clients, server: MisbehavingServer, behaviour: Behaviour) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    began = time.monotonic()
    with _memory(16 * _MEGABYTE):
        failure = failure_of(await clients.poll(server.url, timeout=0.4))
    assert (failure.reason, failure.detail) == (Reason.UNREACHABLE, "no complete response within 0.4 s")
    assert time.monotonic() - began < 5


_TOO_LARGE: dict[str, Callable[[], Behaviour]] = {
    "2 MiB": lambda: answer(b" " * (2 * _MEGABYTE)),
    "a byte too many": lambda: answer(b" " * (BODY_LIMIT + 1)),
    "endless": lambda: endless(_HEAD + b"\r\n", b" " * 65_536),
    "2 GB": lambda: endless(_HEAD + b"Content-Length: 2000000000\r\n\r\n", b" " * 65_536),
    "endless chunks": lambda: endless(
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"
    ),
    "gzip bomb": lambda: gzip_bomb(64 * _MEGABYTE),
    "deflate bomb": lambda: answer(zlib.compress(b" " * 64 * _MEGABYTE), content_encoding="deflate"),
}
"""Functions, because every worker imports this module, and compressing takes a second."""


@pytest.mark.parametrize("kind", _TOO_LARGE)
async def test_too_large_answer_is_not_read_to_its_end(clients: Clients, server: MisbehavingServer, kind: str) -> None:
    """The limit applies long before the deadline, which would be another failure."""
    server.set_behaviour(EXAMPLE_EVSE, _TOO_LARGE[kind]())
    with _memory(16 * _MEGABYTE):
        failure = failure_of(await clients.poll(server.url, timeout=60))
    assert failure.reason is Reason.INVALID_RESPONSE
    assert failure.detail == "the body is larger than 1048576 bytes"


@pytest.mark.parametrize(
    "behaviour",
    [
        endless(_HEAD, b"X-Header: value\r\n" * 100),
        endless(_HEAD + b"X-Header: ", b"x" * 1000),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["headers", "one header", "continue"],
)
async def test_endless_head_is_bounded_in_memory_and_time(
    clients: Clients, server: MisbehavingServer, behaviour: Behaviour
) -> None:
    """A transport may reject it as invalid, or give up at the deadline."""
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    with _memory(48 * _MEGABYTE):
        failure = failure_of(await clients.poll(server.url, timeout=2))
    assert failure.reason in (Reason.INVALID_RESPONSE, Reason.UNREACHABLE)


async def test_answer_of_the_largest_size_is_read(clients: Clients, server: MisbehavingServer) -> None:
    body = EXAMPLE + b" " * (BODY_LIMIT - len(EXAMPLE))
    server.set_behaviour(EXAMPLE_EVSE, answer(body))
    assert len(reading_of(await clients.poll(server.url)).plugs) == 2
    server.set_behaviour(EXAMPLE_EVSE, answer(gzip.compress(body), content_encoding="gzip"))
    assert len(reading_of(await clients.poll(server.url)).plugs) == 2
