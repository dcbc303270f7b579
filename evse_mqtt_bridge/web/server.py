"""Serves what a running bridge shows of itself, over HTTP, to whoever may reach it: nothing can be changed here.

`/` is the status page, `/api/events` what keeps it live; `/api/picture` is the picture as JSON, `/metrics` is for
Prometheus; `/healthz` answers 200 while the bridge does its work, `/readyz` while it is connected to the broker, and
both 503 with words where that is not so.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.observability.snapshot import Health, snapshot_json
from evse_mqtt_bridge.web import page
from evse_mqtt_bridge.web.feed import Feed, Told, write_slices
from evse_mqtt_bridge.web.headers import CLIENT_ID_HEADER, DEFAULT_HEADERS, SERVER_NAME
from evse_mqtt_bridge.web.security import HOST_NOT_ALLOWED, is_allowed_host, is_cross_site

__all__ = ["MAX_CONNECTIONS", "MAX_VIEWERS", "Server", "Source"]

MAX_CONNECTIONS = 100
"""Connections at once, so that enough file descriptors are left for what the bridge is there for."""

MAX_VIEWERS = 20
"""Viewers of the page at once, and also readers of the picture, of which each has one of its own."""

_TAKES = 20.0
"""Seconds that a client may take for a chunk, or to acknowledge it, before it is given up."""

_TAKES_ALL = 120.0
"""Seconds that a client may take for a whole picture, which is kept for it meanwhile."""

_SILENCE = 20.0
"""Seconds in which a connection that is new, or was answered, has to ask before it makes room for others."""

_CHUNK = 32 * 1024
"""Bytes that are written at once: what one slow client can make the bridge hold, beside what all of them share."""


class Source(Told, Protocol):
    """What the server asks of the running bridge."""

    def health(self) -> Health:
        """Health alone, which costs less."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Metrics in one of Prometheus' formats, by the request's Accept header, and their content type."""

    def page_failed(self, error: BaseException) -> None:
        """A request could not be answered for a bug."""


