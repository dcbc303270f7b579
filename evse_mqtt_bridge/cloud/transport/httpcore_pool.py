"""httpx's transport interface on one pool of httpcore, which httpx itself uses too.

It is built on httpcore directly, because only there a connection can be given a stream of one's own. The stream notices
that what arrived before the end of a connection is not HTTP, where h11 reports a connection that was closed too early.
It also notices bytes after the end of a response, which h11 takes as the response to the next request.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpcore
import httpx

from evse_mqtt_bridge.cloud.transport.http_rules import (
    HEAD_LIMIT,
    is_start_of_response,
    is_valid_response,
    without_interim_responses,
)
from evse_mqtt_bridge.cloud.transport.limits import KEEPALIVE
from evse_mqtt_bridge.cloud.transport.proxy import Proxy
from evse_mqtt_bridge.cloud.transport.response_end import BLANK_LINE, ResponseEnd

__all__ = ["HttpcorePool"]

_NO_HTTP = "the response is not valid HTTP"

SocketOption = tuple[int, int, int]
"""Level, name and value."""


class HttpcorePool(httpx.AsyncBaseTransport):
    """A pool of connections, direct ones or through an HTTP proxy.

    Args:
        connections: Maximum number of open connections.
        tls: The context that verifies servers.
        proxy: The proxy; `None`: none.
        socket_options: Options of each socket.
    """

    def __init__(
        self, connections: int, tls: ssl.SSLContext, proxy: Proxy | None, socket_options: Iterable[SocketOption]
    ) -> None:
        settings: dict[str, Any] = {
            "ssl_context": tls,
            "max_connections": connections,
            "max_keepalive_connections": connections,
            "keepalive_expiry": KEEPALIVE,
            "network_backend": _Backend(),
            "socket_options": list(socket_options),
        }
        self._pool: httpcore.AsyncConnectionPool
        if proxy is None:
            self._pool = httpcore.AsyncConnectionPool(**settings)
        else:
            headers = [("Proxy-Authorization", proxy.authorization)] if proxy.authorization else None
            self._pool = httpcore.AsyncHTTPProxy(proxy.address, proxy_headers=headers, **settings)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return its response when the head has arrived.

        Raises:
            httpx.HTTPError: The request failed, or the response is not valid HTTP.
        """
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        sent = httpcore.Request(
            request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        with _translated_errors():
            response = await self._pool.handle_async_request(sent)
            if not is_valid_response(response.extensions["http_version"], response.status, response.headers):
                await response.aclose()
                raise httpcore.RemoteProtocolError(_NO_HTTP)
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated_errors():
            async for chunk in self._response.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        with _translated_errors():
            await self._response.aclose()


_ERRORS: dict[type[Exception], type[httpx.HTTPError]] = {
    getattr(httpcore, name): getattr(httpx, name)
    for name in (
        "ConnectTimeout",
        "ReadTimeout",
        "WriteTimeout",
        "PoolTimeout",
        "ConnectError",
        "ReadError",
        "WriteError",
        "ProxyError",
        "UnsupportedProtocol",
        "LocalProtocolError",
        "RemoteProtocolError",
    )
}
_EXPECTED = tuple(_ERRORS)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise httpx's exception of the same name for each exception of httpcore."""
    try:
        yield
    except _EXPECTED as error:
        raise _ERRORS[type(error)](str(error)) from error


class _Backend(httpcore.AsyncNetworkBackend):
    """Opens connections with streams that notice what is not HTTP."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as the interface wants it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """Keeps what arrives after a request until the head is complete, to explain the end of a connection.

    If more arrives than the response, the stream is readable, so that httpcore closes the connection instead of sending
    the next request on it.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._head: bytes | None = None
        self._end: ResponseEnd | None = None
        self._has_excess = False
        self._tls: ssl.SSLObject | None = stream.get_extra_info("ssl_object")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        data, failure = b"", None
        try:
            data = await self._stream.read(max_bytes, timeout)
        except httpcore.ReadError as error:
            failure = error
        if not data and self._head is not None and not is_start_of_response(self._head):
            raise httpcore.RemoteProtocolError(_NO_HTTP)  # without the reset as its context, which matters less
        if failure is not None:
            raise failure
        self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        """Follow the response through the bytes of one read."""
        if self._head is not None:
            head = without_interim_responses(self._head + data)
            if blank := BLANK_LINE.search(head):
                self._end, data = ResponseEnd(head[: blank.end()]), head[blank.end() :]
                self._head = None
            elif len(head) > HEAD_LIMIT:
                self._head, self._has_excess = None, True  # the end of the response is unknown
            else:
                self._head = head
        if self._end is not None:
            self._end.feed(data)
            self._has_excess |= self._end.has_excess

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        self._head, self._end = b"", None
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401  # as the interface wants it
        if info == "is_readable" and (self._has_excess or (self._tls is not None and _has_pending(self._tls))):
            return True
        return self._stream.get_extra_info(info)


def _has_pending(tls: ssl.SSLObject) -> bool:
    """Return whether the TLS layer of an idle connection has received data, or its end; the data is lost.

    The socket is not readable then: one read of it can bring several TLS records, and a read of the stream returns one.
    """
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True
