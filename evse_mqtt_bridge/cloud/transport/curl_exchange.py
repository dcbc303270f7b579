"""One transfer of libcurl: sets up a handle for a request, and collects the response."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pycurl

from evse_mqtt_bridge.cloud.errors import CurlError
from evse_mqtt_bridge.cloud.transport.authorities import authorities
from evse_mqtt_bridge.cloud.transport.buffered import LightResponse, buffered_response
from evse_mqtt_bridge.cloud.transport.curl_loop import CurlLoop
from evse_mqtt_bridge.cloud.transport.http_rules import STATUS_LINE, SWITCHING_PROTOCOLS, is_valid_head
from evse_mqtt_bridge.cloud.transport.limits import BODY_LIMIT, ERROR_BODY_LIMIT, KEEPALIVE
from evse_mqtt_bridge.cloud.transport.proxy import Proxy

if TYPE_CHECKING:
    from asyncio import Future

__all__ = ["Endpoint", "Exchange", "GivenAddresses", "PreparedRequest", "TrustedCertificates"]

_INTERIM = frozenset(range(100, 200))
"""Statuses that another response follows."""

_OK = 200
_LONGEST_EMPTY_LINE = 2

_SUPPRESS_CONNECT_HEADERS = 265
"""CURLOPT_SUPPRESS_CONNECT_HEADERS (libcurl 7.54), which pycurl does not name: hides the head of a proxy's response."""

GivenAddresses = dict[tuple[str, int], Sequence[str]]
"""The addresses that the bridge passed to libcurl last, by host and port. All handles share them."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and the headers that they have in common.

    Attributes:
        host: The name of the host to connect to, or of the proxy if there is one; empty: no name, but an address.
        port: The port to connect to.
        proxy: The proxy to use, if any.
        user_agent: The value of the header User-Agent; empty: no such header.
        header_lines: The other headers, one line each.
    """

    host: str
    port: int
    proxy: Proxy | None
    user_agent: str
    header_lines: tuple[str, ...] = field(repr=False)


PreparedRequest = tuple[str, tuple[str, ...], Endpoint, str, bytes | None]
"""A request in the form that libcurl needs, as a plain tuple because each poll creates one: the complete URL, one line
per header including the token, the endpoint, the HTTP method, and the body to send. An empty method is a GET without a
body, which is libcurl's default; `None` is no body."""


class TrustedCertificates:
    """The CA certificates as a file in memory, which libcurl parses once for all connections."""

    def __init__(self, ca_file: str) -> None:
        self._pem = authorities(ca_file)
        """The certificates; empty once they are in the file."""
        self._path = ""
        self._fd = -1
        if self._pem.strip() and hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("authorities")
            with open(self._fd, "wb", closefd=False) as file:  # a descriptor has no path
                file.write(self._pem)
            path = Path(f"/proc/self/fd/{self._fd}")
            if path.exists():
                self._path, self._pem = str(path), b""  # saves 0.2 MB

    def set_on(self, curl: pycurl.Curl) -> None:
        """Make a handle verify servers with these certificates."""
        if self._path:
            curl.setopt(pycurl.CAINFO, self._path)
        elif self._pem.strip():
            curl.setopt(pycurl.CAINFO_BLOB, self._pem)
        else:
            curl.unsetopt(pycurl.CAINFO)

    def close(self) -> None:
        """Close the file in memory."""
        if self._fd >= 0:
            os.close(self._fd)