class Server:
    """Listens from `start` until `stop`."""

    def __init__(self, settings: Http, source: Source) -> None:
        self._settings = settings
        self._source = source
        self._page = page.document()
        self._complaints = logging.Logger("status page")  # noqa: LOG001  # aiohttp's alone, of this server alone
        self._complaints.addHandler(_Complaints(source))
        self._runner: web.AppRunner | None = None
        self._now = asyncio.get_running_loop().time
        self._feed = Feed(source, self._now)
        self._viewers: dict[int, web.Request] = {}  # by id: a request has no hash
        self._readers = 0
        self._silent: dict[int, asyncio.TimerHandle] = {}  # connections that have not asked yet, by id
        self._listening: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; returns why that cannot be, in words, or an empty text."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_add_headers)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/api/events", self._events),
                web.get("/api/picture", self._picture),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
            logger=self._complaints,
            keepalive_timeout=_SILENCE,
        )
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(self._accept, self._settings.host, self._settings.port)
        except (OSError, UnicodeError) as error:  # the latter from a name that no name can be
            await self.stop()
            return _trouble(error)
        return ""

    async def stop(self) -> None:
        """End every connection, viewers' at once, and listen no more."""
        self._feed.end()
        for expiry in self._silent.values():
            expiry.cancel()
        self._silent.clear()
        if self._listening is not None:
            self._listening.close()
        for viewer in self._viewers.values():
            _hang_up(viewer)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        """What serves a new connection, which is closed at once where there are too many."""
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Full()
        connection = server()
        # aiohttp's own timer leaves those alone that never ask
        expiry = asyncio.get_running_loop().call_later(_SILENCE, self._give_up, connection)
        self._silent[id(connection)] = expiry
        return connection

    def _give_up(self, connection: web.RequestHandler) -> None:
        del self._silent[id(connection)]
        connection.force_close()

    @property
    def is_listening(self) -> bool:
        """Whether it could listen, and was not stopped."""
        return self._runner is not None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if (expiry := self._silent.pop(id(request.protocol), None)) is not None:
            expiry.cancel()
        if not is_allowed_host(self._settings.host, request.headers.get("Host")):
            return web.Response(status=403, text=HOST_NOT_ALLOWED)
        return await handler(request)

    async def _index(self, _request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": self._page.policy}
        return web.Response(body=self._page.html, content_type="text/html", charset="utf-8", headers=headers)

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        if self._readers >= MAX_VIEWERS:
            words = f"{MAX_VIEWERS} others are reading the picture. Ask again.\n"
            return web.Response(status=503, text=words, headers={"Retry-After": "10"})
        self._readers += 1
        try:
            return await self._send_picture(request)
        finally:
            self._readers -= 1

    async def _send_picture(self, request: web.Request) -> web.StreamResponse:
        body = await self._write_picture()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        if request.method != "HEAD":
            await _send(request, response, body)
        return response

    async def _write_picture(self) -> bytes:
        while True:
            plan = self._source.plan
            stations = await write_slices(self._source.stations(), self._now)
            if plan is self._source.plan:  # else they ended early
                return snapshot_json(self._source.outline(), stations)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if is_cross_site(request.headers):
            return web.Response(status=403, text="A page of another site does not get at this bridge.\n")
        if len(self._viewers) >= MAX_VIEWERS:
            words = f"{MAX_VIEWERS} pages are open, which is as many as the bridge keeps live. Close one of them.\n"
            return web.Response(status=503, text=words, headers={"Retry-After": "10"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        async with self._viewing(request):
            _expect_life(request)
            await response.prepare(request)
            seen = None
            # what is written to a client that went raises, at the latest with the second frame
            while request.method != "HEAD" and (seen := await self._feed.next(seen)):
                if not await _send(request, response, seen.text):
                    break
        return response

    @asynccontextmanager
    async def _viewing(self, request: web.Request) -> AsyncIterator[None]:
        self._viewers[id(request)] = request
        try:
            yield
        finally:
            del self._viewers[id(request)]
            if not self._viewers:
                self._feed.forget()

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._source.metrics(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=body, headers={"content-type": content_type})

    async def _healthz(self, _request: web.Request) -> web.Response:
        health = self._source.health()
        answer = _verdict(health.healthy, health)
        answer.headers[CLIENT_ID_HEADER] = quote(self._source.plan.client_id)
        return answer

    async def _readyz(self, _request: web.Request) -> web.Response:
        health = self._source.health()
        return _verdict(health.ready, health)


class _Complaints(logging.Handler):
    """What aiohttp complains of: bugs are told, in the bridge's own log; what is no HTTP is nobody's concern."""

    def __init__(self, source: Source) -> None:
        super().__init__(logging.ERROR)
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it, where it is a bug."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, HttpProcessingError):
            self._source.page_failed(error)


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Closes it."""
        transport.close()


def _verdict(well: bool, health: Health) -> web.Response:  # noqa: FBT001  # private, and plain in both places
    return web.Response(status=200 if well else 503, text="\n".join(health.words or ("all is well",)) + "\n")


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER_NAME  # by default aiohttp discloses its version and Python's


async def _send(request: web.Request, response: web.StreamResponse, text: bytes) -> bool:
    """Write as fast as the client reads; gives one up that does not, and returns whether it read."""
    whole = memoryview(text)
    try:
        async with asyncio.timeout(_TAKES_ALL):
            for start in range(0, len(whole), _CHUNK):
                async with asyncio.timeout(_TAKES):
                    await response.write(whole[start : start + _CHUNK])
    except (ConnectionError, TimeoutError):
        _hang_up(request)
        return False
    return True


def _expect_life(request: web.Request) -> None:
    """A viewer whose machine went without a word is noticed by the kernel, where it can be asked to (Linux)."""
    connection = request.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(_TAKES * 1000))


def _hang_up(request: web.Request) -> None:
    if isinstance(request.transport, asyncio.WriteTransport):
        request.transport.abort()


def _trouble(error: OSError | UnicodeError) -> str:
    """Why it cannot listen."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return "no address is known by that name"
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case errno.EACCES:
            return "the user that runs the bridge may not listen on this port"
    return error.strerror or str(error)
