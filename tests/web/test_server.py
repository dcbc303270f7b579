"""The web server, over real sockets."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest

from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.observability.snapshot import Health, StationSnapshot, from_json
from evse_mqtt_bridge.web import connections
from evse_mqtt_bridge.web.limits import ConnectionLimits
from evse_mqtt_bridge.web.server import Server
from tests.faults.setup import wait_for
from tests.harness.net import HOST, free_port
from tests.web.served_bridge import PASSWORD, TOKEN, ServerThread, StubBridge, reading, station

MAX_CONNECTIONS = ConnectionLimits().connections
MAX_VIEWERS = ConnectionLimits().streams
PATHS = ["/", "/api/picture", "/api/process", "/api/history", "/healthz", "/readyz", "/metrics"]


@pytest.fixture
def bridge() -> StubBridge:
    """A bridge with one station that is online and one that is unauthorized."""
    bridge = StubBridge([station(1), station(2)])
    bridge.poll(station(1).uuid, reading())
    bridge.poll(station(2).uuid, Failure(Reason.UNAUTHORIZED, "status 401"))
    return bridge


@pytest.fixture
def server(bridge: StubBridge) -> Iterator[ServerThread]:
    with ServerThread(bridge) as server:
        yield server


def _request(
    server: ServerThread, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


class _EventStream:
    """An open event stream."""

    def __init__(self, server: ServerThread, **headers: str) -> None:
        self._connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
        self._connection.request("GET", "/api/events", headers=headers)
        self.response = self._connection.getresponse()

    def next(self) -> tuple[str, dict[str, Any]]:
        """Return the name and the data of the next event."""
        event = ""
        while line := self.response.readline().decode():
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "event":
                event = value
            elif key == "data":
                return event, json.loads(value)
        raise EOFError

    def next_change(self) -> list[dict[str, Any]]:
        """Return the stations of the next event that has any."""
        while not (stations := self.next()[1]["stations"]):
            pass
        changed: list[dict[str, Any]] = stations
        return changed

    def drain(self) -> None:
        """Read until the stream ends."""
        while self.next():
            pass

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_healthy(server: ServerThread) -> bool:
    with contextlib.suppress(OSError, http.client.RemoteDisconnected):
        return _request(server, "/healthz")[0].status == 200
    return False


@pytest.fixture
def viewer(server: ServerThread) -> Iterator[_EventStream]:
    with _EventStream(server) as viewer:
        yield viewer


# Every response


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/api/events"])
def test_response_has_security_headers(server: ServerThread, path: str) -> None:
    response, _ = _request(server, path, "HEAD", Origin="http://evil.example")
    headers = {name.lower(): value for name, value in response.getheaders()}
    assert headers["content-security-policy"].startswith("default-src 'none'")
    for rule in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["server"] == "evse-mqtt-bridge"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [*PATHS, "/api/events"])
def test_server_rejects_methods_other_than_get_and_head(server: ServerThread, path: str, method: str) -> None:
    assert _request(server, path, method)[0].status == 405


@pytest.mark.parametrize("path", [*PATHS, "/api/events"])
def test_head_request_returns_no_body(server: ServerThread, path: str) -> None:
    response, body = _request(server, path, "HEAD")
    assert response.status == 200
    assert body == b""


@pytest.mark.parametrize("path", [*PATHS, "/api/events", "/nothing"])
def test_server_on_loopback_rejects_foreign_host_header(server: ServerThread, path: str) -> None:
    response, body = _request(server, path, Host=f"evil.example:{server.port}")
    assert response.status == 403
    assert b"http.host" in body
    assert response.getheader("cache-control") == "no-store"


def test_server_on_loopback_rejects_missing_host_header(server: ServerThread) -> None:
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 403")


def test_server_on_network_accepts_any_host_header(bridge: StubBridge) -> None:
    with ServerThread(bridge, host="0.0.0.0") as server:
        assert _request(server, "/healthz", Host="bridge.example")[0].status == 200


def test_responses_contain_no_secrets(server: ServerThread, viewer: _EventStream) -> None:
    event, data = viewer.next()
    bodies = [_request(server, path)[1].decode() for path in PATHS]
    everything = "\n".join([event, json.dumps(data), *bodies])
    assert station(1).uuid in everything
    assert server.bridge.plan.client_id in everything
    for secret in (TOKEN, PASSWORD):
        assert secret not in everything


# Snapshot and health


def test_snapshot_contains_all_stations(server: ServerThread, bridge: StubBridge) -> None:
    response, body = _request(server, "/api/picture")
    assert response.getheader("content-type") == "application/json"
    snapshot = from_json(body)
    assert snapshot.stations == tuple(bridge.stations())
    one, other = snapshot.stations
    assert (one.name, one.topic, one.reason) == ("Station 1", "evse/station-1", Reason.ONLINE)
    assert (one.plugs[0].power, one.plugs[0].steps[0][1]) == (7107.0, 7107.0)
    assert (other.reason, other.error) == (Reason.UNAUTHORIZED, "status 401")
    assert snapshot.revision == bridge.history.revision


def test_health_responses_list_problems(server: ServerThread, bridge: StubBridge) -> None:
    assert _request(server, "/healthz")[1] == b"all is well\n"
    bridge.current_health = Health(healthy=True, ready=False, messages=("no connection to the broker",))
    assert _request(server, "/healthz")[0].status == 200
    response, body = _request(server, "/readyz")
    assert (response.status, body) == (503, b"no connection to the broker\n")


# Events


def test_events_send_full_snapshot_then_changes(server: ServerThread, viewer: _EventStream) -> None:
    assert viewer.response.getheader("content-type") == "text/event-stream"
    event, data = viewer.next()
    assert (event, len(data["stations"])) == ("picture", 2)
    server.call(lambda bridge: bridge.poll(station(1).uuid, reading(power=3680.0)))
    assert [each["plugs"][0]["power"] for each in viewer.next_change()] == [3680.0]


def test_events_reject_cross_site_requests(server: ServerThread) -> None:
    with _EventStream(server, **{"Sec-Fetch-Site": "cross-site"}) as viewer:
        assert viewer.response.status == 403


def test_events_reject_viewers_above_limit(server: ServerThread) -> None:
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(_EventStream(server)) for _ in range(MAX_VIEWERS)]
        for viewer in viewers:
            viewer.next()
        refused = stack.enter_context(_EventStream(server))
        assert refused.response.status == 503
        assert f"{MAX_VIEWERS} status pages are open" in refused.response.read().decode()
        viewers[0].close()
        deadline = time.monotonic() + 10
        while (another := stack.enter_context(_EventStream(server))).response.status == 503:
            assert time.monotonic() < deadline
            viewers[1].next()  # the server notices a closed stream with the next frame
        assert another.next()[0] == "picture"


def test_events_without_viewers_keep_no_frames(server: ServerThread, bridge: StubBridge) -> None:
    handlers = server.handlers
    with _EventStream(server) as viewer:
        viewer.next()
        assert not handlers.feed.is_idle
    deadline = time.monotonic() + 10
    while handlers.viewers:  # the server notices a closed stream with the next frame
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert handlers.feed.is_idle
    assert bridge.summary_calls > 0


@pytest.fixture
def large_server() -> Iterator[ServerThread]:
    """A server whose snapshot is larger than the socket buffers."""
    bridge = StubBridge([station(number) for number in range(1, 501)])
    bridge.poll_all(lambda: Failure(Reason.UNREACHABLE, "x" * 40_000))
    with ServerThread(bridge) as server:
        yield server


def _connect_without_reading(server: ServerThread, path: str = "/api/events") -> socket.socket:
    """Return a connection that requests a path and reads only the first byte."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((HOST, server.port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert client.recv(1)
    return client


