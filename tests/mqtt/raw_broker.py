"""A broker that accepts one connection at a time and sends exactly what a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.mqtt.connect_options import ConnectOptions, Handlers
from evse_mqtt_bridge.mqtt.connection import Connection, connect
from evse_mqtt_bridge.mqtt.errors import Disconnected
from tests.harness.net import HOST
from tests.mqtt.packets import connack, packet

__all__ = ["RawBroker", "Received", "connected", "raw_broker"]

Answer = Callable[[int, bytes], Iterable[bytes]]
"""Returns the packets that answer a packet of the client, given its first byte and its body."""


@dataclass(slots=True)
class RawBroker:
    """A listening broker.

    Attributes:
        port: The port on 127.0.0.1.
        writers: The connections that it accepted.
    """

    port: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def send(self, data: bytes) -> None:
        """Send bytes on the newest connection."""
        self.writers[-1].write(data)


def _accepting(is_v5: bool) -> bytes:  # as `raw_broker` calls it
    return connack(properties=b"" if is_v5 else None)


@asynccontextmanager
async def raw_broker(
    answer: Answer, *, accept: bytes | Callable[[bool], bytes] = _accepting
) -> AsyncIterator[RawBroker]:
    """Run a broker that answers CONNECT with `accept`, then with `answer`.

    `accept` may be a function that returns the answer, given whether CONNECT is of MQTT 5.

    An answer of `b""` closes the connection.
    """
    broker = RawBroker()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header, body = await _read_packet(reader)
                answers: Iterable[bytes]
                if header >> 4 == 1:
                    answers = [accept if isinstance(accept, bytes) else accept(body[6] == 5)]
                else:
                    answers = answer(header, body)
                for data in answers:
                    if not data:
                        writer.close()
                        return
                    writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for writer in broker.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    header = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return header, await reader.readexactly(length)


def answer_nothing(header: int, body: bytes) -> Iterable[bytes]:
    """Answer SUBSCRIBE and PINGREQ, and nothing else."""
    if header >> 4 == 8:
        yield packet(0x90, body[:2] + b"\0\0")
    elif header >> 4 == 12:
        yield packet(0xD0, b"")


@dataclass(slots=True)
class Received:
    """What the callbacks of a connection received.

    Attributes:
        messages: Topic, payload and retain flag of each message.
        rejected: Topic and reason of each rejected message.
        changed: Set by each callback.
        listener: Called for each message.
    """

    messages: list[tuple[str, bytes, bool]] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    listener: Callable[[str, bytes, bool], None] = lambda *_: None

    def handlers(self) -> Handlers:
        """Return callbacks that record."""

        def received(topic: str, payload: bytes, retained: bool) -> None:  # as a connection calls it
            self.messages.append((topic, payload, retained))
            self.listener(topic, payload, retained)
            self.changed.set()

        def rejected(topic: str, detail: str) -> None:
            self.rejected.append((topic, detail))
            self.changed.set()

        return Handlers(received, rejected, self.changed.set)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` is true; it is evaluated after each callback."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def connected(
    broker: RawBroker, received: Received, *, packet_limit: int = 64 * 1024, **settings: object
) -> AsyncIterator[Connection]:
    """Yield a connection to the broker, which must be accepted."""
    mqtt = Mqtt.model_validate({"host": HOST, "port": broker.port, **settings})
    options = ConnectOptions(mqtt, packet_limit=packet_limit, version="3.1.1" if mqtt.protocol == "3.1.1" else "5")
    connection = await connect(options, received.handlers())
    assert not isinstance(connection, Disconnected), connection
    try:
        yield connection
    finally:
        connection.abort()
