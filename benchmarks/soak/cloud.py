"""A server that tells each station's truth over connections that are kept, or its trouble on one that then ends."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from benchmarks.soak.troubles import DisconnectReason
from tests.harness.net import HOST, free_port

__all__ = ["SoakCloud"]

_UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_REJECTED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


class SoakCloud:
    """Listens, in a thread of its own, as long as its context is entered; `polls` is how often it was asked."""

    def __init__(self) -> None:
        self.port = free_port()
        self.polls = 0
        self._truths: dict[str, tuple[str, bytes]] = {}
        self._troubles: dict[str, DisconnectReason] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # connections that end, on purpose
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, HOST, self.port), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def tell(self, uuid: str, token: str, body: bytes, trouble: DisconnectReason | None) -> None:
        """What a station with this token is answered from now on; one with another is rejected."""
        self._truths[uuid] = token, body
        if trouble is None:
            self._troubles.pop(uuid, None)
        else:
            self._troubles[uuid] = trouble

    # the server's thread

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a server's callback runs in a task")
        self._tasks.add(task)
        try:
            while await self._answer(await reader.readuntil(b"\r\n\r\n"), writer):
                pass
        except (OSError, EOFError):
            pass  # the other side has enough
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays."""
        self.polls += 1
        uuid = head.split(b" ", 2)[1].split(b"/")[4].decode()
        trouble = self._troubles.get(uuid)
        if trouble is not None:
            await trouble.lie(writer)
            return False
        token, body = self._truths.get(uuid, ("", b""))
        if not body:
            writer.write(_UNKNOWN)
        elif f"\r\nevsetoken: {token}\r\n".encode() not in head:
            writer.write(_REJECTED)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        return True
