"""A TCP proxy in front of a broker that closes the connection of a client that does something forbidden."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.harness.loop_thread import LoopThread
from tests.harness.net import HOST, free_port

__all__ = ["StrictProxy"]

_PUBLISH, _SUBSCRIBE = 3, 8


class StrictProxy:
    """Closes a connection, as hosted brokers do, at a forbidden PUBLISH or SUBSCRIBE; use it as a context manager.

    Args:
        upstream_port: The port of the broker.
        publish: Beginnings of topics that must not be published.
        subscribe: Filters that must not be subscribed to.

    Attributes:
        port: The port on which the proxy listens.
        connections: When each connection was accepted, in seconds of `time.monotonic`.
    """

    host = HOST

    def __init__(self, upstream_port: int, publish: Sequence[str] = (), subscribe: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.connections: list[float] = []
        self._upstream_port = upstream_port
        self._publish = tuple(prefix.encode() for prefix in publish)
        self._subscribe = tuple(topic_filter.encode() for topic_filter in subscribe)
        self._thread = LoopThread()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._thread.call(asyncio.start_server(self._accept, HOST, self.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop(self._server)

    # Everything below runs in the proxy's thread.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(time.monotonic())
        try:
            answers, upstream = await asyncio.open_connection(HOST, self._upstream_port)
            try:
                tasks = [
                    asyncio.create_task(_forward(answers, writer)),
                    asyncio.create_task(self._forward_packets(reader, upstream)),
                ]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
            finally:
                upstream.close()
        finally:
            writer.close()

    async def _forward_packets(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                packet, body = await _read_packet(reader)
                if self._is_forbidden(packet[0], body):
                    return
                writer.write(packet)
                await writer.drain()

    def _is_forbidden(self, header: int, body: bytes) -> bool:
        if header >> 4 == _PUBLISH:
            return body[2:].startswith(self._publish)
        framed = (len(topic_filter).to_bytes(2) + topic_filter for topic_filter in self._subscribe)
        return header >> 4 == _SUBSCRIBE and any(topic_filter in body for topic_filter in framed)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()


async def _read_packet(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return an MQTT packet, and its body alone."""
    head = await reader.readexactly(1)
    length = shift = 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            body = await reader.readexactly(length)
            return head + body, body
