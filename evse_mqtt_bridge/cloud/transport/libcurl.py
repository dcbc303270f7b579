"""httpx's transport interface on libcurl, through pycurl: needs the least CPU time of all measured clients.

There is one handle per connection, and all stations share them; a station adds only its URL and its header lines.
libcurl does not resolve names, because cancelling its lookups can block: names.py resolves them, and libcurl receives
addresses.

A response with status 200 is returned once its body is complete, as a buffered body, which spares an iteration per
poll. Any other response is returned as soon as its head has arrived, and its body is a stream.
"""

import asyncio
import select
import time
from collections import deque
from collections.abc import AsyncIterator

import httpx
import pycurl

from evse_mqtt_bridge.cloud.light_request import LightRequest
from evse_mqtt_bridge.cloud.transport.curl_exchange import (
    Endpoint,
    Exchange,
    GivenAddresses,
    PreparedRequest,
    TrustedCertificates,
)
from evse_mqtt_bridge.cloud.transport.curl_loop import CurlLoop
from evse_mqtt_bridge.cloud.transport.names import Names
from evse_mqtt_bridge.cloud.transport.proxy import Proxy, named_proxy
from evse_mqtt_bridge.support.net import is_address

__all__ = ["LibcurlTransport", "why_unusable"]

_OLDEST_VERSION = 0x075400
"""libcurl 7.84, the oldest version whose error messages errors.py matches."""

_PORTS = {"http": 80, "https": 443}
_BODY_HEADERS = frozenset({"content-length", "transfer-encoding"})
_OWN_HEADERS = _BODY_HEADERS | {"host", "user-agent"}
"""The headers that libcurl adds itself."""


def why_unusable() -> str:
    """Return why the transport cannot use this libcurl; empty if it can."""
    version, tls = pycurl.version_info()[2], pycurl.version_info()[5]
    if not hasattr(select, "epoll"):
        return "the bridge drives it with epoll, which this system does not have"
    if version < _OLDEST_VERSION:
        return f"it is version {version >> 16}.{version >> 8 & 255}, and 7.84 is needed"
    if not str(tls).startswith("OpenSSL/"):
        return f"it was built with {tls or 'no TLS'}, and OpenSSL is needed"
    return ""


