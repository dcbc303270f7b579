"""The one-shot client: its waits for acknowledgements, and its errors when a broker rejects it."""

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from pydantic import SecretStr

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.events import DisconnectReason
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.one_shot import ACKNOWLEDGE_LIMIT, OneShotClient, one_shot_client
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.topics import Topics
from evse_mqtt_bridge.support.errors import UnavailableError
from tests.harness import Authority, Mosquitto, virtual_time
from tests.harness.net import HOST

if TYPE_CHECKING:
    from evse_mqtt_bridge.mqtt.connection import Connection


class _SlowConnection:
    """A connection whose broker acknowledges a message every `pause` seconds, `limit` times."""

    def __init__(self, pause: float, limit: int) -> None:
        self.in_flight = 0
        self.acknowledged = 0
        self.room_available: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self.disconnected: asyncio.Future[Disconnected] = self._loop.create_future()
        self._pause = pause
        self._limit = limit

    @property
    def room(self) -> int:
        return 0 if self.disconnected.done() else 20 - self.in_flight

    def publish_all(self, messages: list[Message]) -> int:
        if not self.in_flight:
            self._loop.call_later(self._pause, self._acknowledge)
        self.in_flight += len(messages)
        return len(messages)

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        if self.acknowledged > self._limit:
            return
        self.in_flight -= 1
        if self.in_flight:
            self._loop.call_later(self._pause, self._acknowledge)
        self.room_available()

    async def subscribe(self, _filters: list[str]) -> list[str]:
        return []

    def publish_marker(self, _message: Message) -> asyncio.Future[bool]:
        return self._loop.create_future()

    def end(self) -> None:
        self.disconnected.set_result(Disconnected(DisconnectReason.LOST, "gone"))


def _client(connection: _SlowConnection) -> OneShotClient:
    client = OneShotClient()
    client.use(cast("Connection", connection), Topics("evse"))
    connection.room_available = client.room_available
    return client


async def _publish(pause: float, limit: int, *, end_after: float | None = None) -> tuple[int, float]:
    """Return how many of 50 messages were acknowledged, and how many seconds that took."""
    slow = _SlowConnection(pause, limit)
    client = _client(slow)
    loop = asyncio.get_running_loop()
    if end_after is not None:
        loop.call_later(end_after, slow.end)
    began = loop.time()
    await client.publish(Message(f"t/{number}", b"") for number in range(50))
    return slow.acknowledged, loop.time() - began


def test_publish_waits_while_the_broker_acknowledges() -> None:
    pause = ACKNOWLEDGE_LIMIT - 1
    assert virtual_time.run(_publish(pause, 50)) == (50, 50 * pause)


@pytest.mark.parametrize("limit", [0, 10, 49])
def test_publish_fails_when_acknowledgements_stop(limit: int) -> None:
    with pytest.raises(UnavailableError, match="did not acknowledge everything"):
        virtual_time.run(_publish(1, limit))


@pytest.mark.parametrize("end_after", [0, 1.5])
def test_publish_fails_when_the_connection_is_lost(end_after: float) -> None:
    with pytest.raises(UnavailableError, match="did not acknowledge everything"):
        virtual_time.run(_publish(1, 50, end_after=end_after))


@pytest.mark.parametrize("end_after", [0, 0.5])
def test_retained_fails_when_the_connection_is_lost(end_after: float) -> None:
    async def read() -> None:
        slow = _SlowConnection(1, 0)
        asyncio.get_running_loop().call_later(end_after, slow.end)
        await _client(slow).retained(["evse/#"])

    with pytest.raises(UnavailableError, match="the connection to the broker was lost while reading: gone"):
        virtual_time.run(read())


def test_publish_of_nothing_returns_at_once() -> None:
    async def nothing() -> None:
        await _client(_SlowConnection(1, 0)).publish([])

    virtual_time.run(nothing())


# Errors


async def _connect(settings: Mqtt) -> None:
    async with one_shot_client(settings, "test"):
        pass


async def _error(settings: Mqtt) -> str:
    with warnings.catch_warnings():
        # paho leaves the socket of a failed handshake to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(UnavailableError) as caught:
            await _connect(settings)
        gc.collect()
    return str(caught.value).removeprefix(f"broker {settings.host}:{settings.port}: ")


@pytest.fixture
def encrypted(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """A broker with TLS, whose certificate is for the host `elsewhere`."""
    server = authority.issue("elsewhere", hosts=("elsewhere",))
    extra = [f"certfile {server.cert_file}", f"keyfile {server.key_file}"]
    with Mosquitto(tmp_path / "broker", extra=extra) as broker:
        yield broker


async def test_error_for_tls_on_a_plain_port(broker: Mosquitto) -> None:
    assert (await _error(Mqtt(host=HOST, port=broker.port, tls=Tls()))).endswith("; does it use TLS on this port?")


async def test_error_for_a_web_socket_on_an_mqtt_port(broker: Mosquitto) -> None:
    error = await _error(Mqtt(host=HOST, port=broker.port, transport="websockets"))
    assert error.endswith("; does it use MQTT over WebSocket without TLS on this port?")
    error = await _error(Mqtt(host=HOST, port=broker.port, transport="websockets", tls=Tls()))
    assert error.endswith("; does it use MQTT over WebSocket with TLS on this port?")


async def test_error_for_plain_mqtt_on_a_tls_port(encrypted: Mosquitto) -> None:
    error = await _error(Mqtt(host=HOST, port=encrypted.port))
    assert error.endswith("; does it use MQTT without TLS on this port?")


async def test_error_for_an_unknown_ca(encrypted: Mosquitto) -> None:
    error = await _error(Mqtt(host=HOST, port=encrypted.port, tls=Tls()))
    assert error.startswith("the broker's certificate was rejected: ")
    assert error.endswith("; does mqtt.tls.ca_file name the CA that signed it?")


async def test_error_for_a_certificate_of_another_host(encrypted: Mosquitto, authority: Authority) -> None:
    error = await _error(Mqtt(host=HOST, port=encrypted.port, tls=Tls(ca_file=str(authority.ca_file))))
    assert error.startswith("the broker's certificate was rejected: ")
    assert error.endswith("; use a host name or address that the certificate lists as subject alternative name")


async def test_error_for_a_rejected_login(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", anonymous=False) as broker:
        settings = Mqtt(host=HOST, port=broker.port, username="who", password=SecretStr("any"))
        assert (
            await _error(settings)
            == "Not authorized; check the user name, the password and the broker's access rules for this user"
        )


async def test_error_for_a_port_without_mqtt() -> None:
    """A server that closes the connection at once leads to the same advice as a broker that requires TLS."""
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        error = await _error(Mqtt(host=HOST, port=port))
        thread.join()
    assert error.endswith("; does it use MQTT without TLS on this port?")
