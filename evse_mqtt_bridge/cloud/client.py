"""Asks the vendor's API for one station's status, within a deadline, a size and a number of connections.

httpx is the interface. Its transport is driven directly with requests that are made once per station: what
httpx.AsyncClient adds (cookies, redirects, authentication, header merging for each request) is not wanted here, and
costs more than the request.
"""

import asyncio
import ssl
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from yarl import URL

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud import failures
from evse_mqtt_bridge.cloud.transport import Prepared, Transport
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.core.model import Failure, Outcome, Reason
from evse_mqtt_bridge.errors import ConfigError, Problem

__all__ = ["BODY_LIMIT", "CloudClient", "Target", "tls_context"]

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer, decoded, beyond which it is not read further; a real one has some hundred per plug."""


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


def _check_host(base_url: str) -> None:
    """Let httpx and yarl read the address once; each refuses names that are none to IDNA, and not always the same."""
    try:
        URL(str(httpx.URL(base_url)), encoded=True).host  # noqa: B018  # it is decoded when it is asked for
    except (httpx.InvalidURL, ValueError):
        raise ConfigError(Problem("there can be no host of this name", key="cloud.base_url")) from None


class CloudClient:
    """The API behind `settings.base_url`; an async context manager that owns its connections.

    Raises:
        ConfigError: on entering, where `settings.ca_file` or the host of `settings.base_url` cannot be used.
    """

    def __init__(self, settings: Cloud, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        self._transport: httpx.AsyncBaseTransport | None = None

    async def __aenter__(self) -> Self:
        _check_host(self._settings.base_url)
        self._transport = Transport(
            tls_context(self._settings.ca_file),
            connections=self._settings.max_concurrency,
            body_limit=BODY_LIMIT,
            environment_proxy=self._settings.environment_proxy,
        )
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
        request = httpx.Request("GET", self._settings.base_url + path, headers=headers)
        request.extensions["prepared"] = Prepared.of(request)
        return Target(uuid, request)

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
        if response.status_code != httpx.codes.OK:
            return failures.of_status(response.status_code, response.headers, self._now())
        body = await _body(response)
        return parse(body, target.uuid) if isinstance(body, bytes) else body


async def _body(response: httpx.Response) -> bytes | Failure:
    """The decoded body, or a Failure where it is too large or in an encoding that was not asked for."""
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("an asynchronous transport yields asynchronous streams")
    body = b"".join([chunk async for chunk in stream])
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding in ("gzip", "deflate"):
        try:
            body = zlib.decompressobj(wbits=47 if encoding == "gzip" else 15).decompress(body, BODY_LIMIT + 1)
        except zlib.error:
            return Failure(Reason.INVALID_RESPONSE, f"the answer is not {encoding} as it says")
    elif encoding != "identity":
        return Failure(Reason.INVALID_RESPONSE, "a content encoding that was not asked for")
    if len(body) > BODY_LIMIT:
        return Failure(Reason.INVALID_RESPONSE, f"an answer larger than {BODY_LIMIT} bytes")
    return body
