"""A server that sends each station's response over persistent connections, or its fault and then disconnects."""

import asyncio
from types import TracebackType
from typing import Self

from benchmarks.soak.station_faults import StationFault
from tests.harness.loop_thread import LoopThread
from tests.harness.net import HOST, free_port

__all__ = ["SoakCloud"]

_UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_LIMITED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n"
_REJECTED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


class SoakCloud:
    """Listens in its own thread; use it as a context manager. `polls` counts the requests."""

    def __init__(self) -> None:
        self.port = free_port()
        self.polls = 0
        self._answers: dict[str, tuple[str, bytes]] = {}
        self._faults: dict[str, StationFault] = {}
        self._limit = b""
        self._thread = LoopThread()
        self._thread.loop.set_exception_handler(lambda *_: None)  # closed connections are intended
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._thread.call(asyncio.start_server(self._serve, HOST, self.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop(self._server)

    def set_answer(self, uuid: str, token: str, body: bytes, fault: StationFault | None) -> None:
        """Set the response for a station.

        Args:
            uuid: The station.
            token: The required token; requests with another one get 401.
            body: The body of a valid response.
            fault: The fault of the station, if any.
        """
        self._answers[uuid] = token, body
        if fault is None:
            self._faults.pop(uuid, None)
        else:
            self._faults[uuid] = fault

    def limit(self, *, retry_after: int | None) -> None:
        """Reject every request and ask for a pause of so many seconds; `None`: answer again."""
        self._limit = b"" if retry_after is None else _LIMITED % retry_after

    # Everything below runs in the server's thread.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(await reader.readuntil(b"\r\n\r\n"), writer):
                pass
        except (OSError, EOFError):
            pass  # the client closed the connection
        finally:
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request and return whether the connection stays open."""
        self.polls += 1
        if self._limit:
            writer.write(self._limit)
            await writer.drain()
            return True
        uuid = head.split(b" ", 2)[1].split(b"/")[4].decode()
        fault = self._faults.get(uuid)
        if fault is not None:
            await fault.behaviour(writer)
            return False
        token, body = self._answers.get(uuid, ("", b""))
        if not body:
            writer.write(_UNKNOWN)
        elif f"\r\nevsetoken: {token}\r\n".encode() not in head:
            writer.write(_REJECTED)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        return True
