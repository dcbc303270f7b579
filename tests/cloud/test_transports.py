"""Both transports beyond single requests: slow errors, proxies, resources, and responses that must not mix."""

import asyncio
import contextlib
import gc
import socket
import ssl
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.cloud.transport import choose_transport
from evse_mqtt_bridge.cloud.transport.buffered import LightResponse
from evse_mqtt_bridge.domain.model import Failure, Reason, Repeat
from tests.cloud.clients import EXAMPLE, Clients, is_example, request_for
from tests.cloud.servers import serving
from tests.harness import Answer, Authority, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, answer, hang
from tests.harness.net import HOST


def _serving(authority: Authority) -> ssl.SSLContext:
    certificate = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def test_light_response_has_a_repr() -> None:
    """A log of a library may print it."""
    assert repr(LightResponse(b"[]")) == "<Response [200 OK]>"


async def test_status_does_not_wait_for_a_slow_body(clients: Clients, server: MisbehavingServer) -> None:
    for status in (206, 302, 404, 503):
        server.set_behaviour(
            EXAMPLE_EVSE,
            _stall_after(f"HTTP/1.1 {status} Reason\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n".encode()),
        )
        began = time.monotonic()
        outcome = await clients.poll(server.url, timeout=20)
        assert isinstance(outcome, Failure)
        assert f"HTTP {status} " in outcome.detail
        assert outcome.retry_after == (7 if status == 503 else None)
        assert time.monotonic() - began < 10


