"""The client's connections, on both transports: kept, counted, given up, and never mixed up."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import pytest

from evse_mqtt_bridge.cloud.client import CloudClient, StationRequest
from evse_mqtt_bridge.domain.model import Failure, Reason
from tests.cloud.fetching import TOKEN
from tests.cloud.loops import EXAMPLE, HEADERS, Loop, ask, is_example, settings_of, target_of
from tests.harness import CloudServer, free_port, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import Behaviour, MisbehavingServer, answer, raw, reset


def test_cookies_of_one_answer_are_not_sent_with_the_next(run: Loop, cloud: CloudServer) -> None:
    cookies = {"Set-Cookie": "session=1; Path=/; Max-Age=3600"}
    cloud.answer(EXAMPLE_EVSE, status_example(), headers=cookies)

    async def test() -> None:
        async with CloudClient(settings_of(cloud.url)) as client:
            for uuid in (EXAMPLE_EVSE, EXAMPLE_EVSE, "another"):
                await client.fetch(target_of(client, uuid))

    run(test())
    assert [set(request.headers) for request in cloud.requests] == [HEADERS] * 3


def test_nothing_that_shows_a_request_shows_its_token(run: Loop, cloud: CloudServer) -> None:
    async def test() -> StationRequest:
        async with CloudClient(settings_of(cloud.url)) as client:
            target = target_of(client)
            await client.fetch(target)
            return target

    target = run(test())
    prepared = target.request.extensions["prepared"]
    assert cloud.requests[0].headers["evsetoken"] == TOKEN
    for shown in (target, prepared, target.request, target.request.extensions, [target], {"target": target}):
        assert TOKEN not in f"{shown!r} {shown}"


def test_nobody_listens(run: Loop) -> None:
    outcome = run(ask(f"http://127.0.0.1:{free_port()}"))
    assert outcome == Failure(Reason.UNREACHABLE, "connection refused")


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_nobody_is_called_so(run: Loop, host: str) -> None:
    """Names that are refused without asking anybody."""
    outcome = run(ask(f"http://{host}:80"))
    assert outcome == Failure(Reason.UNREACHABLE, "DNS: the name could not be resolved")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (raw(b""), "the server closed the connection without an answer"),
        (reset(), "the server closed the connection without an answer"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-le"), "the server closed the connection without an answer"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + EXAMPLE), "the connection ended in mid-answer"),
        (
            raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[ "),
            "the connection ended in mid-answer",
        ),
    ],
)
def test_a_connection_that_ends_early(run: Loop, server: MisbehavingServer, behaviour: Behaviour, words: str) -> None:
    server.set_behaviour(EXAMPLE_EVSE, behaviour)
    assert run(ask(server.url)) == Failure(Reason.UNREACHABLE, words)


def test_waiting_for_a_free_connection_counts(run: Loop, server: MisbehavingServer) -> None:
    async def test() -> None:
        async with CloudClient(settings_of(server.url, timeout=0.3, max_concurrency=1)) as client:
            outcomes = await asyncio.gather(*(client.fetch(target_of(client, name)) for name in ("a", "b", "c")))
            assert outcomes == [Failure(Reason.UNREACHABLE, "no complete answer within 0.3 s")] * 3

    run(test())


@dataclass
class Counter:
    """A server in the test's own event loop that counts connections, and answers once it is let to."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    ever: int = 0
    open: int = 0
    most: int = 0
    requests: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._count(1)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            await self._count(-1)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readuntil(b"\r\n\r\n")
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
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(EXAMPLE), EXAMPLE))
        await writer.drain()
        return True

    async def _count(self, step: int) -> None:
        async with self.changed:
            self.open += step
            self.ever += max(step, 0)
            self.most = max(self.most, self.open)
            self.changed.notify_all()

    async def until(self, reached: Callable[["Counter"], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: reached(self))


def _counted(run: Loop, test: Callable[[Counter], Coroutine[object, object, None]]) -> Counter:
    """Runs a test with a Counter; whatever it did, no connection is left when it has ended."""

    async def counted() -> Counter:
        counter = Counter()
        server = await asyncio.start_server(counter.serve, "127.0.0.1", 0)
        counter.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            await test(counter)
            await counter.until(lambda counter: not counter.open)
        finally:
            server.close()
        return counter

    return run(counted())


def test_one_connection_serves_one_request_after_the_other(run: Loop) -> None:
    async def test(counter: Counter) -> None:
        counter.may_answer.set()
        async with CloudClient(settings_of(counter.url)) as client:
            for uuid in (EXAMPLE_EVSE, EXAMPLE_EVSE.upper(), EXAMPLE_EVSE):
                assert is_example(await client.fetch(target_of(client, uuid)))

    counter = _counted(run, test)
    assert (counter.requests, counter.ever) == (3, 1)


@pytest.mark.parametrize(("allowed", "expected"), [(1, 1), (3, 3), (50, 12)])
def test_there_are_never_more_connections_than_allowed(run: Loop, allowed: int, expected: int) -> None:
    async def test(counter: Counter) -> None:
        async with CloudClient(settings_of(counter.url, max_concurrency=allowed)) as client:
            polls = asyncio.gather(*(client.fetch(target_of(client)) for _ in range(12)))
            await counter.until(lambda counter: counter.requests == expected)
            counter.may_answer.set()
            assert all(map(is_example, await polls))

    counter = _counted(run, test)
    assert (counter.requests, counter.most, counter.ever) == (12, expected, expected)


def test_a_request_that_is_cancelled_leaves_no_connection_behind(run: Loop) -> None:
    async def test(counter: Counter) -> None:
        async with CloudClient(settings_of(counter.url, max_concurrency=2)) as client:
            polls = [asyncio.create_task(client.fetch(target_of(client))) for _ in range(4)]
            await counter.until(lambda counter: counter.requests == 2)
            for poll in polls:  # two of them under way, two in wait of a connection
                poll.cancel()
            assert all(
                isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*polls, return_exceptions=True)
            )
            await counter.until(lambda counter: not counter.open)
            counter.may_answer.set()
            assert all(map(is_example, await asyncio.gather(*(client.fetch(target_of(client)) for _ in range(4)))))

    counter = _counted(run, test)
    assert (counter.requests, counter.most) == (6, 2)


