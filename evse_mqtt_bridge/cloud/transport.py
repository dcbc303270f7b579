"""httpx's transport interface on aiohttp, for requests that are made once and answers small enough to be read whole.

aiohttp carries it because httpx's own pool costs the square of its size, and because of all that was measured it is the
quickest that needs nothing compiled for rare machines (docs/performance.md). What the general httpx-aiohttp transport
does for every request, parsing the address and merging headers, is done here once for each station.
"""

import errno
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from functools import partial
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from evse_mqtt_bridge.loop import in_daemon_thread

__all__ = ["Prepared", "Transport"]

_KEEPALIVE = 90.0
"""Seconds; longer than the usual interval, so that a lone station does not shake hands for every poll."""

_DNS_CACHE = 60

_RECEIVE_BUFFER = 32 * 1024
"""Bytes that a connection may have waiting to be read: ample for an answer, and little enough that a server which
floods one connection does not keep the loop from all others."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What aiohttp needs of a request, in aiohttp's own types; it travels in the request's extensions.

    The headers hold the token, so they are not in its repr.
    """

    url: URL
    headers: CIMultiDict[str] = field(repr=False)

    @classmethod
    def of(cls, request: httpx.Request) -> "Prepared":
        """The prepared form of a request without a body."""
        return cls(URL(str(request.url), encoded=True), CIMultiDict(request.headers.items()))


class Transport(httpx.AsyncBaseTransport):
    """Follows no redirect, keeps no cookie, decodes nothing.

    It reads the body of a 200 alone, up to `body_limit` bytes and one chunk. An answer longer than that is returned as
    far as it was read, which is then more than `body_limit`.
    """

    def __init__(self, tls: ssl.SSLContext, *, connections: int, body_limit: int, environment_proxy: bool) -> None:
        self._body_limit = body_limit
        self._environment_proxy = environment_proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=tls,
                limit=connections,
                keepalive_timeout=_KEEPALIVE,
                ttl_dns_cache=_DNS_CACHE,
                resolver=_Resolver(),
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # a cookie of one station must not travel with another's token
            timeout=aiohttp.ClientTimeout(total=None),  # the caller's deadline is for all of it
            trust_env=False,  # it would also send what ~/.netrc holds for the host
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request that has `prepared` in its extensions.

        Raises:
            aiohttp.ClientError, OSError: as aiohttp raises them; cloud/failures.py knows what they mean.
        """
        prepared: Prepared = request.extensions["prepared"]
        proxy, proxy_headers = _named_proxy(prepared.url) if self._environment_proxy else (None, None)
        async with self._session.get(
            prepared.url, headers=prepared.headers, allow_redirects=False, proxy=proxy, proxy_headers=proxy_headers
        ) as response:
            # Of an error only the status counts: its body must not hold it up, or hide it behind the deadline.
            body = await self._read(response) if response.status == httpx.codes.OK else b""
            return httpx.Response(
                response.status, headers=response.raw_headers, stream=httpx.ByteStream(body), request=request
            )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunk = await response.content.readany()
        if response.content.at_eof():
            return chunk
        body = bytearray(chunk)
        while chunk and len(body) <= self._body_limit:
            chunk = await response.content.readany()
            body += chunk
        return bytes(body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


def _named_proxy(url: URL) -> tuple[URL | None, dict[str, str] | None]:
    """The proxy that the environment names for an address, and the headers that are for the proxy alone.

    Raises:
        OSError: what it names is not the address of an HTTP proxy.
    """
    named = getproxies().get(url.scheme)
    if not named or proxy_bypass(url.host or ""):
        return None, None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    if proxy.scheme != "http" or not proxy.host:
        words = "the environment names a proxy that is not http://host:port"
        raise OSError(errno.EINVAL, words)
    if proxy.user is None:
        return proxy, None
    credentials = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    # aiohttp makes a Proxy-Authorization of it, which goes to the proxy and no further.
    return proxy.with_user(None), {"Authorization": f"Basic {credentials}"}


class _Resolver(AbstractResolver):
    """The system's name resolution; one lookup at a time for each name, which is what aiohttp's cache sees to."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        try:
            found = await in_daemon_thread(look_up, "cloud-resolve")
        except UnicodeError:  # a label that is empty or too long
            raise socket.gaierror(socket.EAI_NONAME, "no host is called so") from None
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
                port=port,
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return made