def test_events_viewer_not_reading_delays_no_other(large_server: ServerThread) -> None:
    with _connect_without_reading(large_server), _EventStream(large_server) as viewer:
        assert len(viewer.next()[1]["stations"]) == 500
        large_server.call(lambda bridge: bridge.poll(station(7).uuid, reading()))
        assert [each["name"] for each in viewer.next_change()] == ["Station 7"]
        transports = [request.transport for request in large_server.handlers.viewers.values()]
        buffered = [transport.get_write_buffer_size() for transport in transports if transport]
        assert len(buffered) == 2
        assert 0 < max(buffered) < 256 * 1024


def test_snapshot_rejects_readers_above_limit(large_server: ServerThread) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_VIEWERS):
            stack.enter_context(_connect_without_reading(large_server, "/api/picture"))
        response, body = _request(large_server, "/api/picture")
        assert (response.status, response.getheader("Retry-After")) == (503, "10")
        assert b"20 other clients are reading" in body
        assert _request(large_server, "/healthz")[0].status == 200
    wait_for(lambda: _request(large_server, "/api/picture")[0].status == 200)


_HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", _HEALTHZ, _HEALTHZ + b"GET / HT"])
def test_probes_succeed_beside_too_many_open_connections(server: ServerThread, sent: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 10):
            stack.enter_context(socket.create_connection((HOST, server.port), timeout=10)).sendall(sent)
        for _ in range(20):
            assert _request(server, "/healthz")[0].status == 200


