"""The test tools themselves: each must detect the errors that the tests rely on it to detect."""

import asyncio
import contextlib
import gc
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tests.harness import Answer, Authority, BridgeProcess, CloudServer, Mosquitto, Observer, retained_messages
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.loop_thread import LoopThread
from tests.harness.misbehaving_server import MisbehavingServer
from tests.harness.net import HOST, free_port
from tests.harness.proxy import Proxy

_PATH = f"/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/status"


def test_observer_records_retained_and_live_messages(broker: Mosquitto) -> None:
    with Observer(broker.port) as first:
        for number in range(2000):
            first.publish(f"a/{number}", "old", retain=True)
        first.publish("a/gone", "", retain=True)
        first.publish("a/passing", "now", retain=False)
        with Observer(broker.port) as second:
            assert len(second.latest) == 2000
            before = second.count
            first.publish("a/0", "new", retain=True)
            second.wait_for("a/0", "new")
            second.sync()
            new = [(message.topic, message.payload, message.retain) for message in second.messages_since(before)]
            assert new == [("a/0", "new", True)]
        assert len(retained_messages(broker.port)) == 2000
        assert first.retained["a/0"] == "new"
        assert retained_messages(broker.port, "a/1/#", protocol="3.1.1") == {"a/1": "old"}


def test_observer_wait_fails_on_timeout(observer: Observer) -> None:
    observer.publish("a", "1")
    with pytest.raises(AssertionError, match=re.escape("a = '2'")):
        observer.wait_for("a", "2", timeout=0.05)


def test_mosquitto_freezes_restarts_and_is_killed(broker: Mosquitto) -> None:
    with Observer(broker.port) as observer:
        observer.publish("a", "1", retain=True)
        broker.freeze()
        with pytest.raises(AssertionError, match="to acknowledge"):
            observer.sync(timeout=0.2)
        broker.thaw()
        observer.sync()
        assert observer.retained == {"a": "1"}
        broker.restart()
        observer.sync()
        assert observer.retained == {}
    broker.kill()
    with pytest.raises(ConnectionRefusedError), Observer(broker.port):
        pass


def test_mosquitto_with_persistence_keeps_retained_messages(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", persistence=True) as broker:
        with Observer(broker.port) as observer:
            observer.publish("a", "1", retain=True)
        broker.restart()
        assert retained_messages(broker.port) == {"a": "1"}


def test_mosquitto_with_tls_or_login_accepts_and_rejects(tmp_path: Path, authority: Authority) -> None:
    server = authority.issue("broker")
    extra = [f"certfile {server.cert_file}", f"keyfile {server.key_file}"]
    context = ssl.create_default_context(cafile=authority.ca_file)
    with Mosquitto(tmp_path / "broker", extra=extra) as broker, Observer(broker.port, tls=context) as observer:
        observer.publish("a", "1", retain=True)
        assert observer.retained == {"a": "1"}
    with (
        Mosquitto(tmp_path / "closed", anonymous=False) as broker,
        pytest.raises(AssertionError, match="rejected"),
        Observer(broker.port),
    ):
        pass


def test_mosquitto_with_invalid_configuration_reports_it(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="no_such_setting"),
        Mosquitto(tmp_path / "broker", extra=["no_such_setting"]),
    ):
        pass


def _get(cloud: CloudServer, token: str = "secret") -> tuple[int, bytes]:
    request = urllib.request.Request(cloud.url + _PATH, headers={"evsetoken": token})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_cloud_server_sends_the_answers_that_were_set(cloud: CloudServer) -> None:
    assert _get(cloud)[0] == 404
    cloud.answer(EXAMPLE_EVSE, status_example(), token="secret")
    assert _get(cloud, "wrong")[0] == 401
    assert b"c99838f9eb5b423d98f8ba33389a255c" in _get(cloud)[1]
    cloud.answer(EXAMPLE_EVSE, lambda request: Answer(request.uuid, 503, {"Retry-After": "7"}))
    assert _get(cloud) == (503, EXAMPLE_EVSE.encode())
    assert [request.headers["evsetoken"] for request in cloud.requests] == ["secret", "wrong", "secret", "secret"]
    assert len(cloud.wait_for_requests(4, EXAMPLE_EVSE)) == 4
    with pytest.raises(AssertionError, match="received 4"):
        cloud.wait_for_requests(5, timeout=0.05)


def test_cloud_server_stops_and_starts_again(cloud: CloudServer) -> None:
    cloud.stop()
    with pytest.raises(urllib.error.URLError):
        _get(cloud)
    cloud.start()
    assert _get(cloud)[0] == 404


class _Server(Protocol):
    port: int
    thread: LoopThread


@pytest.mark.parametrize(
    "create", [CloudServer, MisbehavingServer, lambda: Proxy(free_port())], ids=["cloud", "misbehaving", "proxy"]
)
def test_server_closes_connections_accepted_while_it_stops(
    create: Callable[[], AbstractContextManager[_Server]],
) -> None:
    with create() as server:
        stopping = threading.Event()
        server.thread.loop.call_soon_threadsafe(stopping.wait)
        clients = [socket.create_connection((HOST, server.port), timeout=5) for _ in range(20)]
        threading.Timer(0.01, stopping.set).start()  # the loop accepts them together with the request to stop
    gc.collect()  # reports sockets that nobody closed
    for client in clients:
        with client, contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_loop_thread_stops_with_tasks_that_wait_forever() -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def start() -> None:
        _ = asyncio.create_task(wait())  # noqa: RUF006  # nothing else refers to it

    thread = LoopThread()
    thread.start()
    thread.call(start())
    gc.collect()
    thread.stop()
    assert cancelled.is_set()
    assert thread.loop.is_closed()


def test_bridge_process_output_and_exit_are_observed() -> None:
    with BridgeProcess("--help") as process:
        process.wait_for_line("Usage", stream="stdout")
        process.assert_exit(0)
        with pytest.raises(AssertionError, match="exited without a line"):
            process.wait_for_line("no such line")