class Exchange:
    """A libcurl handle, which handles one request after another, and the response to the current request.

    Attributes:
        curl: The handle.
        done: Completed when the transfer has ended, or when the head of an error response has arrived.
        code: libcurl's error code when the transfer has ended; 0: success.
        text: libcurl's error message.
    """

    def __init__(self, loop: CurlLoop, trusted: TrustedCertificates, given_addresses: GivenAddresses) -> None:
        self.curl = pycurl.Curl()
        self.done: Future[None]
        self.code = 0
        self.text = ""
        self._given_addresses = given_addresses
        self._endpoint: Endpoint | None = None
        self._proxy: Proxy | None = None
        self._method = ""
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._size = 0
        self._limit = BODY_LIMIT
        self._status = 0
        self._has_head = False
        self._is_valid = False
        self._is_plain_ok = False
        """Whether the head is valid, with status 200 and no content encoding."""
        self._last_plain_ok_head = b""
        for option, value in _OPTIONS:
            self.curl.setopt(option, value)
        trusted.set_on(self.curl)
        self.curl.setopt(pycurl.SOCKOPTFUNCTION, loop.on_new_socket)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._on_body)

    def begin(self, prepared: PreparedRequest, addresses: Sequence[str]) -> None:
        """Set up the handle for a request; `addresses` are those of `Endpoint.host`, if it is not empty."""
        curl, (url, header_lines, endpoint, method, body) = self.curl, prepared
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, header_lines)
        key = (endpoint.host, endpoint.port)
        if addresses and addresses != self._given_addresses.get(key):
            curl.setopt(pycurl.RESOLVE, [f"{endpoint.host}:{endpoint.port}:{','.join(addresses)}"])
            self._given_addresses[key] = addresses
        if endpoint is not self._endpoint:
            self._set_endpoint(endpoint)
        if method or self._method:
            _set_method(curl, method, body)
            self._method = method
        self._head.clear()
        self._body.clear()
        self._size = self._status = 0
        self._limit = BODY_LIMIT
        self._has_head = self._is_plain_ok = False

    def _set_endpoint(self, endpoint: Endpoint) -> None:
        """Set the options that the handle keeps from one request to the next."""
        self._endpoint = endpoint
        self.curl.setopt(pycurl.USERAGENT, endpoint.user_agent)
        if endpoint.proxy != self._proxy:
            _set_proxy(self.curl, endpoint.proxy)
            self._proxy = endpoint.proxy

    def wake(self) -> None:
        """Resume the task that is waiting for `done`."""
        if not self.done.done():
            self.done.set_result(None)

    def close(self) -> None:
        """Release the handle, whose callbacks refer to this object."""
        self.curl.close()
        del self.curl

    def response(self) -> httpx.Response:
        """Return the response of a transfer that has ended.

        Raises:
            CurlError: The transfer failed before there was a response.
        """
        if self._is_plain_ok and self.code == 0:
            return LightResponse(b"".join(self._body))
        code = self.code
        if self._has_head:
            self._check_head()
            if self._status != _OK or code == 0 or self._size > self._limit:
                return buffered_response(self._status, _fields(self._head), b"".join(self._body))
        elif code == 0:
            code = pycurl.E_GOT_NOTHING
        raise self._error(code, self.text)

    def streamed_response(self, body: httpx.AsyncByteStream) -> httpx.Response:
        """Return the error response whose head has arrived."""
        self._check_head()
        return httpx.Response(self._status, headers=_fields(self._head), stream=body)

    def error_body(self) -> bytes:
        """Return the body of an error response whose transfer has ended.

        Raises:
            CurlError: The body did not arrive completely.
        """
        if self.code:
            raise self._error(self.code, self.text)
        return b"".join(self._body)

    def _check_head(self) -> None:
        """Raise an error if the head is invalid although libcurl accepted it."""
        if not self._is_valid:
            raise self._error(pycurl.E_WRITE_ERROR, "the head of the response is invalid")

    def _error(self, code: int, text: str) -> CurlError:
        os_error = int(self.curl.getinfo(pycurl.OS_ERRNO))
        return CurlError(code, text, is_answering=self._has_head, os_error=os_error)

    # Callbacks of libcurl; the result -1 ends the transfer and closes its connection.

    def _on_header(self, line: bytes) -> int | None:
        self._head.append(line)
        if len(line) > _LONGEST_EMPTY_LINE or line not in (b"\r\n", b"\n"):
            return None
        head = b"".join(self._head)
        if head == self._last_plain_ok_head:  # usual, as only its Date changes, once per second
            self._status = _OK
            self._has_head = self._is_valid = self._is_plain_ok = True
            return None
        return self._on_other_head(head)

    def _on_other_head(self, head: bytes) -> int | None:
        match = STATUS_LINE.match(head)
        status = self._status = int(match[1]) if match else 0
        if match is None or status == SWITCHING_PROTOCOLS:
            return -1
        if status in _INTERIM:
            self._head.clear()
            return None
        lower = head.lower()
        self._has_head = True
        self._is_valid = is_valid_head(lower)
        if status != _OK:
            self._limit = ERROR_BODY_LIMIT
            self.wake()
        elif self._is_valid and b"content-encoding" not in lower:
            self._is_plain_ok = True
            self._last_plain_ok_head = head
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
    (pycurl.PROXY, ""),  # none, whatever the environment contains
    (pycurl.NOPROXY, ""),  # without a value, libcurl reads the environment for each request
    (pycurl.HEADEROPT, pycurl.HEADER_SEPARATE),
    (_SUPPRESS_CONNECT_HEADERS, 1),
    (pycurl.TCP_NODELAY, 1),
    (pycurl.MAXAGE_CONN, KEEPALIVE),
    (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
    (pycurl.SSL_VERIFYPEER, 1),
    (pycurl.SSL_VERIFYHOST, 2),
)


def _set_proxy(curl: pycurl.Curl, proxy: Proxy | None) -> None:
    """Set the proxy; `named_proxy` has already applied no_proxy."""
    lines = ["Proxy-Connection:"]  # without a value: libcurl does not send this header
    if proxy is not None and proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    curl.setopt(pycurl.PROXYHEADER, lines)
    curl.setopt(pycurl.PROXY, proxy.address if proxy else "")


def _set_method(curl: pycurl.Curl, method: str, body: bytes | None) -> None:
    """Set method and body of the next request; an empty method is a GET."""
    curl.setopt(pycurl.HTTPGET, 1)
    curl.unsetopt(pycurl.CUSTOMREQUEST)
    if body is not None:
        curl.setopt(pycurl.POSTFIELDS, body)
    if method:
        curl.setopt(pycurl.CUSTOMREQUEST, method)


def _fields(head: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a head; the first line is the status line."""
    fields = []
    for line in head[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name.strip(), value.strip()))
    return fields