def _stall_after(head: bytes) -> Callable[[asyncio.StreamWriter], Any]:
    async def behaviour(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await asyncio.Event().wait()

    return behaviour


async def test_proxy_that_rejects_the_tunnel_is_reported(
    clients: Clients, cloud: CloudServer, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", server.url)
    server.set_behaviour("", answer(b"no", "407 Proxy Authentication Required"))
    outcome = await clients.poll("https://station.invalid", environment_proxy=True)
    assert outcome == Failure(Reason.UNREACHABLE, "the proxy rejected the connection")
    assert cloud.requests == []


async def test_polls_share_the_tunnel_of_a_proxy(
    clients: Clients, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnels = 0

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tunnels
        tunnels += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        cloud_reader, cloud_writer = await asyncio.open_connection(HOST, cloud.port)
        await asyncio.gather(_forward(reader, cloud_writer), _forward(cloud_reader, writer))

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with CloudServer(tls=_serving(authority)) as cloud:
        cloud.answer(EXAMPLE_EVSE, status_example())
        client = clients.client(cloud.url, environment_proxy=True, ca_file=str(authority.ca_file))
        async with serving(tunnel) as port, client:
            monkeypatch.setenv("https_proxy", f"http://{HOST}:{port}")
            for _ in range(3):
                assert is_example(await client.fetch(request_for(client)))
            assert tunnels == 1
            cloud.answer(EXAMPLE_EVSE, "no", status=401)
            rejected = await client.fetch(request_for(client))
            assert isinstance(rejected, Failure)
            assert rejected.reason is Reason.UNAUTHORIZED


async def test_tunnels_with_failed_handshakes_block_no_others(
    clients: Clients, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        cloud_reader, cloud_writer = await asyncio.open_connection(HOST, ports[0])
        await asyncio.gather(_forward(reader, cloud_writer), _forward(cloud_reader, writer))

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    trusted = _serving(authority)
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue("expired", expires_in=-3600)
    expired.load_cert_chain(certificate.cert_file, certificate.key_file)
    with CloudServer(tls=trusted) as cloud, CloudServer(tls=expired) as expired_cloud:
        cloud.answer(EXAMPLE_EVSE, status_example())
        ports = [expired_cloud.port]
        client = clients.client(
            f"https://localhost:{cloud.port}", environment_proxy=True, ca_file=str(authority.ca_file), max_concurrency=2
        )
        async with serving(tunnel) as port, client:
            monkeypatch.setenv("https_proxy", f"http://{HOST}:{port}")
            for _ in range(5):
                rejected = await client.fetch(request_for(client))
                assert isinstance(rejected, Failure)
                assert rejected.detail.startswith("TLS: the certificate was rejected: certificate has expired; ")
            ports[0] = cloud.port
            assert is_example(await client.fetch(request_for(client)))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    finally:
        writer.close()


def _descriptors() -> set[str]:
    """Return the open files without sockets, because the servers open and close sockets at any time."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor that reads the folder is closed
            found.add(f"{link.name} {link.readlink()}")
    return {line for line in found if "socket:" not in line}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_close_is_immediate_and_leaves_nothing_open(clients: Clients, authority: Authority) -> None:
    """Requests may be under way, in their handshake, or waiting for a connection."""
    loop = asyncio.get_running_loop()
    with MisbehavingServer(tls=_serving(authority)) as server, socket.create_server(("127.0.0.1", 0)) as deaf:
        server.set_behaviour("hangs", hang())
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE, connection="keep-alive"))
        before, registered = _descriptors(), len(loop._selector.get_map())  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio\'s
        for url in (server.url, f"https://127.0.0.1:{deaf.getsockname()[1]}"):
            polls = []
            async with clients.client(url, ca_file=str(authority.ca_file), max_concurrency=4) as client:
                if url == server.url:
                    assert is_example(await client.fetch(request_for(client)))
                polls = [asyncio.create_task(client.fetch(request_for(client, "hangs"))) for _ in range(6)]
                await asyncio.sleep(0.1)
                for poll in polls:
                    poll.cancel()
                await asyncio.wait(polls)
                began = time.monotonic()
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.05)  # the loop closes sockets in its next iteration
        assert len(loop._selector.get_map()) == registered  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio\'s
        assert _descriptors() == before


async def test_closed_transport_is_freed_without_garbage_collection(clients: Clients, cloud: CloudServer) -> None:
    """A transport contains the CAs of the system, half a megabyte, and the bridge collects garbage rarely."""
    cloud.answer(EXAMPLE_EVSE, status_example())

    async def poll() -> weakref.ref[object]:
        settings = clients.settings(cloud.url)
        transport = choose_transport(settings).create()
        async with CloudClient(settings, transport) as client:
            assert is_example(await client.fetch(request_for(client)))
        return weakref.ref(transport)

    gc.disable()
    try:
        reference = await poll()
        await asyncio.sleep(0)
        assert reference() is None
    finally:
        gc.enable()


async def test_connection_closed_while_idle_wakes_the_loop_once(clients: Clients) -> None:
    """A busy loop would iterate ten thousands of times. Sockets opened meanwhile may get the same numbers."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while line := await reader.readline():
            if line == b"\r\n":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(EXAMPLE), EXAMPLE))

    iterations = 0
    async with serving(serve) as port, clients.client(f"http://127.0.0.1:{port}", max_concurrency=5) as client:
        for _ in range(3):
            outcomes = await asyncio.gather(*(client.fetch(request_for(client)) for _ in range(5)))
            assert all(map(is_example, outcomes))
            for writer in writers:
                writer.close()
            writers.clear()
            loop = asyncio.get_running_loop()
            select = loop._selector.select  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio\'s

            def counting(timeout: float | None, select: Callable[..., Any] = select) -> Any:  # noqa: ANN401
                nonlocal iterations
                iterations += 1
                return select(timeout)

            loop._selector.select = counting  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio\'s
            await asyncio.sleep(0.2)
            loop._selector.select = select  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio\'s
            pairs = [socket.socketpair() for _ in range(5)]  # they get numbers that have just become free
            assert is_example(await client.fetch(request_for(client)))
            for pair in pairs:
                for end in pair:
                    end.close()
    assert iterations < 300


async def test_answers_of_many_stations_are_never_mixed_up(clients: Clients) -> None:
    """Hundreds of requests share few connections; some fail, some are cancelled."""
    with CloudServer() as cloud:
        for number in range(40):
            body = [{"plug_uuid": f"plug-{number}", "evse_uuid": f"evse-{number}"}]
            status = 503 if number % 7 == 3 else 200
            cloud.answer(f"evse-{number}", Answer(body, status, delay=0.01 * (number % 3)))

        async with clients.client(cloud.url, max_concurrency=6, timeout=60) as client:
            requests = [request_for(client, f"evse-{number}") for number in range(40)]
            polls = [asyncio.create_task(client.fetch(requests[number % 40])) for number in range(400)]
            await asyncio.sleep(0.02)
            for poll in polls[::9]:
                poll.cancel()
            for number, outcome in enumerate(await asyncio.gather(*polls, return_exceptions=True)):
                if isinstance(outcome, asyncio.CancelledError):
                    assert number % 9 == 0
                elif number % 40 % 7 == 3:
                    assert outcome == Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
                else:
                    assert not isinstance(outcome, BaseException)
                    reading = outcome.parsed() if isinstance(outcome, Repeat) else outcome
                    assert not isinstance(reading, Failure), reading
                    assert [plug.plug_uuid for plug in reading.plugs] == [f"plug-{number % 40}"]


async def test_broken_body_after_an_invalid_head_is_named(clients: Clients) -> None:
    """The last response of a handle had an invalid head; the next one has a head that was valid before."""
    body = EXAMPLE
    usual = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    responses = iter((usual + body, usual.replace(b"\r\n\r\n", b"\r\nBad Name: 1\r\n\r\n") + body, usual + body[:9]))

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            response = next(responses)
            writer.write(response)
            await writer.drain()
            if response.endswith(body[:9]):
                return

    async with serving(respond) as port, clients.client(f"http://{HOST}:{port}", max_concurrency=1) as client:
        outcomes = [await client.fetch(request_for(client)) for _ in range(3)]
    assert is_example(outcomes[0])
    assert isinstance(outcomes[2], Failure)
    assert outcomes[2].detail == "the connection ended in mid-response"
