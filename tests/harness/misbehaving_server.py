"""An HTTP server whose responses a test controls down to the byte: malformed, endless, dripping, reset or missing.

A `Behaviour` is a function that receives the open connection and writes to it; the server closes the connection
afterwards. The functions below create the usual behaviours.
"""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tests.harness.cloud import Request
from tests.harness.loop_thread import LoopThread
from tests.harness.net import HOST, free_port

__all__ = [
    "Behaviour",
    "MisbehavingServer",
    "answer",
    "drip",
    "endless",
    "gzip_bomb",
    "hang",
    "raw",
    "reset",
]

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class MisbehavingServer:
    """A server on a free port, in its own thread; use it as a context manager.

    A station without a behaviour gets no response.

    Attributes:
        requests: Every request received, in order.
        connections: Number of connections accepted, including those without a request.
        thread: The server's thread.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.requests: list[Request] = []
        self.connections = 0
        self._tls = tls
        self._behaviours: dict[str, Behaviour] = {}
        self._changed = threading.Condition()
        self.thread = LoopThread()
        self.thread.loop.set_exception_handler(lambda _loop, _context: None)  # failed TLS handshakes are intended
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self.thread.start()
        self._server = self.thread.call(asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thread.stop(self._server)

    @property
    def url(self) -> str:
        """The value for `cloud.base_url`."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def set_behaviour(self, uuid: str, behaviour: Behaviour) -> None:
        """Set the behaviour towards station `uuid`; `""` stands for every other path."""
        with self._changed:
            self._behaviours[uuid] = behaviour

    def requests_of(self, uuid: str) -> list[Request]:
        """Return the requests received so far for one station."""
        with self._changed:
            return [request for request in self.requests if request.uuid == uuid]

    def wait_for_requests(self, count: int, uuid: str, timeout: float = 30) -> list[Request]:
        """Wait for at least `count` requests of a station and return all of them.

        Args:
            count: Minimum number of requests.
            uuid: The station.
            timeout: Seconds until the test fails.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := [request for request in self.requests if request.uuid == uuid]) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"waited {timeout} s for {count} requests of {uuid}, received {len(found)}"
                self._changed.wait(left)
            return found

    # Everything below runs in the server's thread.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            request = _request(await reader.readuntil(b"\r\n\r\n"))
            with self._changed:
                self.requests.append(request)
                behaviour = self._behaviours.get(request.uuid, hang())
                self._changed.notify_all()
            await behaviour(writer)
        except (OSError, EOFError):
            pass  # the client closed the connection
        finally:
            writer.close()


def _request(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    at = time.monotonic()
    match path.split("/"):
        case ["", "edgedevices", edge_device_id, "evses", uuid, "status"]:
            return Request(method, path, headers, at, edge_device_id, uuid)
    return Request(method, path, headers, at)


def answer(body: object, status: str = "200 OK", **headers: str) -> Behaviour:
    """Return a well-formed response.

    Args:
        body: Bytes, text, or an object to encode as JSON.
        status: Status code and reason phrase.
        headers: Header names with underscores; the content headers have defaults.
    """
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    lines = {"content-type": "application/json", "content-length": str(len(content)), "connection": "close", **given}
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return raw(head.encode("latin-1") + b"\r\n" + content)


def raw(data: bytes) -> Behaviour:
    """Send `data` and close the connection."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behave


def drip(data: bytes, every: float) -> Behaviour:
    """Send one byte of `data` every `every` seconds, so that no read timeout ever expires."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
            await asyncio.sleep(every)

    return behave


def endless(head: bytes, repeated: bytes) -> Behaviour:
    """Send `head`, then `repeated` over and over, as fast as the client reads."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(repeated)
            await writer.drain()

    return behave


def gzip_bomb(size: int) -> Behaviour:
    """Return a small gzip-encoded response that decompresses to `size` bytes."""
    return answer(gzip.compress(b" " * size), content_encoding="gzip")


def hang() -> Behaviour:
    """Send nothing and keep the connection open."""

    async def behave(_writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    return behave


def reset(data: bytes = b"") -> Behaviour:
    """Send `data` and reset the connection (RST)."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return behave
