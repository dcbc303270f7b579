"""The HTTP server of a running bridge: starts and stops listening, and checks the Host header of every request."""

import asyncio
import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from evse_mqtt_bridge.config.schema import Http
from evse_mqtt_bridge.support.listening import listen_error
from evse_mqtt_bridge.web.connections import ConnectionLimiter
from evse_mqtt_bridge.web.handlers import Handlers
from evse_mqtt_bridge.web.headers import DEFAULT_HEADERS, SERVER_NAME
from evse_mqtt_bridge.web.limits import ConnectionLimits
from evse_mqtt_bridge.web.security import HOST_NOT_ALLOWED, is_allowed_host
from evse_mqtt_bridge.web.source import StatusSource

__all__ = ["Server"]


class Server:
    """Serves the status page, its API, metrics and health from `start` until `stop`."""

    def __init__(self, settings: Http, source: StatusSource, limits: ConnectionLimits | None = None) -> None:
        self._limits = limits or ConnectionLimits()
        self.handlers = Handlers(source, asyncio.get_running_loop().time, self._limits.streams)
        self._settings = settings
        self._logger = logging.Logger("status page")  # noqa: LOG001  # private to this server
        self._logger.addHandler(_ErrorReporter(source))
        self._runner: web.AppRunner | None = None
        self._limiter: ConnectionLimiter | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> str:
        """Start listening; return an empty text, or why the server cannot listen."""
        app = web.Application(middlewares=[self._check_host])
        app.on_response_prepare.append(_add_headers)
        app.add_routes(self.handlers.routes())
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101  # set by setup()
        self._limiter = ConnectionLimiter(self._runner.server, self._limits.connections, self._logger)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._limiter.accept, self._settings.host, self._settings.port, backlog=self._limits.backlog
            )
        except (OSError, UnicodeError) as error:  # UnicodeError: the host is not a valid name
            await self.stop()
            return listen_error(error)
        return ""

    async def stop(self) -> None:
        """Stop listening and close all connections, open event streams at once."""
        self.handlers.close()
        if self._limiter is not None:
            self._limiter.close()
        if self._listener is not None:
            self._listener.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def is_listening(self) -> bool:
        """Whether `start` succeeded and `stop` has not been called since."""
        return self._runner is not None

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert self._limiter is not None  # noqa: S101  # set by start()
        with self._limiter.handling(request):
            if not is_allowed_host(self._settings.host, request.headers.get("Host")):
                return web.Response(status=403, text=HOST_NOT_ALLOWED)
            return await handler(request)


class _ErrorReporter(logging.Handler):
    """Reports exceptions that aiohttp logs to the bridge; ignores malformed requests, which are the client's errors."""

    def __init__(self, source: StatusSource) -> None:
        super().__init__(logging.ERROR)
        self._source = source

    def emit(self, record: logging.LogRecord) -> None:
        """Report the exception of a log record, if there is one."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, HttpProcessingError):
            self._source.request_failed(error)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in DEFAULT_HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER_NAME  # aiohttp's default discloses its own version and that of Python
