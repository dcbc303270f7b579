"""The server, over real sockets."""

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
from evse_mqtt_bridge.web import server
from evse_mqtt_bridge.web.server import MAX_CONNECTIONS, MAX_VIEWERS, Server
from tests.faults.setup import wait_for
from tests.harness.net import HOST, free_port
from tests.web.running_page import PASSWORD, TOKEN, Scene, Served, reading, station

PATHS = ["/", "/api/picture", "/healthz", "/readyz", "/metrics"]


@pytest.fixture
def scene() -> Scene:
    scene = Scene([station(1), station(2)])
    scene.poll(station(1).uuid, reading())
    scene.poll(station(2).uuid, Failure(Reason.UNAUTHORIZED, "status 401"))
    return scene


@pytest.fixture
def served(scene: Scene) -> Iterator[Served]:
    with Served(scene) as served:
        yield served


def _ask(served: Served, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(HOST, served.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


class _Viewer:
    """A page's event stream."""

    def __init__(self, served: Served, **headers: str) -> None:
        self._connection = http.client.HTTPConnection(HOST, served.port, timeout=10)
        self._connection.request("GET", "/api/events", headers=headers)
        self.answer = self._connection.getresponse()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next event and its data."""
        event = ""
        while line := self.answer.readline().decode():
            key, _, value = line.rstrip("\n").partition(": ")
            if key == "event":
                event = value
            elif key == "data":
                return event, json.loads(value)
        raise EOFError

    def next_change(self) -> list[dict[str, Any]]:
        """The stations of the next event that has any."""
        while not (stations := self.next()[1]["stations"]):
            pass
        changed: list[dict[str, Any]] = stations
        return changed

    def drain(self) -> None:
        """Reads what is on its way, until it ends."""
        while self.next():
            pass

    def close(self) -> None:
        self.answer.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_well(served: Served) -> bool:
    with contextlib.suppress(OSError, http.client.RemoteDisconnected):
        return _ask(served, "/healthz")[0].status == 200
    return False


@pytest.fixture
def viewer(served: Served) -> Iterator[_Viewer]:
    with _Viewer(served) as viewer:
        yield viewer


# What every answer says


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/api/events"])
def test_no_answer_may_be_embedded_framed_kept_or_read_elsewhere(served: Served, path: str) -> None:
    answer, _ = _ask(served, path, "HEAD", Origin="http://evil.example")
    headers = {name.lower(): value for name, value in answer.getheaders()}
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
def test_nothing_can_be_changed(served: Served, path: str, method: str) -> None:
    assert _ask(served, path, method)[0].status == 405


@pytest.mark.parametrize("path", [*PATHS, "/api/events"])
def test_head_is_answered_without_a_body(served: Served, path: str) -> None:
    answer, body = _ask(served, path, "HEAD")
    assert answer.status == 200
    assert body == b""


@pytest.mark.parametrize("path", [*PATHS, "/api/events", "/nothing"])
def test_a_name_that_was_made_to_lead_here_is_not_answered(served: Served, path: str) -> None:
    answer, body = _ask(served, path, Host=f"evil.example:{served.port}")
    assert answer.status == 403
    assert b"http.host" in body
    assert answer.getheader("cache-control") == "no-store"


def test_no_name_at_all_is_not_answered(served: Served) -> None:
    with socket.create_connection((HOST, served.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 403")


def test_on_a_network_any_name_is_answered(scene: Scene) -> None:
    with Served(scene, host="0.0.0.0") as served:
        assert _ask(served, "/healthz", Host="bridge.example")[0].status == 200


def test_no_secret_is_on_any_of_it(served: Served, viewer: _Viewer) -> None:
    event, told = viewer.next()
    told_too = [_ask(served, path)[1].decode() for path in PATHS]
    everything = "\n".join([event, json.dumps(told), *told_too])
    assert station(1).uuid in everything
    assert served.scene.bridge.plan.client_id in everything
    for secret in (TOKEN, PASSWORD):
        assert secret not in everything


# The picture


def test_the_picture_is_what_is_known(served: Served, scene: Scene) -> None:
    answer, body = _ask(served, "/api/picture")
    assert answer.getheader("content-type") == "application/json"
    picture = from_json(body)
    assert picture.stations == tuple(scene.stations())
    one, other = picture.stations
    assert (one.name, one.topic, one.reason) == ("Station 1", "evse/station-1", Reason.ONLINE)
    assert (one.plugs[0].power, one.plugs[0].steps[0][1]) == (7107.0, 7107.0)
    assert (other.reason, other.error) == (Reason.UNAUTHORIZED, "status 401")
    assert picture.revision == scene.history.revision


def test_health_is_told_in_words(served: Served, scene: Scene) -> None:
    assert _ask(served, "/healthz")[1] == b"all is well\n"
    scene.verdict = Health(healthy=True, ready=False, words=("no connection to the broker",))
    assert _ask(served, "/healthz")[0].status == 200
    answer, body = _ask(served, "/readyz")
    assert (answer.status, body) == (503, b"no connection to the broker\n")


# Events


def test_first_the_picture_then_what_changed(served: Served, viewer: _Viewer) -> None:
    assert viewer.answer.getheader("content-type") == "text/event-stream"
    event, told = viewer.next()
    assert (event, len(told["stations"])) == ("picture", 2)
    served.do(lambda scene: scene.poll(station(1).uuid, reading(power=3680.0)))
    assert [each["plugs"][0]["power"] for each in viewer.next_change()] == [3680.0]


def test_a_page_of_another_site_gets_no_events(served: Served) -> None:
    with _Viewer(served, **{"Sec-Fetch-Site": "cross-site"}) as viewer:
        assert viewer.answer.status == 403


def test_so_many_viewers_and_no_more(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        viewers = [stack.enter_context(_Viewer(served)) for _ in range(MAX_VIEWERS)]
        for viewer in viewers:
            viewer.next()
        refused = stack.enter_context(_Viewer(served))
        assert refused.answer.status == 503
        assert f"{MAX_VIEWERS} pages are open" in refused.answer.read().decode()
        viewers[0].close()
        deadline = time.monotonic() + 10
        while (another := stack.enter_context(_Viewer(served))).answer.status == 503:
            assert time.monotonic() < deadline
            viewers[1].next()  # that one went is noticed with the next frame
        assert another.next()[0] == "picture"


def test_when_the_last_viewer_went_nothing_is_kept_or_done(served: Served, scene: Scene) -> None:
    server = served._server
    assert server is not None
    with _Viewer(served) as viewer:
        viewer.next()
        assert server._feed._frames
    deadline = time.monotonic() + 10
    while server._viewers:  # noticed with the next frame
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not server._feed._frames
    assert scene.looks > 0


@pytest.fixture
def many() -> Iterator[Served]:
    """So much to tell that it is more than what the sockets take."""
    scene = Scene([station(number) for number in range(1, 501)])
    scene.poll_all(lambda: Failure(Reason.UNREACHABLE, "x" * 40_000))
    with Served(scene) as served:
        yield served


def _stuck(served: Served, path: str = "/api/events") -> socket.socket:
    """A viewer who does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((HOST, served.port))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert client.recv(1)
    return client


def test_who_does_not_read_holds_up_nobody_and_costs_little(many: Served) -> None:
    with _stuck(many), _Viewer(many) as viewer:
        assert len(viewer.next()[1]["stations"]) == 500
        many.do(lambda scene: scene.poll(station(7).uuid, reading()))
        assert [each["name"] for each in viewer.next_change()] == ["Station 7"]
        server = many._server
        assert server is not None
        held = [viewer.transport.get_write_buffer_size() for viewer in server._viewers.values() if viewer.transport]
        assert len(held) == 2
        assert 0 < max(held) < 256 * 1024


def test_so_many_readers_of_the_picture_and_no_more(many: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_VIEWERS):
            stack.enter_context(_stuck(many, "/api/picture"))
        answer, words = _ask(many, "/api/picture")
        assert (answer.status, answer.getheader("Retry-After")) == (503, "10")
        assert b"20 others are reading" in words
        assert _ask(many, "/healthz")[0].status == 200
    wait_for(lambda: _ask(many, "/api/picture")[0].status == 200)


def test_so_many_connections_and_no_more(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            connection = http.client.HTTPConnection(HOST, served.port, timeout=10)
            stack.callback(connection.close)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
        with pytest.raises((OSError, http.client.RemoteDisconnected)):
            _ask(served, "/healthz")

    wait_for(lambda: _is_well(served))


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_connections_that_ask_nothing_make_room(scene: Scene, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(server, "_SILENCE", 0.3)
    with Served(scene) as served, contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection((HOST, served.port), timeout=10)).sendall(said)
        wait_for(lambda: _is_well(served))


def test_a_viewer_may_stay_longer_than_one_that_asks_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SILENCE", 0.1)
    with Served(scene) as served, _Viewer(served) as viewer:
        assert viewer.next()[0] == "picture"
        assert viewer.next()[0] == "change", "seconds later"


def test_a_picture_is_whole_though_the_configuration_changed_while_it_was_written(scene: Scene) -> None:
    stations = [station(number) for number in range(1, 40)]
    scene.reload(stations)
    with Served(scene) as served:
        original = scene.stations
        torn: list[StationSnapshot] = []

        def change_in_the_middle(after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
            for number, picture in enumerate(original(after, steps=steps)):
                if number == 5 and not torn:
                    torn.append(picture)
                    scene.reload(stations[:30])
                yield picture

        scene.stations = change_in_the_middle  # type: ignore[method-assign]  # for once
        assert len(from_json(_ask(served, "/api/picture")[1]).stations) == 30
        assert torn


@pytest.mark.parametrize(
    "request_",
    [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02"],
)
def test_what_is_no_http_is_not_worth_a_line(
    served: Served, scene: Scene, capfd: pytest.CaptureFixture[str], request_: bytes
) -> None:
    with socket.create_connection((HOST, served.port), timeout=10) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert scene.failures == []
    assert capfd.readouterr() == ("", "")


def test_a_bug_is_told_to_the_log_of_the_bridge_and_to_nobody_else(
    served: Served, scene: Scene, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bug = RuntimeError("a bug, on purpose")

    def fail() -> Health:
        raise bug

    monkeypatch.setattr(scene, "health", fail)
    answer, body = _ask(served, "/healthz")
    assert answer.status == 500
    assert b"on purpose" not in body
    assert scene.failures == [bug]
    assert capfd.readouterr() == ("", "")


def test_stopping_waits_for_no_viewer(many: Served) -> None:
    with _stuck(many), _Viewer(many) as viewer:
        viewer.next()
        began = time.monotonic()
        many.stop()
        assert time.monotonic() - began < 5
        with pytest.raises((EOFError, OSError, http.client.HTTPException)):
            viewer.drain()


# Listening


def _start(host: str, port: int) -> str:
    async def start() -> str:
        server = Server(Http(host=host, port=port), Scene([]))
        try:
            return await server.start()
        finally:
            await server.stop()

    return asyncio.run(start())


def test_a_port_that_is_taken_is_told(served: Served) -> None:
    assert _start(HOST, served.port) == "another program listens there"


def test_an_address_of_another_machine_is_told() -> None:
    assert _start("192.0.2.1", free_port()) == "this machine has no such address"


def test_a_name_without_an_address_is_told() -> None:
    assert _start("a" * 80, free_port()) == "no address is known by that name"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6(host: str) -> None:
    port = free_port()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")

    async def ask() -> bytes:
        server = Server(Http(host=host, port=port), Scene([station()]))
        assert not await server.start()
        reader, writer = await asyncio.open_connection("::1", port)
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: [::1]:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await server.stop()
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200")
