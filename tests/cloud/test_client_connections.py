"""The connections of both transports: kept alive, counted, aborted, and never mixed up."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from evse_mqtt_bridge.domain.model import Failure, Reason
from tests.cloud.clients import EXAMPLE, HEADERS, TOKEN, Clients, is_example, request_for
from tests.cloud.servers import serving
from tests.harness import Authority, CloudServer, free_port, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import Behaviour, MisbehavingServer, answer, raw, reset


async def test_cookies_are_not_sent_back(clients: Clients, cloud: CloudServer) -> None:
    cookies = {"Set-Cookie": "session=1; Path=/; Max-Age=3600"}
    cloud.answer(EXAMPLE_EVSE, status_example(), headers=cookies)

    async with clients.client(cloud.url) as client:
        for uuid in (EXAMPLE_EVSE, EXAMPLE_EVSE, "another"):
            await client.fetch(request_for(client, uuid))
    assert [set(request.headers) for request in cloud.requests] == [HEADERS] * 3


async def test_token_is_in_no_repr(clients: Clients, cloud: CloudServer) -> None:
    async with clients.client(f"http://localhost:{cloud.port}") as client:
        station = request_for(client)
        await client.fetch(station)
    assert cloud.requests[0].headers["evsetoken"] == TOKEN
    extensions = station.request.extensions
    for shown in (station, station.request, extensions, *extensions.values(), [station], {"station": station}):
        assert TOKEN not in f"{shown!r} {shown}"


async def test_closed_port_is_connection_rejectd(clients: Clients) -> None:
    outcome = await clients.poll(f"http://127.0.0.1:{free_port()}")
    assert outcome == Failure(Reason.UNREACHABLE, "connection refused")


async def test_polls_that_fail_at_once_leave_time_for_others(clients: Clients) -> None:
    """A worker starts its next poll as soon as one has ended, and the event loop has other work."""
    iterations = 0

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    async with clients.client(f"http://127.0.0.1:{free_port()}") as client:
        counting = asyncio.create_task(count())
        for _ in range(20):
            assert isinstance(await client.fetch(request_for(client)), Failure)
        counting.cancel()
    assert iterations >= 20


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_invalid_host_name_cannot_be_resolved(clients: Clients, host: str) -> None:
    """The resolver rejects these names without a lookup."""
    outcome = await clients.poll(f"http://{host}:80")
    assert outcome == Failure(Reason.UNREACHABLE, "DNS: the name could not be resolved")


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (raw(b""), "the server closed the connection without a response"),
        (reset(), "the server closed the connection without a response"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-le"), "the server closed the connection without a response"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + EXAMPLE), "the connection ended in mid-response"),
        (
            raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[ "),
            "the connection ended in mid-response",
        ),
    ],
)
async def test_connection_that_ends_early_is_unreachable(
    clients: Clients, server: MisbehavingServer, behaviour: Behaviour, text: str
) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    assert await clients.poll(server.url) == Failure(Reason.UNREACHABLE, text)


async def test_deadline_includes_the_wait_for_a_connection(clients: Clients, server: MisbehavingServer) -> None:
    async with clients.client(server.url, timeout=0.3, max_concurrency=1) as client:
        outcomes = await asyncio.gather(*(client.fetch(request_for(client, name)) for name in ("a", "b", "c")))
        assert outcomes == [Failure(Reason.UNREACHABLE, "no complete response within 0.3 s")] * 3


_OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(EXAMPLE), EXAMPLE)


@dataclass
class _CountingServer:
    """A server in the test's own event loop that counts connections, and answers once `may_answer` is set.

    Attributes:
        answer: The response to send.
        excess: What to send after the response, in the same segment and, with TLS, in a record of its own.
        ever: Number of accepted connections.
        open: Number of open connections.
        most: Maximum number of connections that were open at once.
        requests: Number of received requests.
        received: The head and the body of each request.
    """

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    ever: int = 0
    open: int = 0
    most: int = 0
    requests: int = 0
    url: str = ""
    answer: bytes = _OK
    excess: bytes = b""
    received: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._count(1)
        try:
            while await self._one(reader, writer):
                pass
        finally:
            writer.close()
            await self._count(-1)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        self.received.append((head, await reader.readexactly(int(length[1]) if length else 0)))
        async with self.changed:
            self.requests += 1
            self.changed.notify_all()
        more = asyncio.ensure_future(reader.read(1))
        let = asyncio.ensure_future(self.may_answer.wait())
        try:
            done, _ = await asyncio.wait({more, let}, return_when=asyncio.FIRST_COMPLETED)
            if more in done:
                return False  # the client went away
        finally:
            let.cancel()
            more.cancel()
            await asyncio.gather(let, more, return_exceptions=True)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        writer.write(self.answer)
        writer.write(self.excess)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        await writer.drain()
        return True

    async def _count(self, step: int) -> None:
        async with self.changed:
            self.open += step
            self.ever += max(step, 0)
            self.most = max(self.most, self.open)
            self.changed.notify_all()

    async def until(self, reached: Callable[["_CountingServer"], bool]) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: reached(self))


@pytest.fixture
async def counter() -> AsyncIterator[_CountingServer]:
    """A running server that counts connections; no connection may be left at the end of the test."""
    async with _counting() as counter:
        yield counter


@asynccontextmanager
async def _counting(tls: ssl.SSLContext | None = None) -> AsyncIterator[_CountingServer]:
    counter = _CountingServer()
    async with serving(counter.serve, tls=tls) as port:
        counter.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        yield counter
        await counter.until(lambda counter: not counter.open)


@pytest.fixture
def certificate(authority: Authority) -> ssl.SSLContext:
    """The TLS context of a server."""
    issued = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_file, issued.key_file)
    return context


async def test_connection_serves_one_request_after_another(clients: Clients, counter: _CountingServer) -> None:
    counter.may_answer.set()
    async with clients.client(counter.url) as client:
        for uuid in (EXAMPLE_EVSE, EXAMPLE_EVSE.upper(), EXAMPLE_EVSE):
            assert is_example(await client.fetch(request_for(client, uuid)))
    assert (counter.requests, counter.ever) == (3, 1)


@pytest.mark.parametrize(("allowed", "expected"), [(1, 1), (3, 3), (11, 11), (25, 12), (50, 12)])
async def test_connections_never_exceed_the_setting(
    clients: Clients, counter: _CountingServer, allowed: int, expected: int
) -> None:
    async with clients.client(counter.url, max_concurrency=allowed) as client:
        polls = asyncio.gather(*(client.fetch(request_for(client)) for _ in range(12)))
        await counter.until(lambda counter: counter.requests == expected)
        counter.may_answer.set()
        assert all(map(is_example, await polls))
    assert (counter.requests, counter.most, counter.ever) == (12, expected, expected)


@pytest.mark.parametrize(
    "error",
    [
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 16384\r\n\r\n" + b"x" * 16384,
        b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n",
    ],
    ids=["no body", "small body", "largest body", "chunked body"],
)
async def test_error_answers_keep_their_connections(clients: Clients, counter: _CountingServer, error: bytes) -> None:
    counter.answer = error
    counter.may_answer.set()
    busy = Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
    async with clients.client(counter.url, max_concurrency=20) as client:
        stations = [request_for(client, f"evse-{number}") for number in range(20)]
        for _ in range(10):
            assert await asyncio.gather(*map(client.fetch, stations)) == [busy] * 20
    assert counter.requests == 200
    assert (counter.ever, counter.most) == (20, 20)


async def test_large_error_body_costs_only_its_connection(clients: Clients, counter: _CountingServer) -> None:
    counter.answer = b"HTTP/1.1 503 Busy\r\ncontent-length: 999999\r\n\r\n" + b"x" * 999_999
    counter.may_answer.set()
    began = time.monotonic()
    async with clients.client(counter.url) as client:
        for _ in range(3):
            outcome = await client.fetch(request_for(client))
            assert outcome == Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
        counter.answer = _OK
        assert is_example(await client.fetch(request_for(client)))
    assert time.monotonic() - began < 5
    assert counter.ever == 4


async def test_requests_with_a_body_leave_the_connection_usable(clients: Clients, counter: _CountingServer) -> None:
    counter.may_answer.set()
    async with clients.client(counter.url) as client:
        requests = [
            client.build_request("POST", "/limit", TOKEN, json={"current": 16}),
            client.build_request("GET", "/status", TOKEN),
            client.build_request("DELETE", "/limit", TOKEN),
            client.build_request("DELETE", "/session", TOKEN, json=["a"]),
            client.build_request("PUT", "/empty", TOKEN, json=""),
            client.build_request("POST", "/limit", TOKEN, json={"current": 16}),
            client.build_request("GET", "/status", TOKEN),
        ]
        for request in requests:
            assert await client.send(request) == EXAMPLE
    assert counter.ever == 1
    assert [(head.split(b" HTTP", 1)[0], body) for head, body in counter.received] == [
        (b"POST /limit", b'{"current":16}'),
        (b"GET /status", b""),
        (b"DELETE /limit", b""),
        (b"DELETE /session", b'["a"]'),
        (b"PUT /empty", b'""'),
        (b"POST /limit", b'{"current":16}'),
        (b"GET /status", b""),
    ]
    for head, body in counter.received:
        names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line]
        assert sorted(names) == sorted({*names}), "no header twice"
        expected = {name.encode() for name in HEADERS} | ({b"content-length", b"content-type"} if body else set())
        assert set(names) == expected
        assert TOKEN.encode() in head
        if body:
            assert b"content-type: application/json" in head.lower()


async def test_cancelled_requests_leave_no_connection(clients: Clients, counter: _CountingServer) -> None:
    async with clients.client(counter.url, max_concurrency=2) as client:
        polls = [asyncio.create_task(client.fetch(request_for(client))) for _ in range(4)]
        await counter.until(lambda counter: counter.requests == 2)
        for poll in polls:  # two of them under way, two waiting for a connection
            poll.cancel()
        results = await asyncio.gather(*polls, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await counter.until(lambda counter: not counter.open)
        counter.may_answer.set()
        assert all(map(is_example, await asyncio.gather(*(client.fetch(request_for(client)) for _ in range(4)))))
    assert (counter.requests, counter.most) == (6, 2)


async def test_cancelled_waiting_request_blocks_no_other(clients: Clients, counter: _CountingServer) -> None:
    async with clients.client(counter.url, max_concurrency=1) as client:
        first, second, third = (asyncio.create_task(client.fetch(request_for(client))) for _ in range(3))
        await counter.until(lambda counter: counter.requests == 1)
        second.cancel()
        counter.may_answer.set()
        assert is_example(await first)
        assert is_example(await third)
        await asyncio.wait([second])
        assert second.cancelled()


async def test_request_that_times_out_leaves_no_connection(clients: Clients, counter: _CountingServer) -> None:
    async with clients.client(counter.url, max_concurrency=1, timeout=0.2) as client:
        assert isinstance(await client.fetch(request_for(client)), Failure)
        await counter.until(lambda counter: not counter.open)
        counter.may_answer.set()
        assert is_example(await client.fetch(request_for(client)))
    assert counter.requests == 2


async def test_connection_closed_while_idle_harms_no_request(clients: Clients, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())

    async with clients.client(cloud.url) as client:
        assert is_example(await client.fetch(request_for(client)))
        await asyncio.to_thread(cloud.stop)
        refused = await client.fetch(request_for(client))
        assert isinstance(refused, Failure)
        await asyncio.to_thread(cloud.start)
        assert is_example(await client.fetch(request_for(client)))


async def test_bytes_after_an_answer_are_not_the_next_answer(clients: Clients, server: MisbehavingServer) -> None:
    other = json.dumps([{"plug_uuid": "smuggled", "evse_uuid": None}]).encode()

    def head(content: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)

    server.set_behaviour("first", raw(head(b"[]") + head(other)))
    server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))

    async with clients.client(server.url, max_concurrency=1) as client:
        assert isinstance(await client.fetch(request_for(client, "first")), Failure)
        assert is_example(await client.fetch(request_for(client)))


_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EXAMPLE), EXAMPLE)
_FRAMINGS = {
    "length": _OK,
    "chunks": _CHUNKED + b"0\r\n\r\n",
    "trailers": _CHUNKED + b"0\r\nx: a\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + _OK,
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
}


_SMUGGLED = _CHUNKED.replace(EXAMPLE[:40], b" " * 40) + b"0\r\n\r\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("framing", _FRAMINGS)
async def test_excess_is_not_the_next_response(
    clients: Clients, authority: Authority, certificate: ssl.SSLContext, framing: str, scheme: str
) -> None:
    async with _counting(certificate if scheme == "https" else None) as counter:
        counter.answer = _FRAMINGS[framing] + _SMUGGLED
        await _expect_example_after(clients, counter, authority, framing)


@pytest.mark.parametrize("framing", _FRAMINGS)
async def test_excess_in_another_tls_record_is_noticed(
    request: pytest.FixtureRequest,
    clients: Clients,
    authority: Authority,
    certificate: ssl.SSLContext,
    framing: str,
) -> None:
    if clients.transport == "libcurl":
        reason = "libcurl 8.23 does not notice a record that OpenSSL has read ahead"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
    async with _counting(certificate) as counter:
        counter.answer, counter.excess = _FRAMINGS[framing], _SMUGGLED
        await _expect_example_after(clients, counter, authority, framing)


async def _expect_example_after(clients: Clients, counter: _CountingServer, authority: Authority, framing: str) -> None:
    """Poll twice, and expect the server's second response although there is an excess after the first one."""
    counter.may_answer.set()
    async with clients.client(counter.url, max_concurrency=1, ca_file=str(authority.ca_file)) as client:
        assert is_example(await client.fetch(request_for(client))) == (framing != "no body")
        counter.answer, counter.excess = _OK, b""
        assert is_example(await client.fetch(request_for(client)))
    assert counter.requests == 2
    assert counter.ever == 2 or clients.transport == "libcurl"  # which may discard the excess instead


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("framing", _FRAMINGS)
async def test_response_without_excess_keeps_the_connection(
    clients: Clients, authority: Authority, certificate: ssl.SSLContext, framing: str, scheme: str
) -> None:
    async with _counting(certificate if scheme == "https" else None) as counter:
        counter.answer = _FRAMINGS[framing]
        counter.may_answer.set()
        async with clients.client(counter.url, max_concurrency=1, ca_file=str(authority.ca_file)) as client:
            for _ in range(3):
                assert is_example(await client.fetch(request_for(client))) == (framing != "no body")
        assert (counter.requests, counter.ever) == (3, 1)