def test_probes_succeed_beside_clients_that_do_not_read(large_server: ServerThread) -> None:
    requests = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS + 10):
            client = stack.enter_context(_connect_without_reading(large_server, "/"))
            client.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                client.sendall(requests)
        for _ in range(20):
            assert _request(large_server, "/healthz")[0].status == 200


def test_connections_above_limit_do_not_end_event_streams(bridge: StubBridge) -> None:
    with ServerThread(bridge, limits=ConnectionLimits(connections=2)) as server, _EventStream(server) as viewer:
        viewer.next()
        for _ in range(5):
            assert _is_healthy(server)
        assert viewer.next()[0] == "change"


def test_server_without_replaceable_connection_rejects_new_ones(bridge: StubBridge) -> None:
    with ServerThread(bridge, limits=ConnectionLimits(connections=1)) as server:
        with _EventStream(server) as viewer:
            viewer.next()
            assert not _is_healthy(server)
        wait_for(lambda: _is_healthy(server))


@pytest.mark.parametrize("sent", [b"", b"GET / HT", _HEALTHZ, _HEALTHZ + b"GET / HT"])
def test_server_closes_idle_connections(bridge: StubBridge, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 0.3)
    with ServerThread(bridge) as server, socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(sent)
        while client.recv(65536):
            pass


def test_events_outlast_idle_timeout(bridge: StubBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 0.1)
    with ServerThread(bridge) as server, _EventStream(server) as viewer:
        assert viewer.next()[0] == "picture"
        assert viewer.next()[0] == "change", "the frame after the idle timeout"


def test_snapshot_reloaded_while_rendered_is_complete(bridge: StubBridge) -> None:
    stations = [station(number) for number in range(1, 40)]
    bridge.reload(stations)
    with ServerThread(bridge) as server:
        stations_of_bridge = bridge.stations
        interrupted: list[StationSnapshot] = []

        def reload_meanwhile(after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
            for number, snapshot in enumerate(stations_of_bridge(after, steps=steps)):
                if number == 5 and not interrupted:
                    interrupted.append(snapshot)
                    bridge.reload(stations[:30])
                yield snapshot

        bridge.stations = reload_meanwhile  # type: ignore[method-assign]
        assert len(from_json(_request(server, "/api/picture")[1]).stations) == 30
        assert interrupted


@pytest.mark.parametrize(
    "request_",
    [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02"],
)
def test_malformed_request_is_not_logged(
    server: ServerThread, bridge: StubBridge, capfd: pytest.CaptureFixture[str], request_: bytes
) -> None:
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert bridge.failures == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("request_", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n"])
def test_response_to_malformed_request_has_own_headers(server: ServerThread, request_: bytes) -> None:
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(request_)
        response = http.client.HTTPResponse(client)
        response.begin()
    assert response.status in (400, 417)
    assert response.getheader("Server") == "evse-mqtt-bridge"
    assert response.getheader("X-Content-Type-Options") == "nosniff"


def test_handler_exception_is_reported_to_bridge_only(
    server: ServerThread, bridge: StubBridge, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = RuntimeError("simulated bug")

    def fail() -> Health:
        raise bug

    monkeypatch.setattr(bridge, "health", fail)
    response, body = _request(server, "/healthz")
    assert response.status == 500
    assert b"simulated bug" not in body
    assert bridge.failures == [bug]
    assert capfd.readouterr() == ("", "")


def test_server_stop_does_not_wait_for_viewers(large_server: ServerThread) -> None:
    with _connect_without_reading(large_server), _EventStream(large_server) as viewer:
        viewer.next()
        began = time.monotonic()
        large_server.stop()
        assert time.monotonic() - began < 5
        with pytest.raises((EOFError, OSError, http.client.HTTPException)):
            viewer.drain()


# Start


async def _start(host: str, port: int) -> str:
    server = Server(Http(host=host, port=port), StubBridge([]))
    try:
        return await server.start()
    finally:
        await server.stop()


async def test_start_on_used_port_returns_reason(server: ServerThread) -> None:
    assert await _start(HOST, server.port) == "another program uses this port"


async def test_start_on_foreign_address_returns_reason() -> None:
    assert await _start("192.0.2.1", free_port()) == "this machine does not have this address"


async def test_start_on_unresolvable_name_returns_reason() -> None:
    assert await _start("a" * 80, free_port()) == "the host name cannot be resolved"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_server_on_ipv6_serves_requests(host: str) -> None:
    port = free_port()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")

    server = Server(Http(host=host, port=port), StubBridge([station()]))
    assert not await server.start()
    reader, writer = await asyncio.open_connection("::1", port)
    writer.write(f"GET /healthz HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    await server.stop()
    assert response.startswith(b"HTTP/1.1 200")
