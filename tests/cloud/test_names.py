"""Names of hosts: one lookup for many requests, several addresses, lookups that fail or hang."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from evse_mqtt_bridge.domain.model import Failure, Reason
from tests.cloud.clients import Clients, is_example, request_for
from tests.cloud.servers import serving
from tests.harness import Answer, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, raw
from tests.harness.net import HOST

Resolver = dict[str, Callable[[], list[str]]]
"""Functions that return the addresses of a name, by name."""

_NAME = "cloud.example"


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """The responses of the name server; other names get a real lookup."""
    names: Resolver = {}
    real: Callable[..., list[Any]] = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: object, **named: object) -> list[Any]:
        if host not in names:
            return real(host, port, *rest, **named)
        return [found for address in names[host]() for found in real(address, port, 0, socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


async def test_name_is_resolved_once_for_many_requests(
    clients: Clients, cloud: CloudServer, resolver: Resolver
) -> None:
    lookups: list[str] = []

    def resolve() -> list[str]:
        lookups.append(_NAME)
        return ["127.0.0.1"]

    resolver[_NAME] = resolve
    cloud.answer(EXAMPLE_EVSE, status_example())

    async with clients.client(f"http://{_NAME}:{cloud.port}", max_concurrency=5) as client:
        outcomes = await asyncio.gather(*(client.fetch(request_for(client)) for _ in range(20)))
        assert all(map(is_example, outcomes))
    assert lookups == [_NAME]
    assert {request.headers["host"] for request in cloud.requests} == {f"{_NAME}:{cloud.port}"}


async def test_link_local_address_is_left_out(clients: Clients, cloud: CloudServer, resolver: Resolver) -> None:
    resolver[_NAME] = lambda: ["fe80::1%lo", "127.0.0.1"]
    cloud.answer(EXAMPLE_EVSE, status_example())

    async with clients.client(f"http://{_NAME}:{cloud.port}") as client:
        assert is_example(await client.fetch(request_for(client)))
        resolver[_NAME] = lambda: ["fe80::1%lo"]
    async with clients.client(f"http://{_NAME}:{cloud.port}") as client:
        outcome = await client.fetch(request_for(client))
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.UNREACHABLE


async def test_address_that_accepts_a_connection_is_used(
    clients: Clients, cloud: CloudServer, resolver: Resolver
) -> None:
    resolver[_NAME] = lambda: ["::1", "127.0.0.9", "127.0.0.1"]
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(await clients.poll(f"http://{_NAME}:{cloud.port}"))


async def test_invalid_answer_after_a_rejectd_address_is_reported(
    clients: Clients, server: MisbehavingServer, resolver: Resolver
) -> None:
    resolver[_NAME] = lambda: ["127.0.0.9", "127.0.0.1"]
    server.set_behaviour(EXAMPLE_EVSE, raw(b"no HTTP at all\r\n\r\n"))
    assert await clients.poll(f"http://{_NAME}:{server.port}") == Failure(
        Reason.INVALID_RESPONSE, "the response is not valid HTTP"
    )


async def test_name_that_gets_its_old_address_back_uses_it(
    clients: Clients, cloud: CloudServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request to another address, which the name had for a moment, is still under way."""
    monkeypatch.setattr("evse_mqtt_bridge.cloud.transport.names.LIFETIME", 0)
    cloud.answer(EXAMPLE_EVSE, Answer(status_example(), headers={"Connection": "close"}, delay=0.05))

    async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    url = f"http://{_NAME}:{cloud.port}"
    async with serving(hang, "127.0.0.9", cloud.port), clients.client(url, timeout=3) as client:

        def poll(address: str) -> asyncio.Task[Any]:
            resolver[_NAME] = lambda: [address]
            return asyncio.create_task(client.fetch(request_for(client)))

        assert all(map(is_example, await asyncio.gather(poll(HOST), poll(HOST))))
        elsewhere = poll("127.0.0.9")
        await asyncio.sleep(0.1)
        assert is_example(await poll(HOST))
        elsewhere.cancel()
        await asyncio.wait([elsewhere])


async def test_lookup_that_fails_after_the_deadline_is_no_bug(clients: Clients, resolver: Resolver) -> None:
    proceed, failed = threading.Event(), threading.Event()

    def fail() -> list[str]:
        proceed.wait(30)
        failed.set()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    resolver[_NAME] = fail

    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with clients.client(f"http://{_NAME}:1", timeout=0.2) as client:
        assert isinstance(await client.fetch(request_for(client)), Failure)
        proceed.set()
        assert await asyncio.to_thread(failed.wait, 30)
        await asyncio.sleep(0.1)
    assert unhandled == []


async def test_unknown_name_is_resolved_again(clients: Clients, cloud: CloudServer, resolver: Resolver) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())

    def fail() -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with clients.client(f"http://{_NAME}:{cloud.port}") as client:
        resolver[_NAME] = fail
        unknown = Failure(Reason.UNREACHABLE, "DNS: the name could not be resolved")
        assert await asyncio.gather(*(client.fetch(request_for(client)) for _ in range(3))) == [unknown] * 3
        resolver[_NAME] = lambda: ["127.0.0.1"]
        assert is_example(await client.fetch(request_for(client)))


async def test_hanging_lookup_blocks_neither_loop_nor_close(clients: Clients, resolver: Resolver) -> None:
    proceed = threading.Event()
    resolver[_NAME] = lambda: [str(proceed.wait(60))]

    try:
        iterations = 0

        async def count() -> None:
            nonlocal iterations
            while True:
                await asyncio.sleep(0.01)
                iterations += 1

        counting = asyncio.create_task(count())
        async with clients.client(f"http://{_NAME}:1", timeout=0.5) as client:
            outcome = await client.fetch(request_for(client))
            assert outcome == Failure(Reason.UNREACHABLE, "no complete response within 0.5 s")
            assert iterations > 5
            waiting = asyncio.create_task(client.fetch(request_for(client)))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            began = time.monotonic()
        counting.cancel()
        assert time.monotonic() - began < 5
    finally:
        proceed.set()


async def test_cancelled_request_leaves_the_lookup_to_others(
    clients: Clients, cloud: CloudServer, resolver: Resolver
) -> None:
    proceed = threading.Event()

    def resolve() -> list[str]:
        proceed.wait(30)
        return ["127.0.0.1"]

    resolver[_NAME] = resolve
    cloud.answer(EXAMPLE_EVSE, status_example())

    async with clients.client(f"http://{_NAME}:{cloud.port}") as client:
        first, second = (asyncio.create_task(client.fetch(request_for(client))) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.wait([first])
        proceed.set()
        assert is_example(await second)
