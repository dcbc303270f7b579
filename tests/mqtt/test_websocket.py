"""MQTT over WebSocket: with a real Mosquitto, with and without TLS, and with servers that refuse or divide messages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions
from evse_mqtt_bridge.mqtt.connection import connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.support.errors import UnavailableError
from tests.harness import Authority, Mosquitto, Observer
from tests.harness.net import HOST, free_port
from tests.mqtt.packets import connack, packet, publish
from tests.mqtt.raw_broker import Received


@pytest.fixture
def port() -> int:
    """The port of the broker's listener for WebSockets."""
    return free_port()


@pytest.fixture
def web_broker(tmp_path: Path, port: int) -> Iterator[Mosquitto]:
    """A broker with a listener for WebSockets."""
    extra = [f"listener {port} {HOST}", "protocol websockets"]
    with Mosquitto(tmp_path / "broker", extra=extra) as broker:
        yield broker


async def _round_trip(settings: Mqtt, observer: Observer, size: int = 10) -> None:
    """Publish retained messages, and read them back."""
    messages = {f"evse/{number}/info": b"x" * size for number in range(20)}
    async with one_shot_client(settings, "test") as client:
        await client.publish(Message(topic, payload) for topic, payload in messages.items())
        assert await client.retained(["evse/+/info"]) == messages
        assert client.version == "5"
    observer.wait(lambda: len(observer.latest) == len(messages))


@pytest.mark.parametrize("size", [10, 5_000])
async def test_messages_pass_over_a_web_socket(web_broker: Mosquitto, port: int, size: int) -> None:
    with Observer(web_broker.port) as observer:
        await _round_trip(Mqtt(host=HOST, port=port, transport="websockets"), observer, size)


@pytest.mark.parametrize("transport", ["websockets", "tcp"])
async def test_messages_pass_over_tls_to_an_address(
    tmp_path: Path, port: int, authority: Authority, transport: Literal["tcp", "websockets"]
) -> None:
    """The certificate has a name, which `server_name` contains."""
    server = authority.issue("broker.test", hosts=("broker.test",))
    extra = [
        f"listener {port} {HOST}",
        f"protocol {'mqtt' if transport == 'tcp' else transport}",
        f"certfile {server.cert_file}",
        f"keyfile {server.key_file}",
    ]
    tls = Tls(ca_file=str(authority.ca_file), server_name="broker.test")
    with Mosquitto(tmp_path / "broker", extra=extra) as broker, Observer(broker.port) as observer:
        await _round_trip(Mqtt(host=HOST, port=port, transport=transport, tls=tls), observer)


@asynccontextmanager
async def _server(
    handle: Callable[[ServerConnection], Awaitable[None]],
    process_request: Callable[[ServerConnection, Request], Response | None] | None = None,
) -> AsyncIterator[int]:
    server: Server
    async with serve(
        handle, HOST, 0, subprotocols=[Subprotocol("mqtt")], process_request=process_request, compression=None
    ) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def test_divided_messages_and_pings_are_accepted() -> None:
    """A frame need not contain one packet, and a proxy may send pings."""
    stream = connack() + publish("a", b"x" * 1000) + publish("b", b"y")

    async def handle(connection: ServerConnection) -> None:
        await connection.recv()
        for byte in stream[:10]:
            await connection.send(bytes([byte]))
        await (await connection.ping())
        await connection.send([stream[10:500], stream[500:]])
        await connection.send(packet(0xE0, b"\x8b"))

    received = Received()
    async with _server(handle) as port:
        options = ConnectOptions(Mqtt(host=HOST, port=port, transport="websockets"))
        connection = await connect(options, received.handlers())
        assert not isinstance(connection, Disconnected), connection
        assert (await connection.keep_alive()).detail == "the broker closed the connection: Server shutting down"
        connection.abort()
    assert [topic for topic, _, _ in received.messages] == ["a", "b"]


async def test_path_and_headers_are_sent() -> None:
    requests: list[Request] = []

    def refuse(connection: ServerConnection, request: Request) -> Response:
        requests.append(request)
        return connection.respond(404, "")

    async def handle(_connection: ServerConnection) -> None: ...

    async with _server(handle, refuse) as port:
        settings: dict[str, Any] = {"host": HOST, "port": port, "transport": "websockets"}
        headers = {"X-Key": "secret", "Host": "h"}
        mqtt = Mqtt.model_validate({**settings, "websocket_path": "/a/mqtt?b=c", "websocket_headers": headers})
        assert "secret" not in repr(mqtt)
        result = await connect(ConnectOptions(mqtt), Received().handlers())
    assert isinstance(result, Disconnected)
    assert "HTTP 404" in result.detail
    (request,) = requests
    assert request.path == "/a/mqtt?b=c"
    assert (request.headers["X-Key"], request.headers["Host"]) == ("secret", "h")
    assert request.headers["Sec-WebSocket-Protocol"] == "mqtt"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "the server answers with HTTP 503"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "refuses the WebSocket with HTTP 200: check mqtt.websocket_path"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "the WebSocket handshake failed"),
        (b"\x20\x02\0\0\r\n", "does not answer as a WebSocket server"),
        (b"", "does not answer as a WebSocket server"),
        (b"x" * 1_000_000, "does not answer as a WebSocket server"),
    ],
)
async def test_refused_web_socket_has_a_reason(answer: bytes, expected: str) -> None:
    async def serve_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_answer, HOST, 0)
    async with server:
        settings = Mqtt(host=HOST, port=server.sockets[0].getsockname()[1], transport="websockets")
        with pytest.raises(UnavailableError, match=expected):
            async with one_shot_client(settings, "test"):
                pass
