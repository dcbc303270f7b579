"""Asks the vendor's API for one station's status, within a deadline, a size and a number of connections.

httpx is the interface; the httpx-aiohttp transport carries it, since httpx's own pool costs the square of its size. The
transport is driven directly with requests that are made once per station: what httpx.AsyncClient adds (cookies,
redirects, authentication, header merging for each request) is not wanted here, and costs more than the request.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud import failures
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.core.model import Failure, Outcome, Reason
from evse_mqtt_bridge.errors import ConfigError, Problem

__all__ = ["BODY_LIMIT", "CloudClient", "Target", "tls_context"]

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer, decoded, beyond which it is not read further; a real one has some hundred per plug."""

_KEEPALIVE = 90.0


@dataclass(frozen=True, slots=True)
class Target:
    """A station's request, made once; holds the token, so it has no content in its repr."""

    uuid: str
    request: httpx.Request = field(repr=False)


def tls_context(ca_file: str) -> ssl.SSLContext:
    """A context that verifies, with the system's CAs and those in `ca_file`, where one is given.

    Raises:
        ConfigError: the file cannot be read or is not PEM.
    """
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = "no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigError(Problem(f"{Path(ca_file)} cannot be used: {reason}", key="cloud.ca_file")) from None
    return context


class CloudClient:
    """The API behind `settings.base_url`; an async context manager that owns its connections.

    Raises:
        ConfigError: on entering, where `settings.ca_file` cannot be used.
    """

    def __init__(self, settings: Cloud, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        self._transport: AiohttpTransport | None = None

    async def __aenter__(self) -> Self:
        context = tls_context(self._settings.ca_file)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=context, limit=self._settings.max_concurrency, keepalive_timeout=_KEEPALIVE, ttl_dns_cache=60
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # a cookie of one station must not travel with another's token
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=self._settings.environment_proxy,
            read_bufsize=2**15,
        )
        self._transport = AiohttpTransport(verify=context, client=session, trust_env=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    def prepare(self, edge_device_id: str, uuid: str, token: str) -> Target:
        """The status request of one station."""
        path = self._settings.status_path.format(edge_device_id=edge_device_id, uuid=uuid)
        headers = {
            "evsetoken": token,
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"evse-mqtt-bridge/{__version__}",
        }
        return Target(uuid, httpx.Request("GET", self._settings.base_url + path, headers=headers))

    async def fetch(self, target: Target) -> Outcome:
        """One poll; never raises for what the network or the server does."""
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._fetch(target)
        except TimeoutError:
            return Failure(Reason.UNREACHABLE, f"no complete answer within {self._settings.timeout:g} s")
        except failures.EXPECTED as error:
            return failures.of_error(error)

    async def _fetch(self, target: Target) -> Outcome:
        if self._transport is None:
            raise RuntimeError("CloudClient is used outside of its context")
        response = await self._transport.handle_async_request(target.request)
        try:
            if response.status_code != httpx.codes.OK:
                return failures.of_status(response.status_code, response.headers, self._now())
            body = await _read(response)
        finally:
            await response.aclose()
        return parse(body, target.uuid) if isinstance(body, bytes) else body


async def _read(response: httpx.Response) -> bytes | Failure:
    """The decoded body, or a Failure where it is too large or in an encoding that was not asked for."""
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", "deflate"):
        return Failure(Reason.INVALID_RESPONSE, "a content encoding that was not asked for")
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise TypeError("the transport yields async streams")
    decoder = None if encoding == "identity" else zlib.decompressobj(wbits=47 if encoding == "gzip" else 15)
    body = bytearray()
    async for chunk in _bounded(response.stream):
        try:
            body += decoder.decompress(chunk, BODY_LIMIT + 1 - len(body)) if decoder else chunk
        except zlib.error:
            return Failure(Reason.INVALID_RESPONSE, f"the answer is not {encoding} as it says")
        if len(body) > BODY_LIMIT:
            return Failure(Reason.INVALID_RESPONSE, f"an answer larger than {BODY_LIMIT} bytes")
    return bytes(body)


async def _bounded(stream: httpx.AsyncByteStream) -> AsyncIterator[bytes]:
    """The chunks of a stream, up to the one that crosses BODY_LIMIT."""
    size = 0
    async for chunk in stream:
        yield chunk
        size += len(chunk)
        if size > BODY_LIMIT:
            return
