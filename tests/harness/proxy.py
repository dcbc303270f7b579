"""A TCP proxy that does to connections what networks do to them."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from tests.harness.net import HOST, free_port

__all__ = ["Conditions", "Proxy"]

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Conditions:
    """How connections are treated at the moment.

    Each chunk arrives `delay` seconds late, and in pieces of one byte where `drip` seconds are to lie between them.
    While `paused`, nothing is read and nothing is passed on. A connection that was there while it was a `blackhole` is
    dead for ever: what comes is swallowed, and neither side learns that the other has closed. New connections are cut
    after `cut_after` seconds; with 0, at once.
    """

    delay: float = 0.0
    drip: float = 0.0
    paused: bool = False
    blackhole: bool = False
    cut_after: float | None = None


class Proxy:
    """Stands before `target` (a port), in a thread of its own; use it as a context manager.

    `connections` are the times (`time.monotonic`) at which connections came; `passed` is how many bytes went through,
    in both directions.
    """

    host = HOST

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.connections: list[float] = []
        self.bytes_forwarded = 0
        self._target = target
        self._conditions = Conditions()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flowing = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pause(self) -> None:
        """Nothing moves until `calm()`; the buffers on both sides fill."""
        self._set(paused=True)

    def blackhole(self) -> None:
        """The connections of now, and those that come until `calm()`, are dead without a word."""
        self._set(blackhole=True)

    def delay(self, seconds: float) -> None:
        """Each chunk is this late from now on."""
        self._set(delay=seconds)

    def drip(self, seconds: float) -> None:
        """Data goes byte by byte from now on, with this much time in between."""
        self._set(drip=seconds)

    def cut(self, new_after: float | None = None) -> None:
        """Resets every connection, and with `new_after` also those that come, so many seconds after they came."""
        self._set(cut_after=new_after)
        self._run(self._cut_all)

    def restore(self) -> None:
        """Passes everything on again."""
        self._run(lambda: self._become(Conditions()))

    def _set(self, **changed: float | bool | None) -> None:
        self._run(lambda: self._become(replace(self._conditions, **changed)))  # type: ignore[arg-type]  # one of its fields

    def _run(self, work: Callable[[], None]) -> None:
        async def call() -> None:
            work()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    # the proxy's thread

    async def _start(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _become(self, conditions: Conditions) -> None:
        self._conditions = conditions
        if conditions.blackhole:
            for link in self._links:
                link.dead = True
        if conditions.paused:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _cut_all(self) -> None:
        for link in set(self._links):
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(time.monotonic())
        link = _Link(writer, dead=self._conditions.blackhole)
        self._links.add(link)
        _ = self._keep(asyncio.current_task())
        work = [self._keep(asyncio.create_task(link.ended.wait()))]
        try:
            if not link.dead and self._conditions.cut_after != 0:
                there, link.beyond = await asyncio.open_connection(HOST, self._target)
                work.append(self._keep(asyncio.create_task(self._pump(link, reader, link.beyond))))
                work.append(self._keep(asyncio.create_task(self._pump(link, there, writer))))
            done, _ = await asyncio.wait(
                work, return_when=asyncio.FIRST_COMPLETED, timeout=None if link.dead else self._conditions.cut_after
            )
            if done:
                link.close()  # as one of the sides did
        except OSError:
            pass  # the target does not listen, which this side learns by the cut
        finally:
            self._links.discard(link)
            link.cut()
            for task in work:
                task.cancel()

    def _keep(self, task: "asyncio.Task[Any] | None") -> "asyncio.Task[Any]":
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _pump(self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            pass  # one side is gone, which the other learns
        if link.dead:
            await link.ended.wait()


class _Link:
    """One connection through the proxy, from `here` to `beyond`; a dead one passes nothing on, not even its end."""

    def __init__(self, here: asyncio.StreamWriter, *, dead: bool) -> None:
        self.here = here
        self.beyond: asyncio.StreamWriter | None = None
        self.dead = dead
        self.ended = asyncio.Event()

    def close(self) -> None:
        """Ends both sides in good order."""
        for writer in (self.here, self.beyond):
            if writer is not None:
                writer.close()

    def cut(self) -> None:
        """Resets what is not closed."""
        self.ended.set()
        for writer in (self.here, self.beyond):
            if writer is not None and not writer.is_closing():
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