class LibcurlTransport(httpx.AsyncBaseTransport):
    """A transport that follows no redirect, keeps no cookie and decodes no body.

    Args:
        connections: Maximum number of open connections.
        ca_file: CA certificates (PEM) to trust in addition to the system's; empty: none.
        environment_proxy: Whether to use the proxy that the environment names.
    """

    def __init__(self, connections: int, *, ca_file: str, environment_proxy: bool) -> None:
        self._environment_proxy = environment_proxy
        loop = asyncio.get_running_loop()
        self._create_future = loop.create_future
        self._names = Names(time.monotonic)
        self._trusted = TrustedCertificates(ca_file)
        self._given_addresses: GivenAddresses = {}
        self._proxies: dict[tuple[str, str], Proxy | None] = {}
        self._unused = connections
        """Number of handles that may still be created."""
        self._idle: list[Exchange] = []
        self._waiters: deque[asyncio.Future[Exchange]] = deque()
        self._busy: dict[pycurl.Curl, Exchange] = {}
        self._curl = CurlLoop(self._on_finished, connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return its response when it is complete, or when the head of an error response has arrived.

        Raises:
            CurlError: libcurl could not complete the request.
            OSError: The host has no address, or the environment names a proxy that is not an HTTP proxy.
        """
        prepared = self._prepare_light(request) if isinstance(request, LightRequest) else await self._prepare(request)
        host = prepared[2].host
        addresses = self._names.known(host) if host else ()
        if addresses is None:
            addresses = await self._names.addresses(host)
        exchange = self._idle.pop() if self._idle else await self._next_exchange()
        done = exchange.done = self._create_future()
        is_streaming = False
        try:
            exchange.begin(prepared, addresses)
            self._busy[exchange.curl] = exchange
            self._curl.add(exchange.curl)
            await done
            if exchange.curl in self._busy:
                response = exchange.streamed_response(_ErrorBody(self, exchange))
                is_streaming = True
                return response
            return exchange.response()
        finally:
            if not is_streaming:
                self.release(exchange)

    async def finish(self, exchange: Exchange) -> bytes:
        """Return the body of an error response when it is complete.

        Raises:
            CurlError: The body is too large, or did not arrive completely.
        """
        if exchange.curl in self._busy:
            exchange.done = self._create_future()
            await exchange.done
        return exchange.error_body()

    def release(self, exchange: Exchange) -> None:
        """Free a handle for the next request; a transfer under way is aborted, and its connection closed."""
        if self._busy.pop(exchange.curl, None) is not None:
            self._curl.remove(exchange.curl)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(exchange)
                return
        self._idle.append(exchange)

    async def aclose(self) -> None:
        """Close every connection; requests under way fail."""
        await self._names.aclose()
        for curl in list(self._busy):
            self._curl.remove(curl)
            self._on_finished(curl, pycurl.E_ABORTED_BY_CALLBACK, "the client was closed")
        self._curl.close()
        for exchange in self._idle:
            exchange.close()
        self._idle.clear()
        self._trusted.close()

    def _on_finished(self, curl: pycurl.Curl, code: int, text: str) -> None:
        exchange = self._busy.pop(curl)
        exchange.code, exchange.text = code, text
        exchange.wake()

    async def _next_exchange(self) -> Exchange:
        """Return a free handle: create one, or wait for one if the maximum number of connections is reached."""
        if self._unused:
            exchange = Exchange(self._curl, self._trusted, self._given_addresses)
            self._unused -= 1
            return exchange
        waiter: asyncio.Future[Exchange] = self._create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it received a handle at the same moment
                self.release(waiter.result())
            raise

    def _prepare_light(self, request: LightRequest) -> PreparedRequest:
        endpoint = request.common.endpoint
        if endpoint is None:
            endpoint = request.common.endpoint = self._endpoint(request.url, request.common.headers)
        return request.address, (*endpoint.header_lines, request.token_line), endpoint, "", None

    async def _prepare(self, request: httpx.Request) -> PreparedRequest:
        endpoint = self._endpoint(request.url, request.headers)
        if _BODY_HEADERS.isdisjoint(request.headers):
            method = "" if request.method == "GET" else request.method
            return str(request.url), endpoint.header_lines, endpoint, method, None
        # Without a value, so that libcurl neither waits for a 100 Continue nor adds a type of its own.
        extra = ("Expect:",) if "content-type" in request.headers else ("Expect:", "Content-Type:")
        lines = (*endpoint.header_lines, *extra)
        return str(request.url), lines, endpoint, request.method, await request.aread()

    def _endpoint(self, url: httpx.URL, headers: httpx.Headers) -> Endpoint:
        host = url.raw_host.decode("ascii")
        proxy = self._proxy(url.scheme, host)
        peer, port = (proxy.host, proxy.port) if proxy else (host, url.port or _PORTS[url.scheme])
        lines = (f"{name}: {value}" for name, value in headers.items() if name not in _OWN_HEADERS)
        return Endpoint("" if is_address(peer) else peer, port, proxy, headers.get("user-agent", ""), tuple(lines))

    def _proxy(self, scheme: str, host: str) -> Proxy | None:
        """Return the proxy for a host, which is determined once: reading the environment takes longer than a poll."""
        if not self._environment_proxy:
            return None
        if (scheme, host) not in self._proxies:
            self._proxies[scheme, host] = named_proxy(scheme, host)
        return self._proxies[scheme, host]


class _ErrorBody(httpx.AsyncByteStream):
    """The body of an error response, which occupies its handle until it is closed."""

    def __init__(self, transport: LibcurlTransport, exchange: Exchange) -> None:
        self._transport = transport
        self._exchange: Exchange | None = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._exchange is not None:
            yield await self._transport.finish(self._exchange)

    async def aclose(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._transport.release(exchange)
