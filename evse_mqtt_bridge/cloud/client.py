"""Sends requests to the vendor's API, each within a deadline and a body limit, over any httpx transport.

The transport is driven directly, without httpx.AsyncClient: the bridge needs no cookies, redirects, authentication or
merging of headers per request, and those take more time than the request itself. A station's request is built once.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud import errors
from evse_mqtt_bridge.cloud.body import decoded, read, read_error_body
from evse_mqtt_bridge.cloud.deadlines import Deadline, Deadlines
from evse_mqtt_bridge.cloud.light_request import NO_CONTENT, TOKEN_HEADER, CommonPart, LightRequest
from evse_mqtt_bridge.cloud.parser import ResponseParser
from evse_mqtt_bridge.cloud.transport import choose_transport
from evse_mqtt_bridge.cloud.transport.buffered import LightResponse
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reason

__all__ = ["CloudClient", "StationRequest"]

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class StationRequest:
    """The status request of one station, built once, and the parser of its responses.

    The request holds the token, so the repr omits it.
    """

    request: httpx.Request = field(repr=False)
    parser: ResponseParser


class CloudClient:
    """A client of the API at `settings.base_url`; an async context manager that owns its connections.

    Args:
        settings: The `[cloud]` section.
        transport: Sends the requests; by default the one that the settings select. The client closes it.
        now: Returns the current time in UTC.

    Raises:
        ConfigError: On entering, under the conditions of `choose_transport`.
    """

    def __init__(
        self,
        settings: Cloud,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._now = now
        self._transport = transport
        self._headers = httpx.Headers(
            {
                "host": httpx.URL(settings.base_url).netloc.decode("ascii"),
                "accept": "application/json",
                "accept-encoding": "identity",
                "user-agent": f"evse-mqtt-bridge/{__version__}",
            }
        )
        self._common = CommonPart(settings.base_url, settings.status_path, self._headers)
        self.transport_name = type(transport).__name__ if transport else ""
        """The library that sends the requests, or the class of the given transport."""

    async def __aenter__(self) -> Self:
        self._deadlines = Deadlines(self._settings.timeout)
        if self._transport is None:
            choice = choose_transport(self._settings)
            self.transport_name, self._transport = choice.name, choice.create()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; a second call does nothing."""
        transport, self._transport = self._transport, None
        if transport is not None:
            self._deadlines.close()
            await transport.aclose()

    def prepare(self, edge_device_id: str, uuid: str, token: str) -> StationRequest:
        """Return the status request of one station."""
        return StationRequest(LightRequest(self._common, edge_device_id, uuid, token), ResponseParser(uuid))

    def build_request(self, method: str, path: str, token: str, json: Any = None) -> httpx.Request:  # noqa: ANN401
        """Return a request with the token of a station.

        Args:
            method: The HTTP method.
            path: The path, which starts with a slash.
            token: The token of the station.
            json: The JSON body; `None`: no body.
        """
        url = self._settings.base_url + path
        headers = self._headers.copy()
        headers[TOKEN_HEADER] = token
        if json is not None:
            return httpx.Request(method, url, headers=headers, json=json)
        return httpx.Request(method, url, headers=headers, stream=NO_CONTENT)

    def fetch(self, station: StationRequest) -> Coroutine[Any, Any, Outcome]:
        """Poll one station, and return errors of the network or the server as a Failure instead of raising them."""
        return self._result(station.request, station.parser.parse)

    def send(self, request: httpx.Request) -> Coroutine[Any, Any, bytes | Failure]:
        """Return the body of the response; a Failure if there is none, or if its status is not 200."""
        return self._result(request, bytes)

    async def _result(self, request: httpx.Request, parse: Callable[[bytes], _Parsed]) -> _Parsed | Failure:
        if self._transport is None:
            raise RuntimeError("CloudClient is used outside of its context")
        response: httpx.Response | None = None
        body: bytes | Failure | None = None
        try:
            with Deadline(self._deadlines) as deadline:
                response = await self._transport.handle_async_request(request)
                if isinstance(response, LightResponse):
                    body = response.body
                elif response.status_code == httpx.codes.OK:
                    body = decoded(response, await read(response))
        except TimeoutError:
            return Failure(Reason.UNREACHABLE, f"no complete response within {self._settings.timeout:g} s")
        except errors.EXPECTED as error:
            return errors.of_error(error, is_answering=response is not None)
        if body is None:
            error_body = await read_error_body(response, deadline.end)
            return errors.of_status(response.status_code, response.headers, error_body, self._now())
        return body if isinstance(body, Failure) else parse(body)
