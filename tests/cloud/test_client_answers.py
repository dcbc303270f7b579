"""Answers that are none, never end, or are not what they say: over real sockets, in bounded time and memory."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.cloud.transport.limits import BODY_LIMIT
from evse_mqtt_bridge.domain.model import Reason
from tests.cloud.fetching import failure_of, reading_of
from tests.cloud.loops import EXAMPLE as _EXAMPLE
from tests.cloud.loops import Loop, ask, settings_of, target_of
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
    """Fails where more than `most` bytes were held at once."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak / _MEGABYTE:.1f} MiB at once"


def test_memory_is_watched() -> None:
    with pytest.raises(AssertionError, match="MiB at once"), _memory(8 * _MEGABYTE):
        bytearray(16 * _MEGABYTE)


# What is no answer

_NO_HTTP = "the answer is not valid HTTP"
_ENDED = "the connection ended in mid-answer"
_CLOSED = "the server closed the connection without an answer"

_MISBEHAVIOURS: dict[str, tuple[Behaviour, Reason, str]] = {
    "closed at once": (raw(b""), Reason.UNREACHABLE, _CLOSED),
    "reset at once": (reset(), Reason.UNREACHABLE, _CLOSED),
    "cut in the status line": (raw(b"HTTP/1.1 20"), Reason.UNREACHABLE, _CLOSED),
    "cut in the headers": (raw(_HEAD), Reason.UNREACHABLE, _CLOSED),
    "cut in the body": (raw(_HEAD + b"Content-Length: 9999\r\n\r\n" + _EXAMPLE), Reason.UNREACHABLE, _ENDED),
    "reset in the body": (reset(_HEAD + b"Content-Length: 9999\r\n\r\n" + _EXAMPLE), Reason.UNREACHABLE, ""),
    "cut in a chunk": (raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n[{"), Reason.UNREACHABLE, _ENDED),
    "no HTTP": (raw(_EXAMPLE), Reason.INVALID_RESPONSE, _NO_HTTP),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "bytes": (raw(bytes(range(256)) * 10), Reason.INVALID_RESPONSE, _NO_HTTP),
    "a status that is none": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "a header without a name": (raw(b"HTTP/1.1 200 OK\r\n: x\r\n\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "a length that is none": (raw(_HEAD + b"Content-Length: x\r\n\r\n"), Reason.INVALID_RESPONSE, _NO_HTTP),
    "a header of a megabyte": (
        raw(_HEAD + b"X: " + b"x" * _MEGABYTE + b"\r\n\r\n"),
        Reason.INVALID_RESPONSE,
        _NO_HTTP,
    ),
    "an encoding nobody asked for": (
        answer(_EXAMPLE, content_encoding="br"),
        Reason.INVALID_RESPONSE,
        "a content encoding that was not asked for",
    ),
    "no gzip": (
        answer(_EXAMPLE, content_encoding="gzip"),
        Reason.INVALID_RESPONSE,
        "the answer is not gzip as it says",
    ),
    "gzip that is cut off": (
        answer(gzip.compress(_EXAMPLE)[:-30], content_encoding="gzip"),
        Reason.INVALID_RESPONSE,
        "not JSON, or cut off",
    ),
    "an empty body": (answer(b""), Reason.INVALID_RESPONSE, "an empty answer"),
    "a page": (answer(b"<html>", content_type="text/html"), Reason.INVALID_RESPONSE, "HTML or XML instead of JSON"),
}


@pytest.mark.parametrize(("behaviour", "reason", "words"), _MISBEHAVIOURS.values(), ids=_MISBEHAVIOURS.keys())
def test_what_is_no_answer_is_a_failure_with_its_reason(
    run: Loop, server: MisbehavingServer, behaviour: Behaviour, reason: Reason, words: str
) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    failure = failure_of(run(ask(server.url)))
    assert failure.reason is reason
    assert words in failure.detail


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: %d\r\n\r\n" % len(_EXAMPLE) + _EXAMPLE),
        raw(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(_EXAMPLE) + _EXAMPLE),
        raw(b"HTTP/1.0 200 OK\r\n\r\n" + _EXAMPLE),
        raw(
            _HEAD
            + b"X-Place: Stra\xdfe\r\nSet-Cookie: \xff=;;\r\nContent-Length: %d\r\n\r\n" % len(_EXAMPLE)
            + _EXAMPLE
        ),
        raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(_EXAMPLE), _EXAMPLE)),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" + _HEAD + b"Content-Length: %d\r\n\r\n" % len(_EXAMPLE) + _EXAMPLE),
        answer(_EXAMPLE, content_type="text/html; charset=no-such-thing"),
        answer(_EXAMPLE, content_encoding="identity"),
        answer(gzip.compress(_EXAMPLE), content_encoding="gzip"),
        answer(gzip.compress(_EXAMPLE), content_encoding="GZIP"),
        answer(zlib.compress(_EXAMPLE), content_encoding="deflate"),
    ],
)
def test_an_answer_that_is_only_odd_is_read(run: Loop, server: MisbehavingServer, behaviour: Behaviour) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    assert len(reading_of(run(ask(server.url))).plugs) == 2


@pytest.mark.usefixtures("transport")
def test_no_bytes_make_the_client_raise(server: MisbehavingServer) -> None:
    good = _HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(_EXAMPLE) + _EXAMPLE

    with asyncio.Runner() as runner, ExitStack() as stack:
        client = runner.run(CloudClient(settings_of(server.url, timeout=2)).__aenter__())
        stack.callback(lambda: runner.run(client.__aexit__(None, None, None)))

        @settings(max_examples=100)
        @given(st.binary(max_size=60), st.integers(0, 110), st.integers(0, 20))
        def try_bytes(odd: bytes, start: int, length: int) -> None:
            server.set_behaviour(EXAMPLE_EVSE, raw(good[:start] + odd + good[start + length :]))
            runner.run(client.fetch(target_of(client)))

        try_bytes()


# What does not end


@pytest.mark.parametrize(
    "behaviour",
    [
        hang(),
        drip(_HEAD + b"X: " + b"x" * 1000, 0.01),
        drip(_HEAD + b"Content-Length: 5000\r\n\r\n" + _EXAMPLE, 0.01),
        drip(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 1000, 0.005),
    ],
    ids=["silence", "headers that drip", "a body that drips", "chunks that drip"],
)
def test_the_deadline_is_for_the_whole_request(run: Loop, server: MisbehavingServer, behaviour: Behaviour) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    began = time.monotonic()
    with _memory(16 * _MEGABYTE):
        failure = failure_of(run(ask(server.url, timeout=0.4)))
    assert (failure.reason, failure.detail) == (Reason.UNREACHABLE, "no complete answer within 0.4 s")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(b" " * (2 * _MEGABYTE)),
        answer(b" " * (BODY_LIMIT + 1)),
        endless(_HEAD + b"\r\n", b" " * 65_536),
        endless(_HEAD + b"Content-Length: 2000000000\r\n\r\n", b" " * 65_536),
        endless(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        gzip_bomb(64 * _MEGABYTE),
        answer(zlib.compress(b" " * 64 * _MEGABYTE), content_encoding="deflate"),
    ],
    ids=["2 MiB", "a byte too many", "endless", "2 GB", "endless chunks", "gzip bomb", "deflate bomb"],
)
def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    run: Loop, server: MisbehavingServer, behaviour: Behaviour
) -> None:
    """Well before the deadline, which would be another failure."""
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    with _memory(16 * _MEGABYTE):
        failure = failure_of(run(ask(server.url, timeout=60)))
    assert failure.reason is Reason.INVALID_RESPONSE
    assert failure.detail == "an answer larger than 1048576 bytes"


@pytest.mark.parametrize(
    "behaviour",
    [
        endless(_HEAD, b"X-Header: value\r\n" * 100),
        endless(_HEAD + b"X-Header: ", b"x" * 1000),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["headers", "one header", "continue"],
)
def test_a_head_that_does_not_end_takes_neither_memory_nor_more_than_the_deadline(
    run: Loop, server: MisbehavingServer, behaviour: Behaviour
) -> None:
    """Whether it is refused for what it is, or given up, is the transport's choice."""
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    with _memory(48 * _MEGABYTE):
        failure = failure_of(run(ask(server.url, timeout=2)))
    assert failure.reason in (Reason.INVALID_RESPONSE, Reason.UNREACHABLE)


def test_an_answer_as_large_as_allowed_is_read(run: Loop, server: MisbehavingServer) -> None:
    body = _EXAMPLE + b" " * (BODY_LIMIT - len(_EXAMPLE))
    server.set_behaviour(EXAMPLE_EVSE, answer(body))
    assert len(reading_of(run(ask(server.url))).plugs) == 2
    server.set_behaviour(EXAMPLE_EVSE, answer(gzip.compress(body), content_encoding="gzip"))
    assert len(reading_of(run(ask(server.url))).plugs) == 2
