"""The proxy and the misbehaving server themselves: each causes the faults that the tests rely on."""

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
    """A TCP server that echoes everything it receives; `closed` counts connections that have ended."""

    def __init__(self) -> None:
        self.listening = socket.create_server((HOST, 0))
        self.port: int = self.listening.getsockname()[1]
        self.closed = 0
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
                pass  # the proxy resets the connections that it cuts
        self.closed += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    with server.listening:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as started:
        yield started


def _connect(proxy: Proxy, timeout: float = 5) -> socket.socket:
    """Connect to the proxy; further calls on the socket time out after `timeout` seconds."""
    connection = socket.create_connection((HOST, proxy.port), 5)
    connection.settimeout(timeout)
    return connection


def _round_trip(connection: socket.socket, data: bytes = b"hello") -> float:
    began = time.monotonic()
    connection.sendall(data)
    received = b""
    while len(received) < len(data):
        received += connection.recv(4096) or pytest.fail("closed")
    assert received == data
    return time.monotonic() - began


def test_proxy_forwards_with_delay_and_byte_by_byte(proxy: Proxy, echo: Echo) -> None:
    with _connect(proxy) as connection:
        _round_trip(connection)
        proxy.delay(0.1)
        assert _round_trip(connection) > 0.2
        proxy.restore()
        proxy.drip(0.01)
        assert _round_trip(connection, b"0123456789") > 0.08
        proxy.restore()
        assert _round_trip(connection, b"x" * 100_000) < 5
    wait_for(lambda: echo.closed == 1)
    assert len(proxy.connections) == 1
    assert proxy.bytes_forwarded == 2 * (2 * 5 + 10 + 100_000)


def test_paused_proxy_forwards_everything_after_restore(proxy: Proxy) -> None:
    with _connect(proxy, timeout=0.1) as connection:
        _round_trip(connection)
        proxy.pause()
        connection.sendall(b"later")
        with pytest.raises(TimeoutError):
            connection.recv(5)
        proxy.restore()
        connection.settimeout(5)
        assert connection.recv(5) == b"later"


def test_blackhole_discards_data_and_the_end_of_connections(proxy: Proxy, echo: Echo) -> None:
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
        assert echo.closed == 0, "the server must not learn that the clients have closed"


def test_proxy_resets_open_and_new_connections(proxy: Proxy, echo: Echo) -> None:
    with _connect(proxy) as connection:
        _round_trip(connection)
        proxy.cut(new_after=0.2)
        with pytest.raises(ConnectionResetError):
            connection.recv(5)
    wait_for(lambda: echo.closed == 1)
    with _connect(proxy) as connection:
        _round_trip(connection)
        with pytest.raises(ConnectionResetError):
            connection.recv(5)
    proxy.restore()
    with _connect(proxy) as connection:
        _round_trip(connection)


def test_proxy_without_upstream_resets_connections() -> None:
    # the reset may arrive before or after connect() returns
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


def test_misbehaving_server_shows_each_behaviour() -> None:
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
