"""What both transports do beyond one request: which is chosen, names, trust, and an end that leaves nothing behind."""

import asyncio
import contextlib
import gc
import socket
import ssl
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.cloud.client import CloudClient, validate
from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.support.errors import ConfigError
from tests.cloud.loops import EXAMPLE, Loop, ask, is_example, settings_of, target_of
from tests.harness import Answer, Authority, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, answer, hang, raw
from tests.harness.net import HOST

Lookup = Callable[..., list[Any]]
_NAME = "cloud.example"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], list[str]]]:
    """What the name server says, by name: a function that gives addresses. Names that are not in it are looked up."""
    said: dict[str, Callable[[], list[str]]] = {}
    real: Lookup = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *rest: object, **named: object) -> list[Any]:
        if host not in said:
            return real(host, port, *rest, **named)
        return [found for address in said[host]() for found in real(address, port, 0, socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return said


# Which one

_NO_PYCURL = "cloud.transport: libcurl cannot be used: install pycurl with: pip install 'evse-mqtt-bridge[fast]'"


def _without_pycurl(monkeypatch: pytest.MonkeyPatch) -> None:
    package = "evse_mqtt_bridge.cloud.transport"
    for module in (f"{package}.libcurl", f"{package}.curl_loop"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(f"{package}.libcurl", raising=False)
    monkeypatch.setitem(sys.modules, "pycurl", None)


def test_without_pycurl_libcurl_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_pycurl(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        validate(settings_of("https://127.0.0.1:1", transport="libcurl"))
    assert str(caught.value) == _NO_PYCURL


async def _kind(**changed: object) -> str:
    async with CloudClient(settings_of("https://127.0.0.1:1", **changed)) as client:
        return type(client._transport).__module__.rsplit(".", 1)[1]


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycurl")
    assert asyncio.run(_kind(transport="auto")) == "libcurl"
    assert asyncio.run(_kind(transport="httpx")) == "httpx_pools"
    _without_pycurl(monkeypatch)
    assert asyncio.run(_kind(transport="auto")) == "httpx_pools"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ((11, "7.68.0", 0x074400, "Linux", 0, "OpenSSL/1.1.1f"), "it is version 7.68, and 7.84 is needed"),
        ((11, "8.5.0", 0x080500, "Linux", 0, "GnuTLS/3.8.3"), "it was built with GnuTLS/3.8.3, and OpenSSL is needed"),
        ((11, "8.5.0", 0x080500, "Linux", 0, None), "it was built with no TLS, and OpenSSL is needed"),
    ],
)
def test_a_libcurl_that_will_not_do(monkeypatch: pytest.MonkeyPatch, version: tuple[object, ...], words: str) -> None:
    pycurl = pytest.importorskip("pycurl")
    monkeypatch.setattr(pycurl, "version_info", lambda: version)
    assert asyncio.run(_kind(transport="auto")) == "httpx_pools"
    with pytest.raises(ConfigError, match=words):
        validate(settings_of("https://127.0.0.1:1", transport="libcurl"))


# Names


def test_a_name_is_looked_up_once_for_many(
    run: Loop, cloud: CloudServer, names: dict[str, Callable[[], list[str]]]
) -> None:
    asked: list[str] = []

    def say() -> list[str]:
        asked.append(_NAME)
        return ["127.0.0.1"]

    names[_NAME] = say
    cloud.answer(EXAMPLE_EVSE, status_example())

    async def test() -> None:
        async with CloudClient(settings_of(f"http://{_NAME}:{cloud.port}", max_concurrency=5)) as client:
            outcomes = await asyncio.gather(*(client.fetch(target_of(client)) for _ in range(20)))
            assert all(map(is_example, outcomes))

    run(test())
    assert asked == [_NAME]
    assert {request.headers["host"] for request in cloud.requests} == {f"{_NAME}:{cloud.port}"}


def test_an_address_that_holds_on_one_link_alone_is_left_out(
    run: Loop, cloud: CloudServer, names: dict[str, Callable[[], list[str]]]
) -> None:
    names[_NAME] = lambda: ["fe80::1%lo", "127.0.0.1"]
    cloud.answer(EXAMPLE_EVSE, status_example())

    async def test() -> None:
        async with CloudClient(settings_of(f"http://{_NAME}:{cloud.port}")) as client:
            assert is_example(await client.fetch(target_of(client)))
            names[_NAME] = lambda: ["fe80::1%lo"]
        async with CloudClient(settings_of(f"http://{_NAME}:{cloud.port}")) as client:
            outcome = await client.fetch(target_of(client))
            assert isinstance(outcome, Failure)
            assert outcome.reason is Reason.UNREACHABLE

    run(test())


def test_of_several_addresses_one_that_answers_is_taken(
    run: Loop, cloud: CloudServer, names: dict[str, Callable[[], list[str]]]
) -> None:
    names[_NAME] = lambda: ["::1", "127.0.0.9", "127.0.0.1"]
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(run(ask(f"http://{_NAME}:{cloud.port}")))


def test_that_one_address_refused_is_not_what_another_answered(
    run: Loop, server: MisbehavingServer, names: dict[str, Callable[[], list[str]]]
) -> None:
    names[_NAME] = lambda: ["127.0.0.9", "127.0.0.1"]
    server.set_behaviour(EXAMPLE_EVSE, raw(b"no HTTP at all\r\n\r\n"))
    assert run(ask(f"http://{_NAME}:{server.port}")) == Failure(Reason.INVALID_RESPONSE, "the answer is not valid HTTP")


def test_a_name_that_is_given_back_its_address_leads_there_again(
    run: Loop, cloud: CloudServer, names: dict[str, Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a request to another address, which the name had for a moment, is still under way."""
    monkeypatch.setattr("evse_mqtt_bridge.cloud.transport.names.KEPT", 0)
    cloud.answer(EXAMPLE_EVSE, Answer(status_example(), headers={"Connection": "close"}, delay=0.05))

    async def test() -> None:
        silent = await asyncio.start_server(lambda *_: None, "127.0.0.9", cloud.port)
        async with silent, CloudClient(settings_of(f"http://{_NAME}:{cloud.port}", timeout=3)) as client:

            def asked(address: str) -> asyncio.Task[Any]:
                names[_NAME] = lambda: [address]
                return asyncio.create_task(client.fetch(target_of(client)))

            assert all(map(is_example, await asyncio.gather(asked(HOST), asked(HOST))))
            elsewhere = asked("127.0.0.9")
            await asyncio.sleep(0.1)
            assert is_example(await asked(HOST))
            elsewhere.cancel()
            await asyncio.wait([elsewhere])

    run(test())


def test_a_name_server_that_fails_when_nobody_waits_any_more_is_no_bug(
    run: Loop, names: dict[str, Callable[[], list[str]]]
) -> None:
    late, failed = threading.Event(), threading.Event()

    def nobody() -> list[str]:
        late.wait(30)
        failed.set()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    names[_NAME] = nobody

    async def test() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with CloudClient(settings_of(f"http://{_NAME}:1", timeout=0.2)) as client:
            assert isinstance(await client.fetch(target_of(client)), Failure)
            late.set()
            assert await asyncio.to_thread(failed.wait, 30)
            await asyncio.sleep(0.1)
        assert complaints == []

    run(test())


def test_a_name_that_is_none_is_told_and_asked_for_again(
    run: Loop, cloud: CloudServer, names: dict[str, Callable[[], list[str]]]
) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())

    def nobody() -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def test() -> None:
        async with CloudClient(settings_of(f"http://{_NAME}:{cloud.port}")) as client:
            names[_NAME] = nobody
            unknown = Failure(Reason.UNREACHABLE, "DNS: the name could not be resolved")
            assert await asyncio.gather(*(client.fetch(target_of(client)) for _ in range(3))) == [unknown] * 3
            names[_NAME] = lambda: ["127.0.0.1"]
            assert is_example(await client.fetch(target_of(client)))

    run(test())


def test_a_name_server_that_hangs_holds_up_neither_the_loop_nor_the_end(
    run: Loop, names: dict[str, Callable[[], list[str]]]
) -> None:
    for_ever = threading.Event()
    names[_NAME] = lambda: [str(for_ever.wait(60))]

    async def test() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        turning = asyncio.create_task(turn())
        async with CloudClient(settings_of(f"http://{_NAME}:1", timeout=0.5)) as client:
            outcome = await client.fetch(target_of(client))
            assert outcome == Failure(Reason.UNREACHABLE, "no complete answer within 0.5 s")
            assert turns > 5
            waiting = asyncio.create_task(client.fetch(target_of(client)))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            began = time.monotonic()
        turning.cancel()
        assert time.monotonic() - began < 5

    try:
        run(test())
    finally:
        for_ever.set()


def test_one_who_gives_up_takes_no_name_from_the_others(
    run: Loop, cloud: CloudServer, names: dict[str, Callable[[], list[str]]]
) -> None:
    told = threading.Event()

    def say() -> list[str]:
        told.wait(30)
        return ["127.0.0.1"]

    names[_NAME] = say
    cloud.answer(EXAMPLE_EVSE, status_example())

    async def test() -> None:
        async with CloudClient(settings_of(f"http://{_NAME}:{cloud.port}")) as client:
            first, second = (asyncio.create_task(client.fetch(target_of(client))) for _ in range(2))
            await asyncio.sleep(0.05)
            first.cancel()
            await asyncio.wait([first])
            told.set()
            assert is_example(await second)

    run(test())


# Trust


def _serving(authority: Authority) -> ssl.SSLContext:
    certificate = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_cas_are_those_of_the_system(
    run: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    folder = tmp_path / "hashed"
    folder.mkdir()
    (name,) = _hashes(authority.ca_file)
    (folder / f"{name}.0").write_bytes(authority.ca_file.read_bytes())
    with MisbehavingServer(tls=_serving(authority)) as server:
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
        assert isinstance(run(ask(server.url)), Failure)
        monkeypatch.setenv(variable, str(folder if variable == "SSL_CERT_DIR" else authority.ca_file))
        assert is_example(run(ask(server.url)))


def test_an_own_ca_is_trusted_besides_the_systems(
    run: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = Authority(tmp_path, "own CA")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    for issuer in (authority, own):
        with MisbehavingServer(tls=_serving(issuer)) as server:
            server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
            assert is_example(run(ask(server.url, ca_file=str(own.ca_file))))


def test_where_there_is_no_ca_nobody_is_trusted(
    run: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with MisbehavingServer(tls=_serving(authority)) as server:
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
        outcome = run(ask(server.url))
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.UNREACHABLE
        assert outcome.detail.startswith("TLS: ")
        assert server.requests == []


def _hashes(file: Path) -> list[str]:
    """The names by which OpenSSL finds certificates in a folder."""
    told = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", file], capture_output=True, check=True)
    return told.stdout.decode().split()


# Connections


def test_an_error_is_judged_at_once_however_slowly_its_body_comes(run: Loop, server: MisbehavingServer) -> None:
    for status in (206, 302, 404, 503):
        server.set_behaviour(
            EXAMPLE_EVSE,
            _then_silence(f"HTTP/1.1 {status} Told\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n".encode()),
        )
        began = time.monotonic()
        outcome = run(ask(server.url, timeout=20))
        assert isinstance(outcome, Failure)
        assert f"HTTP {status} " in outcome.detail
        assert outcome.retry_after == (7 if status == 503 else None)
        assert time.monotonic() - began < 10


def _then_silence(head: bytes) -> Callable[[asyncio.StreamWriter], Any]:
    async def behaviour(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await asyncio.Event().wait()

    return behaviour


def test_a_proxy_that_lets_nothing_through(
    run: Loop, cloud: CloudServer, server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", server.url)
    server.set_behaviour("", answer(b"no", "407 Proxy Authentication Required"))
    outcome = run(ask("https://station.invalid", environment_proxy=True))
    assert outcome == Failure(Reason.UNREACHABLE, "the proxy did not let the connection through")
    assert cloud.requests == []


def test_one_poll_after_the_other_goes_through_the_tunnel_of_a_proxy(
    run: Loop, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnels = 0

    async def test(cloud: CloudServer) -> None:
        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal tunnels
            tunnels += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            there, beyond = await asyncio.open_connection(HOST, cloud.port)
            await asyncio.gather(_pass_on(reader, beyond), _pass_on(there, writer))

        proxy = await asyncio.start_server(tunnel, HOST, 0)
        monkeypatch.setenv("https_proxy", f"http://{HOST}:{proxy.sockets[0].getsockname()[1]}")
        settings = settings_of(cloud.url, environment_proxy=True, ca_file=str(authority.ca_file))
        async with proxy, CloudClient(settings) as client:
            for _ in range(3):
                assert is_example(await client.fetch(target_of(client)))
            assert tunnels == 1
            cloud.answer(EXAMPLE_EVSE, "no", status=401)
            refused = await client.fetch(target_of(client))
            assert isinstance(refused, Failure)
            assert refused.reason is Reason.UNAUTHORIZED

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with CloudServer(tls=_serving(authority)) as cloud:
        cloud.answer(EXAMPLE_EVSE, status_example())
        run(test(cloud))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


def _descriptors() -> set[str]:
    """What is open, but for sockets: those of the servers come and go."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one by which the folder is read is gone
            found.add(f"{link.name} {link.readlink()}")
    return {line for line in found if "socket:" not in line}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_end_is_at_once_and_leaves_nothing_open(run: Loop, authority: Authority) -> None:
    """Also where requests are under way, in their handshake, or in wait of a connection."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        with MisbehavingServer(tls=_serving(authority)) as server, socket.create_server(("127.0.0.1", 0)) as deaf:
            server.set_behaviour("hangs", hang())
            server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE, connection="keep-alive"))
            before, registered = _descriptors(), len(loop._selector.get_map())  # type: ignore[attr-defined]
            for url in (server.url, f"https://127.0.0.1:{deaf.getsockname()[1]}"):
                polls = []
                settings = settings_of(url, ca_file=str(authority.ca_file), max_concurrency=4)
                async with CloudClient(settings) as client:
                    if url == server.url:
                        assert is_example(await client.fetch(target_of(client)))
                    polls = [asyncio.create_task(client.fetch(target_of(client, "hangs"))) for _ in range(6)]
                    await asyncio.sleep(0.1)
                    for poll in polls:
                        poll.cancel()
                    await asyncio.wait(polls)
                    began = time.monotonic()
                assert time.monotonic() - began < 5
                await asyncio.sleep(0.05)  # what the loop was told to close, it closes in its next turn
            assert len(loop._selector.get_map()) == registered  # type: ignore[attr-defined]
            assert _descriptors() == before

    run(test())


def test_a_client_that_was_closed_is_gone_without_a_search_for_garbage(run: Loop, cloud: CloudServer) -> None:
    """It has the CAs of the system, half a megabyte, and the bridge searches seldom."""
    cloud.answer(EXAMPLE_EVSE, status_example())

    async def test() -> weakref.ref[object]:
        async with CloudClient(settings_of(cloud.url)) as client:
            assert is_example(await client.fetch(target_of(client)))
            assert client._transport is not None
            return weakref.ref(client._transport)

    gc.disable()
    try:
        assert run(test())() is None
    finally:
        gc.enable()


def test_a_connection_that_the_server_closes_while_it_rests_wakes_nobody_twice(run: Loop) -> None:
    """A loop that spins would turn tens of thousands of times; sockets opened meanwhile may have the old numbers."""

    async def test() -> None:
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while line := await reader.readline():
                if line == b"\r\n":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(EXAMPLE), EXAMPLE))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        turns = 0
        async with CloudClient(settings_of(f"http://127.0.0.1:{port}", max_concurrency=5)) as client:
            for _ in range(3):
                outcomes = await asyncio.gather(*(client.fetch(target_of(client)) for _ in range(5)))
                assert all(map(is_example, outcomes))
                for writer in writers:
                    writer.close()
                writers.clear()
                loop = asyncio.get_running_loop()
                select = loop._selector.select  # type: ignore[attr-defined]

                def counting(timeout: float | None, select: Callable[..., Any] = select) -> Any:  # noqa: ANN401
                    nonlocal turns
                    turns += 1
                    return select(timeout)

                loop._selector.select = counting  # type: ignore[attr-defined]
                await asyncio.sleep(0.2)
                loop._selector.select = select  # type: ignore[attr-defined]
                pairs = [socket.socketpair() for _ in range(5)]  # they take numbers that were just given back
                assert is_example(await client.fetch(target_of(client)))
                for pair in pairs:
                    for end in pair:
                        end.close()
        server.close()
        assert turns < 300

    run(test())


def test_answers_of_many_are_never_mixed_up(run: Loop) -> None:
    """Hundreds of requests on few connections, of which some are cut, some cancelled."""
    with CloudServer() as cloud:
        for number in range(40):
            body = [{"plug_uuid": f"plug-{number}", "evse_uuid": f"evse-{number}"}]
            status = 503 if number % 7 == 3 else 200
            cloud.answer(f"evse-{number}", Answer(body, status, delay=0.01 * (number % 3)))

        async def test() -> None:
            async with CloudClient(settings_of(cloud.url, max_concurrency=6)) as client:
                targets = [target_of(client, f"evse-{number}") for number in range(40)]
                polls = [asyncio.create_task(client.fetch(targets[number % 40])) for number in range(400)]
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
                        assert not isinstance(outcome, Failure), outcome
                        assert [plug.plug_uuid for plug in outcome.plugs] == [f"plug-{number % 40}"]

        run(test())
