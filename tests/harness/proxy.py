"""A TCP proxy that simulates network faults: delay, pause, packet loss, resets."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from tests.harness.loop_thread import LoopThread
from tests.harness.net import HOST, free_port

__all__ = ["Conditions", "Proxy"]

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Conditions:
    """The network conditions that the proxy simulates.

    Attributes:
        delay: Seconds by which each chunk is delayed.
        drip: Seconds between single bytes; 0 forwards whole chunks.
        paused: Nothing is read or forwarded.
        blackhole: Every connection open now or opened meanwhile is dead for good: its data is discarded, and neither
            side learns that the other has closed.
        cut_after: Seconds after which a new connection is reset; 0 resets it at once, None never.
    """

    delay: float = 0.0
    drip: float = 0.0
    paused: bool = False
    blackhole: bool = False
    cut_after: float | None = None


class Proxy:
    """Forwards connections to a port on this machine, in its own thread; use it as a context manager.

    Attributes:
        port: The port on which the proxy listens.
        connections: When each connection was accepted, in seconds of `time.monotonic`.
        bytes_forwarded: Total in both directions.
        thread: The proxy's thread.
    """

    host = HOST

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self.connections: list[float] = []
        self.bytes_forwarded = 0
        self._upstream_port = upstream_port
        self._conditions = Conditions()
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self.thread = LoopThread()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self.thread.start()
        self._server = self.thread.call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thread.stop(self._server)

    def pause(self) -> None:
        """Stop reading and forwarding until `restore()`; the socket buffers fill up."""
        self._set(paused=True)

    def blackhole(self) -> None:
        """Silently discard the data of all open connections, and of those opened until `restore()`."""
        self._set(blackhole=True)

    def delay(self, seconds: float) -> None:
        """Delay each chunk by `seconds`."""
        self._set(delay=seconds)

    def drip(self, seconds: float) -> None:
        """Forward single bytes, `seconds` apart."""
        self._set(drip=seconds)

    def cut(self, new_after: float | None = None) -> None:
        """Reset every connection; with `new_after`, also each new connection after that many seconds."""
        self._set(cut_after=new_after)
        self._run(lambda: self._cut(self._links))

    def restore(self) -> None:
        """End all faults; new data is forwarded again."""
        self._run(lambda: self._apply(Conditions()))

    def reset_dead(self) -> None:
        """Reset the connections that `blackhole` left dead, which otherwise occupy descriptors until the end."""
        self._run(lambda: self._cut(link for link in self._links if link.dead))

    def _set(self, **changed: float | bool | None) -> None:
        self._run(lambda: self._apply(replace(self._conditions, **changed)))  # type: ignore[arg-type]  # a field

    def _run(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        self.thread.call(call())

    # Everything below runs in the proxy's thread.

    async def _start(self) -> asyncio.Server:
        self._flowing.set()
        return await asyncio.start_server(self._accept, HOST, self.port)

    def _apply(self, conditions: Conditions) -> None:
        self._conditions = conditions
        if conditions.blackhole:
            for link in self._links:
                link.dead = True
        if conditions.paused:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _cut(self, links: Iterable["_Link"]) -> None:
        for link in set(links):
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(time.monotonic())
        link = _Link(writer, dead=self._conditions.blackhole)
        self._links.add(link)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(link.was_cut.wait())]
        try:
            if not link.dead and self._conditions.cut_after != 0:
                answers, link.upstream = await asyncio.open_connection(HOST, self._upstream_port)
                tasks.append(asyncio.create_task(self._forward(link, reader, link.upstream)))
                tasks.append(asyncio.create_task(self._forward(link, answers, writer)))
            done, _ = await asyncio.wait(
                tasks, return_when=asyncio.FIRST_COMPLETED, timeout=None if link.dead else self._conditions.cut_after
            )
            if done:
                link.close()  # one side closed, so the other is closed too
        except OSError:
            pass  # nothing listens upstream: the client's connection is reset below
        finally:
            self._links.discard(link)
            link.cut()
            for task in tasks:
                task.cancel()

    async def _forward(self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await asyncio.sleep(self._conditions.delay)
                while data:
                    await self._flowing.wait()
                    if link.dead:
                        break
                    piece = data[:1] if self._conditions.drip else data
                    data = data[len(piece) :]
                    writer.write(piece)
                    await writer.drain()
                    self.bytes_forwarded += len(piece)
                    await asyncio.sleep(self._conditions.drip)
        except OSError:
            pass  # one side has gone; the caller closes the other
        if link.dead:
            await link.was_cut.wait()


class _Link:
    """A connection from a client to the upstream port; a dead one forwards nothing, not even its end."""

    def __init__(self, client: asyncio.StreamWriter, *, dead: bool) -> None:
        self.client = client
        self.upstream: asyncio.StreamWriter | None = None
        self.dead = dead
        self.was_cut = asyncio.Event()

    def close(self) -> None:
        """Close both sides gracefully."""
        for writer in (self.client, self.upstream):
            if writer is not None:
                writer.close()

    def cut(self) -> None:
        """Reset both sides, unless they are closed already."""
        self.was_cut.set()
        for writer in (self.client, self.upstream):
            if writer is not None and not writer.is_closing():
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
