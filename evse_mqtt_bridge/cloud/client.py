"""Asks the vendor's API for one station's status, within a deadline, a size and a number of connections.

httpx is the interface. Its transport is driven directly with requests that are made once per station: what
httpx.AsyncClient adds (cookies, redirects, authentication, header merging for each request) is not wanted here, and
costs more than the request.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud import errors as failures
from evse_mqtt_bridge.cloud.transport import Choice, chosen
from evse_mqtt_bridge.cloud.transport.limits import Whole
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason

__all__ = ["BODY_LIMIT", "CloudClient", "StationRequest", "validate"]

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer, decoded, beyond which it is not read further; a real one has some hundred per plug."""

_HEADERS = httpx.Headers(
    {
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"evse-mqtt-bridge/{__version__}",
    }
)
"""What each request has besides its token; it is copied, and never changed."""

_NOTHING = httpx.ByteStream(b"")


@dataclass(frozen=True, slots=True)
class StationRequest:
    """A station's request, made once; holds the token, so it has no content in its repr."""

    uuid: str
    request: httpx.Request = field(repr=False)


def validate(settings: Cloud) -> Choice:
    """What is to carry the requests by these settings, without asking anybody.

    Raises:
        ConfigError: `transport` or `ca_file` cannot be used.
    """
    return chosen(settings, BODY_LIMIT)


class CloudClient:
    """The API behind `settings.base_url`; an async context manager that owns its connections.

    Raises:
        ConfigError: on entering, where `validate` raises it.
    """

    def __init__(self, settings: Cloud, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._now = now
        self._transport: httpx.AsyncBaseTransport | None = None
        self.transport_name = ""
        """The library that carries the requests."""

    async def __aenter__(self) -> Self:
        choice = validate(self._settings)
        self.transport_name, self._transport = choice.name, choice.make()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; once is enough, and twice does no harm."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    def prepare(self, edge_device_id: str, uuid: str, token: str) -> StationRequest:
        """The status request of one station."""
        path = self._settings.status_path.format(edge_device_id=edge_device_id, uuid=uuid)
        headers = _HEADERS.copy()  # which shares all but the list, for thousands of stations
        headers["evsetoken"] = token
        url = self._settings.base_url + path
        # With a stream, httpx adds nothing of its own; `Host` is the transport's.
        return StationRequest(uuid, httpx.Request("GET", url, headers=headers, stream=_NOTHING))

    async def fetch(self, target: StationRequest) -> Outcome:
        """One poll; never raises for what the network or the server does."""
        if self._transport is None:
            raise RuntimeError("CloudClient is used outside of its context")
        try:
            response = await self._transport.handle_async_request(target.request)
        except TimeoutError:
            return Failure(Reason.UNREACHABLE, f"no complete answer within {self._settings.timeout:g} s")
        except failures.EXPECTED as error:
            return failures.of_error(error)
        if response.status_code != httpx.codes.OK:
            return failures.of_status(response.status_code, response.headers, self._now())
        body = _body(response)
        return parse(body, target.uuid) if isinstance(body, bytes) else body


def _body(response: httpx.Response) -> bytes | Failure:
    """The decoded body, or a Failure where it is too large or in an encoding that was not asked for."""
    stream = response.stream
    if not isinstance(stream, Whole):
        raise TypeError("the transports here yield bodies that are there already")
    body = stream.content
    encoding = response.headers.get("content-encoding", "identity").lower() if response.headers else "identity"
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
