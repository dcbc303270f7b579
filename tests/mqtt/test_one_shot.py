"""A short one_shot: how long it waits for acknowledgements, and what it says of a broker that refuses it."""

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.mqtt.connection import Connection, Disconnected, DisconnectReason
from evse_mqtt_bridge.mqtt.one_shot import ACKNOWLEDGE_LIMIT, OneShotClient, one_shot
from evse_mqtt_bridge.support.errors import UnavailableError
from tests.harness import Authority, Mosquitto, virtual_time
from tests.harness.net import HOST


class _Slow:
    """A connection whose broker acknowledges one publication every `pause` seconds, and after `most` no more."""

    def __init__(self, pause: float, most: int) -> None:
        self.in_flight = 0
        self.acknowledged = 0
        self.drained: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Disconnected] = self._loop.create_future()
        self._pause = pause
        self._most = most

    @property
    def has_room(self) -> bool:
        return self.in_flight < 20 and not self.ended.done()

    def publish(self, _message: Message) -> None:
        self.in_flight += 1
        if self.in_flight == 1:
            self._loop.call_later(self._pause, self._acknowledge)

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        if self.acknowledged > self._most:
            return
        self.in_flight -= 1
        if self.in_flight:
            self._loop.call_later(self._pause, self._acknowledge)
        self.drained()

    async def subscribe(self, _filters: list[str]) -> list[str]:
        return []

    def end(self) -> None:
        self.ended.set_result(Disconnected(DisconnectReason.LOST, "gone"))


async def _publish(pause: float, most: int, *, end_after: float | None = None) -> tuple[int, float]:
    """How many of 50 messages were acknowledged, and how many seconds that took."""
    slow = _Slow(pause, most)
    guest = OneShotClient(cast("Connection", slow))
    slow.drained = guest.drained
    loop = asyncio.get_running_loop()
    if end_after is not None:
        loop.call_later(end_after, slow.end)
    began = loop.time()
    await guest.publish(Message(f"t/{number}", b"") for number in range(50))
    return slow.acknowledged, loop.time() - began


def test_a_broker_that_goes_on_acknowledging_is_waited_for() -> None:
    pause = ACKNOWLEDGE_LIMIT - 1
    assert virtual_time.run(_publish(pause, 50)) == (50, 50 * pause)


@pytest.mark.parametrize("most", [0, 10, 49])
def test_a_broker_that_stops_acknowledging_is_given_up(most: int) -> None:
    with pytest.raises(UnavailableError, match="did not acknowledge everything"):
        virtual_time.run(_publish(1, most))


@pytest.mark.parametrize("end_after", [0, 1.5])
def test_a_broker_that_goes_away_is_not_waited_for(end_after: float) -> None:
    with pytest.raises(UnavailableError, match="did not acknowledge everything"):
        virtual_time.run(_publish(1, 50, end_after=end_after))


@pytest.mark.parametrize("end_after", [0, 0.5])
def test_what_was_read_until_the_broker_went_away_is_not_taken_for_all(end_after: float) -> None:
    async def read() -> None:
        slow = _Slow(1, 0)
        asyncio.get_running_loop().call_later(end_after, slow.end)
        await OneShotClient(cast("Connection", slow)).retained(["evse/#"])

    with pytest.raises(UnavailableError, match="the broker was lost while it was read: gone"):
        virtual_time.run(read())


def test_nothing_to_publish_takes_no_time() -> None:
    async def nothing() -> None:
        await OneShotClient(cast("Connection", _Slow(1, 0))).publish([])

    virtual_time.run(nothing())


# what is said of a broker that refuses


async def _visit(settings: Mqtt) -> None:
    async with one_shot(settings, "test"):
        pass


def _said(settings: Mqtt) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # paho leaves the socket of a failed handshake to the collector
        with pytest.raises(UnavailableError) as caught:
            asyncio.run(_visit(settings))
        gc.collect()
    return str(caught.value).removeprefix(f"broker {settings.host}:{settings.port}: ")


@pytest.fixture
def encrypted(tmp_path: Path, authority: Authority) -> Iterator[Mosquitto]:
    """A broker that speaks TLS, as the host `elsewhere`."""
    server = authority.issue("elsewhere", hosts=("elsewhere",))
    extra = [f"certfile {server.cert_file}", f"keyfile {server.key_file}"]
    with Mosquitto(tmp_path / "broker", extra=extra) as broker:
        yield broker


def test_tls_where_there_is_none(broker: Mosquitto) -> None:
    assert _said(Mqtt(host=HOST, port=broker.port, tls=Tls())).endswith("; does it speak TLS on this port?")


def test_no_tls_where_there_is_some(encrypted: Mosquitto) -> None:
    said = _said(Mqtt(host=HOST, port=encrypted.port))
    assert said.endswith("; does it speak MQTT without TLS on this port?")


def test_a_certificate_of_an_unknown_ca(encrypted: Mosquitto) -> None:
    said = _said(Mqtt(host=HOST, port=encrypted.port, tls=Tls()))
    assert said.startswith("the certificate was refused: ")
    assert said.endswith("; does mqtt.tls.ca_file name the CA that signed it?")


def test_a_certificate_of_another_host(encrypted: Mosquitto, authority: Authority) -> None:
    said = _said(Mqtt(host=HOST, port=encrypted.port, tls=Tls(ca_file=str(authority.ca_file))))
    assert said.startswith("the certificate was refused: ")
    assert said.endswith("; name the broker as its certificate does")


def test_a_login_that_is_refused(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", anonymous=False) as broker:
        settings = Mqtt(host=HOST, port=broker.port, username="who", password=SecretStr("any"))
        assert _said(settings) == "Not authorized; check user name, password and what the broker allows this user"


def test_a_port_where_nobody_speaks_mqtt() -> None:
    """Who hangs up at once gets the same advice as a broker that wants TLS."""
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        said = _said(Mqtt(host=HOST, port=port))
        thread.join()
    assert said.endswith("; does it speak MQTT without TLS on this port?")
