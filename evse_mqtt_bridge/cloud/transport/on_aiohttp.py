"""httpx's transport interface on aiohttp: needs nothing compiled that is rare, and costs more than libcurl.

What the general httpx-aiohttp transport does for every request, parsing the address and merging headers, is done here
once for each station.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from evse_mqtt_bridge.cloud.transport.limits import KEEPALIVE, RECEIVE_BUFFER, Limits, answer
from evse_mqtt_bridge.cloud.transport.names import KEPT, look_up, numeric
from evse_mqtt_bridge.cloud.transport.proxy import named_proxy

__all__ = ["Transport"]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What aiohttp needs of a request, in aiohttp's own types; it travels in the request's extensions.

    The headers hold the token, so they are not in its repr.
    """

    url: URL
    headers: CIMultiDict[str] = field(repr=False)

    @classmethod
    def of(cls, request: httpx.Request) -> "_Prepared":
        """The prepared form of a request without a body, made when it is first sent."""
        prepared = request.extensions.get("prepared")
        if not isinstance(prepared, cls):
            prepared = cls(URL(str(request.url), encoded=True), CIMultiDict(request.headers.items()))
            request.extensions["prepared"] = prepared
        return prepared


class Transport(httpx.AsyncBaseTransport):
    """Follows no redirect, keeps no cookie, decodes nothing, and reads the body of a 200 alone."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext, *, environment_proxy: bool) -> None:
        self._limits = limits
        self._environment_proxy = environment_proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls,
                limit=limits.connections,
                keepalive_timeout=KEEPALIVE,
                ttl_dns_cache=KEPT,
                resolver=_Resolver(),
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # a cookie of one station must not travel with another's token
            timeout=aiohttp.ClientTimeout(total=None),  # the deadline here is for all of it
            trust_env=False,  # it would also send what ~/.netrc holds for the host
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request without a body.

        Raises:
            aiohttp.ClientError, OSError: as aiohttp raises them; cloud/failures.py knows what they mean.
            TimeoutError: it took longer than it may.
        """
        prepared = _Prepared.of(request)
        proxy, proxy_headers = self._proxy(prepared.url) if self._environment_proxy else (None, None)
        async with (
            asyncio.timeout(self._limits.seconds),
            self._session.get(
                prepared.url, headers=prepared.headers, allow_redirects=False, proxy=proxy, proxy_headers=proxy_headers
            ) as response,
        ):
            # Of an error only the status counts: its body must not hold it up, or hide it behind the deadline.
            body = await self._read(response) if response.status == httpx.codes.OK else b""
            return answer(response.status, response.raw_headers, body)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunk = await response.content.readany()
        if response.content.at_eof():
            return chunk
        body = bytearray(chunk)
        while chunk and len(body) <= self._limits.body:
            chunk = await response.content.readany()
            body += chunk
        return bytes(body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    @staticmethod
    def _proxy(url: URL) -> tuple[URL | None, dict[str, str] | None]:
        proxy = named_proxy(url.scheme, url.host or "")
        if proxy is None:
            return None, None
        # aiohttp makes a Proxy-Authorization of it, which goes to the proxy and no further.
        return URL(proxy.address), {"Authorization": proxy.authorization} if proxy.authorization else None


class _Resolver(AbstractResolver):
    """The system's name resolution; one lookup at a time for each name, which is what aiohttp's cache sees to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=numeric(found),
                port=port,
                family=found[0],
                proto=found[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found in await look_up(host, port, family)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return made
