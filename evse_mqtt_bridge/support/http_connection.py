"""Connections of an aiohttp server that never discloses aiohttp and its version, not even to malformed requests."""

import asyncio
from collections.abc import Mapping
from logging import Logger

from aiohttp import web

__all__ = ["Connection"]


class Connection(web.RequestHandler):
    """A connection of `server`, whose error responses have these headers. There is no access log.

    aiohttp responds to malformed requests by itself: such a response passes neither a middleware nor a signal.

    Args:
        server: The server; `AppRunner.server` after `setup`.
        headers: Headers of error responses; a `Server` header replaces aiohttp's.
        logger: Receives the errors of handlers.
        keepalive_timeout: Seconds after which a connection without a request is closed.
    """

    __slots__ = ("_error_headers",)

    def __init__(
        self, server: web.Server, headers: Mapping[str, str], logger: Logger, keepalive_timeout: float = 75.0
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            logger=logger,
            keepalive_timeout=keepalive_timeout,
            access_log=None,  # type: ignore[arg-type]  # aiohttp accepts it, and documents it for AppRunner
        )
        self._error_headers = headers

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the response to a malformed request, or to one whose handler failed."""
        response = super().handle_error(request, status, exc, message)
        response.headers.update(self._error_headers)
        return response