def test_a_request_that_took_too_long_leaves_no_connection_behind(run: Loop) -> None:
    async def test(counter: Counter) -> None:
        async with CloudClient(settings_of(counter.url, max_concurrency=1, timeout=0.2)) as client:
            assert isinstance(await client.fetch(target_of(client)), Failure)
            await counter.until(lambda counter: not counter.open)
            counter.may_answer.set()
            assert is_example(await client.fetch(target_of(client)))

    assert _counted(run, test).requests == 2


def test_a_connection_that_the_server_closed_meanwhile_harms_no_request(run: Loop, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())

    async def test() -> None:
        async with CloudClient(settings_of(cloud.url)) as client:
            assert is_example(await client.fetch(target_of(client)))
            await asyncio.to_thread(cloud.stop)
            refused = await client.fetch(target_of(client))
            assert isinstance(refused, Failure)
            await asyncio.to_thread(cloud.start)
            assert is_example(await client.fetch(target_of(client)))

    run(test())


def test_bytes_after_an_answer_are_not_taken_for_the_next(run: Loop, server: MisbehavingServer) -> None:
    other = json.dumps([{"plug_uuid": "smuggled", "evse_uuid": None}]).encode()

    def head(content: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)

    server.set_behaviour("first", raw(head(b"[]") + head(other)))
    server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))

    async def test() -> None:
        async with CloudClient(settings_of(server.url, max_concurrency=1)) as client:
            assert isinstance(await client.fetch(target_of(client, "first")), Failure)
            assert is_example(await client.fetch(target_of(client)))

    run(test())
