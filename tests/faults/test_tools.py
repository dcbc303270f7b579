"""The proxy and the liar themselves: what they claim to do to a connection, they do."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.setup import station_answer, uuid_of, wait_for
from tests.harness.misbehaving_server import MisbehavingServer, answer, drip, endless, gzip_bomb, hang, raw, reset
from tests.harness.net import HOST, free_port
from tests.harness.proxy import Proxy

_PATH = f"/edgedevices/edge-1/evses/{uuid_of(0)}/status"


class Echo:
    """Sends back what comes, on a port of its own, until it is closed."""

    def __init__(self) -> None:
        self.listening = socket.create_server((HOST, 0))
        self.port: int = self.listening.getsockname()[1]
        self.ended = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=[connection], daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except OSError:
                pass  # reset, as a cut connection is
        self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    with server.listening:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as standing_before:
        yield standing_before


def _connect(proxy: Proxy, timeout: float = 5) -> socket.socket:
    """A connection whose further calls may take `timeout` seconds."""
    connection = socket.create_connection((HOST, proxy.port), 5)
    connection.settimeout(timeout)
    return connection


def _round_trip(connection: socket.socket, data: bytes = b"hello") -> float:
    began = time.monotonic()
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        got += connection.recv(4096) or pytest.fail("closed")
    assert got == data
    return time.monotonic() - began


def test_a_proxy_passes_on_delays_and_drips(proxy: Proxy, echo: Echo) -> None:
    with _connect(proxy) as connection:
        _round_trip(connection)
        proxy.delay(0.1)
        assert _round_trip(connection) > 0.2
        proxy.restore()
        proxy.drip(0.01)
        assert _round_trip(connection, b"0123456789") > 0.08
        proxy.restore()
        assert _round_trip(connection, b"x" * 100_000) < 5
    wait_for(lambda: echo.ended == 1)
    assert len(proxy.connections) == 1
    assert proxy.bytes_forwarded == 2 * (2 * 5 + 10 + 100_000)


def test_a_paused_proxy_keeps_everything_for_later(proxy: Proxy) -> None:
    with _connect(proxy, timeout=0.1) as connection:
        _round_trip(connection)
        proxy.pause()
        connection.sendall(b"later")
        with pytest.raises(TimeoutError):
            connection.recv(5)
        proxy.restore()
        connection.settimeout(5)
        assert connection.recv(5) == b"later"


def test_a_blackhole_swallows_everything_even_the_end(proxy: Proxy, echo: Echo) -> None:
    old, new = _connect(proxy, timeout=0.1), None
    with old:
        _round_trip(old)
        proxy.blackhole()
        old.sendall(b"lost")
        new = _connect(proxy, timeout=0.1)
        with new:
            new.sendall(b"lost")
            for connection in (old, new):
                with pytest.raises(TimeoutError):
                    connection.recv(5)
            proxy.restore()
            for connection in (old, new):
                with pytest.raises(TimeoutError):
                    connection.recv(5)
    with _connect(proxy) as connection:
        _round_trip(connection)
        assert echo.ended == 0, "nobody was told"


def test_a_proxy_cuts_now_and_later(proxy: Proxy, echo: Echo) -> None:
    with _connect(proxy) as connection:
        _round_trip(connection)
        proxy.cut(new_after=0.2)
        with pytest.raises(ConnectionResetError):
            connection.recv(5)
    wait_for(lambda: echo.ended == 1)
    with _connect(proxy) as connection:
        _round_trip(connection)
        with pytest.raises(ConnectionResetError):
            connection.recv(5)
    proxy.restore()
    with _connect(proxy) as connection:
        _round_trip(connection)


def test_a_proxy_before_nobody_cuts() -> None:
    # the reset may come before connect() returns, or after it
    with Proxy(free_port()) as proxy, pytest.raises(ConnectionResetError), _connect(proxy) as connection:
        connection.recv(5)


def _get(server: MisbehavingServer, timeout: float = 0.3) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=timeout)
    try:
        connection.request("GET", _PATH, headers={"evsetoken": "secret"})
        response = connection.getresponse()
        return response.status, response.read(2_000_000)
    finally:
        connection.close()


def test_a_liar_says_what_it_is_told() -> None:
    with MisbehavingServer() as server:
        with pytest.raises(TimeoutError):
            _get(server)
        server.set_behaviour(uuid_of(0), answer(station_answer(0), "503 No", retry_after="5"))
        status, body = _get(server)
        assert status == 503
        assert body.startswith(b"[{")
        server.set_behaviour(uuid_of(0), raw(b"garbage"))
        with pytest.raises(http.client.BadStatusLine):
            _get(server)
        server.set_behaviour(uuid_of(0), reset())
        with pytest.raises(ConnectionResetError):
            _get(server)
        server.set_behaviour(uuid_of(0), gzip_bomb(10_000_000))
        assert len(_get(server)[1]) < 20_000
        server.set_behaviour(uuid_of(0), endless(b"HTTP/1.1 200 OK\r\n\r\n", b"more" * 1000))
        assert len(_get(server, timeout=5)[1]) == 2_000_000
        server.set_behaviour(uuid_of(0), drip(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10, 0.01))
        began = time.monotonic()
        assert _get(server) == (200, b"x" * 10)
        assert time.monotonic() - began > 0.25
        server.set_behaviour(uuid_of(0), hang())
        with pytest.raises(TimeoutError):
            _get(server)
        assert len(server.wait_for_requests(8, uuid_of(0))) == 8
        assert {request.headers["evsetoken"] for request in server.requests} == {"secret"}
        assert server.connections == 8
