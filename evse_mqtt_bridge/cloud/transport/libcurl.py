"""httpx's transport interface on libcurl, through pycurl: of all that was measured, what needs least.

As many handles as there may be connections serve all stations; what a station adds is its address and its header lines.
libcurl's own name resolution is kept out of it, since giving up a lookup can block: names are resolved here, and
libcurl is handed addresses.
"""

import asyncio
import os
import re
import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pycurl

from evse_mqtt_bridge.cloud.errors import CurlError
from evse_mqtt_bridge.cloud.transport.authorities import authorities
from evse_mqtt_bridge.cloud.transport.curl_loop import CurlLoop
from evse_mqtt_bridge.cloud.transport.limits import KEEPALIVE, Limits, answer
from evse_mqtt_bridge.cloud.transport.names import Names, is_address
from evse_mqtt_bridge.cloud.transport.proxy import Proxy, named_proxy

__all__ = ["Transport", "lacking"]

_OLDEST = 0x075400
"""libcurl 7.84, the oldest whose failures are known here."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?!\d)")
_INTERIM = frozenset(range(100, 200)) - {101}
"""Statuses that another answer follows; after 101, which nobody asked for, comes something else than HTTP."""

_PORTS = {"http": 80, "https": 443}

_SUPPRESS_CONNECT_HEADERS = 265
"""CURLOPT_SUPPRESS_CONNECT_HEADERS (libcurl 7.54), for which pycurl has no name: a proxy's answer is no server's."""

_Told = dict[tuple[str, int], Sequence[str]]
"""By host and port: the addresses that libcurl was told last. It keeps them for all handles together."""


def lacking() -> str:
    """What keeps this libcurl from being used, or nothing."""
    version, tls = pycurl.version_info()[2], pycurl.version_info()[5]
    if not hasattr(select, "epoll"):
        return "it is driven here by epoll, which this system does not have"
    if version < _OLDEST:
        return f"it is version {version >> 16}.{version >> 8 & 255}, and 7.84 is needed"
    if not str(tls).startswith("OpenSSL/"):
        return f"it was built with {tls or 'no TLS'}, and OpenSSL is needed"
    return ""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What libcurl needs of a request; it travels in the request's extensions. The lines hold the token."""

    url: str
    lines: list[str] = field(repr=False)
    host: str
    """The host to connect to, the proxy's where there is one; empty where it is an address."""
    port: int
    proxy: Proxy | None


