"""A request of httpx that takes little memory, because there are thousands of them."""

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from evse_mqtt_bridge.cloud.transport.curl_exchange import Endpoint

__all__ = ["NO_CONTENT", "TOKEN_HEADER", "CommonPart", "LightRequest"]

TOKEN_HEADER = "evsetoken"  # noqa: S105  # the name of a header

NO_CONTENT = httpx.ByteStream(b"")
"""The stream of a request without a body. Given a stream, httpx adds no headers of its own."""

_DEVICE, _STATION = "~edge-device-id~", "~uuid~"
"""Stand-ins for the ids. Like the ids, they contain nothing that a URL has to escape; the ids contain no `~`."""


class CommonPart:
    """What the requests of all stations have in common.

    Args:
        base_url: The URL of the API.
        status_path: The path with the placeholders `{edge_device_id}` and `{uuid}`.
        headers: The headers.

    Attributes:
        headers: See above.
        url: The URL as httpx normalizes it, with stand-ins for the ids.
        endpoint: The common part in the form that libcurl needs; `None` before its first use.
    """

    __slots__ = ("endpoint", "headers", "url")

    def __init__(self, base_url: str, status_path: str, headers: httpx.Headers) -> None:
        self.headers = headers
        self.url = str(httpx.URL(base_url + status_path.format(edge_device_id=_DEVICE, uuid=_STATION)))
        self.endpoint: Endpoint | None = None


class LightRequest(httpx.Request):
    """The status request of a station, whose URL and headers are built for each poll.

    Args:
        common: What it has in common with those of the other stations.
        edge_device_id: The device of the station.
        uuid: The station.
        token: The token of the station.

    Attributes:
        common: See above.
    """

    __slots__ = ("_edge_device_id", "_extensions", "_token", "_uuid", "common")

    method = "GET"
    stream = NO_CONTENT

    def __init__(self, common: CommonPart, edge_device_id: str, uuid: str, token: str) -> None:
        self.common = common
        self._edge_device_id = edge_device_id
        self._uuid = uuid
        self._token = token
        self._extensions: dict[str, Any] | None = None

    @property
    def address(self) -> str:
        """The URL as text."""
        return self.common.url.replace(_DEVICE, self._edge_device_id).replace(_STATION, self._uuid)

    @property
    def token_line(self) -> str:
        """The header line with the token."""
        return f"{TOKEN_HEADER}: {self._token}"

    @property
    def url(self) -> httpx.URL:  # type: ignore[override]  # an attribute of httpx.Request
        """The URL, which is parsed each time."""
        return httpx.URL(self.address)

    @property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # an attribute of httpx.Request
        """The headers, which are copied each time."""
        headers = self.common.headers.copy()
        headers[TOKEN_HEADER] = self._token
        return headers

    @property
    def extensions(self) -> dict[str, Any]:  # type: ignore[override]  # an attribute of httpx.Request
        """What a transport stores with the request."""
        if self._extensions is None:
            self._extensions = {}
        return self._extensions