class Transport(httpx.AsyncBaseTransport):
    """Follows no redirect, keeps no cookie, decodes nothing, and reads the body of a 200 alone."""

    def __init__(self, limits: Limits, *, ca_file: str, environment_proxy: bool) -> None:
        self._limits = limits
        self._environment_proxy = environment_proxy
        self._loop = asyncio.get_running_loop()
        self._names = Names(self._loop.time)
        self._trusted = _Trusted(ca_file)
        self._lines: dict[str, str] = {}
        self._told: _Told = {}
        self._places = asyncio.Semaphore(limits.connections)
        self._idle: list[_Exchange] = []
        self._busy: dict[pycurl.Curl, _Exchange] = {}
        self._curl = CurlLoop(self._finished, limits.connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request without a body.

        Raises:
            CurlError: libcurl could not do it; cloud/failures.py knows what its codes mean.
            OSError: the host has no address, or the environment names what is no proxy.
            TimeoutError: it took longer than it may.
        """
        prepared = request.extensions.get("prepared")
        if not isinstance(prepared, _Prepared):
            prepared = request.extensions["prepared"] = self._prepare(request)
        left = self._limits.seconds
        addresses = self._names.known(prepared.host) if prepared.host else ()
        if addresses is None or self._places.locked():
            began = self._loop.time()
            async with asyncio.timeout(left):
                addresses = await self._names.addresses(prepared.host) if prepared.host else ()
                await self._places.acquire()
            left -= self._loop.time() - began
        else:
            await self._places.acquire()  # which does not wait
        exchange = self._idle.pop() if self._idle else _Exchange(self._curl, self._limits, self._trusted, self._told)
        done = exchange.done = self._loop.create_future()
        try:
            exchange.begin(prepared, addresses, left)
            self._busy[exchange.curl] = exchange
            self._curl.add(exchange.curl)
            code, words = await done
            return exchange.response(code, words)
        finally:
            if self._busy.pop(exchange.curl, None) is not None:  # given up
                self._curl.remove(exchange.curl)
            self._idle.append(exchange)
            self._places.release()

    async def aclose(self) -> None:
        """Close every connection, and fail what is under way."""
        await self._names.aclose()
        for curl in list(self._busy):
            self._curl.remove(curl)
            self._finished(curl, pycurl.E_ABORTED_BY_CALLBACK, "the client was closed")
        self._curl.close()
        for exchange in self._idle:
            exchange.close()
        self._idle.clear()
        self._trusted.close()

    def _finished(self, curl: pycurl.Curl, code: int, words: str) -> None:
        done = self._busy.pop(curl).done
        if not done.done():
            done.set_result((code, words))

    def _prepare(self, request: httpx.Request) -> _Prepared:
        scheme, host = request.url.scheme, request.url.raw_host.decode("ascii")
        proxy = named_proxy(scheme, host) if self._environment_proxy else None
        to, port = (proxy.host, proxy.port) if proxy else (host, request.url.port or _PORTS[scheme])
        lines = [self._line(name, value) for name, value in request.headers.items() if name != "host"]
        return _Prepared(str(request.url), lines, "" if is_address(to) else to, port, proxy)

    def _line(self, name: str, value: str) -> str:
        """A header line; thousands of stations share those in which they do not differ."""
        line = f"{name}: {value}"
        return line if self._lines.setdefault(name, line) != line else self._lines[name]


class _Exchange:
    """A handle of libcurl's, and the answer that it is getting; it serves one request after the other."""

    def __init__(self, loop: CurlLoop, limits: Limits, trusted: "_Trusted", told: _Told) -> None:
        self.curl = pycurl.Curl()
        self.done: asyncio.Future[tuple[int, str]]
        self._limit = limits.body
        self._seconds = 0.0
        self._told = told
        self._proxy: Proxy | None = None
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._size = 0
        self._status = 0
        self._is_whole_head = False
        for option, value in _OPTIONS:
            self.curl.setopt(option, value)
        trusted.tell(self.curl)
        self.curl.setopt(pycurl.SOCKOPTFUNCTION, loop.fresh)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._on_body)

    def begin(self, prepared: _Prepared, addresses: Sequence[str], seconds: float) -> None:
        """Make the handle ready for a request, which may take so many seconds."""
        curl = self.curl
        curl.setopt(pycurl.URL, prepared.url)
        curl.setopt(pycurl.HTTPHEADER, prepared.lines)
        if seconds != self._seconds:
            curl.setopt(pycurl.TIMEOUT_MS, max(1, round(seconds * 1000)))
            self._seconds = seconds
        place = (prepared.host, prepared.port)
        if addresses and addresses != self._told.get(place):
            curl.setopt(pycurl.RESOLVE, [f"{prepared.host}:{prepared.port}:{','.join(addresses)}"])
            self._told[place] = addresses
        if prepared.proxy is not self._proxy and prepared.proxy != self._proxy:
            _use(curl, prepared.proxy)
            self._proxy = prepared.proxy
        self._head.clear()
        self._body.clear()
        self._size = self._status = 0
        self._is_whole_head = False

    def close(self) -> None:
        """Let go of the handle, which refers to this."""
        self.curl.close()
        del self.curl

    def response(self, code: int, words: str) -> httpx.Response:
        """What came, or why nothing did.

        Raises:
            CurlError: libcurl failed with this code and these words.
            TimeoutError: the time was up.
        """
        if self._is_whole_head:
            head = b"".join(self._head).lower()
            if b"\n:" in head:
                code, words = pycurl.E_WRITE_ERROR, "a header without a name"
            elif self._status != httpx.codes.OK:
                return answer(self._status, _fields(self._head), b"")
            elif code == 0 or self._size > self._limit:
                # Of the headers of a 200, only one is of interest to anybody.
                fields = _fields(self._head) if b"content-encoding" in head else ()
                return answer(self._status, fields, b"".join(self._body))
        elif code == 0:
            code = pycurl.E_GOT_NOTHING
        if code == pycurl.E_OPERATION_TIMEDOUT:
            raise TimeoutError
        raise CurlError(code, words, is_answering=self._is_whole_head, os_error=int(self.curl.getinfo(pycurl.OS_ERRNO)))

    # libcurl says

    def _on_header(self, line: bytes) -> int | None:
        head = self._head
        head.append(line)
        if line not in (b"\r\n", b"\n"):
            return None
        found = _STATUS_LINE.match(head[0])
        if not found:  # some that are none pass with libcurl
            return -1
        status = self._status = int(found[1])
        if status in _INTERIM:
            head.clear()
        else:
            self._is_whole_head = True
            if status != httpx.codes.OK:
                # Only the status counts: the body must not hold it up, or hide it behind the deadline.
                return -1
        return None

    def _on_body(self, data: bytes) -> int | None:
        self._body.append(data)
        self._size += len(data)
        return None if self._size <= self._limit else -1


_OPTIONS: tuple[tuple[int, object], ...] = (
    (pycurl.NOSIGNAL, 1),
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
    (pycurl.HTTP09_ALLOWED, 0),
    (pycurl.HTTP_CONTENT_DECODING, 0),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.PATH_AS_IS, 1),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.PROXY, ""),  # which is: none, whatever the environment says
    (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),
    (_SUPPRESS_CONNECT_HEADERS, 1),
    (pycurl.TCP_NODELAY, 1),
    (pycurl.MAXAGE_CONN, KEEPALIVE),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    (pycurl.SSL_VERIFYPEER, 1),
    (pycurl.SSL_VERIFYHOST, 2),
)


def _use(curl: pycurl.Curl, proxy: Proxy | None) -> None:
    lines = ["Proxy-Connection:"]  # which takes it out
    if proxy is not None and proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    curl.setopt(pycurl.PROXYHEADER, lines)
    curl.setopt(pycurl.PROXY, proxy.address if proxy else "")
    curl.setopt(pycurl.NOPROXY, "")  # what is excepted was looked up already


def _fields(head: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in head[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name.strip(), value.strip()))
    return fields


class _Trusted:
    """The CAs as libcurl takes them: as a file, which it parses once for all connections; this one is in memory."""

    def __init__(self, ca_file: str) -> None:
        self._pem = authorities(ca_file)
        self._file: Path | None = None
        self._fd = -1
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("authorities")
            with open(self._fd, "wb", closefd=False) as file:  # a descriptor has no path
                file.write(self._pem)
            self._file = Path(f"/proc/self/fd/{self._fd}")

    def tell(self, curl: pycurl.Curl) -> None:
        """Let a handle verify servers with them."""
        if not self._pem.strip():
            curl.unsetopt(pycurl.CAINFO)
        elif self._file is not None and self._file.exists():
            curl.setopt(pycurl.CAINFO, str(self._file))
        else:
            curl.setopt(pycurl.CAINFO_BLOB, self._pem)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._fd)
