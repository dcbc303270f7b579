"""A request of httpx that takes a third of the memory, because there are thousands of them."""

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from evse_mqtt_bridge.cloud.transport.curl_exchange import Prepared

__all__ = ["LightRequest"]

_NO_CONTENT = httpx.ByteStream(b"")


class LightRequest(httpx.Request):
    """A GET request whose URL and headers are built when a transport reads them.

    Args:
        url: The URL.
        headers: The headers that all stations have in common.
        token: The token of the station, for the header `evsetoken`.

    Attributes:
        prepared: The request in the form that libcurl needs; `None` before its first use.
    """

    __slots__ = ("_common_headers", "_extensions", "_token", "_url", "prepared")

    method = "GET"
    # Given a stream, httpx adds no headers of its own.
    stream = _NO_CONTENT

    def __init__(self, url: str, headers: httpx.Headers, token: str) -> None:
        self._url = url
        self._common_headers = headers
        self._token = token
        self._extensions: dict[str, Any] | None = None
        self.prepared: Prepared | None = None

    def use(self, prepared: "Prepared") -> None:
        """Keep the prepared form, and share its URL."""
        self.prepared = prepared
        self._url = prepared.url

    @property
    def url(self) -> httpx.URL:  # type: ignore[override]  # an attribute of httpx.Request
        """The URL, which is parsed each time."""
        return httpx.URL(self._url)

    @property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # an attribute of httpx.Request
        """The headers, which are copied each time."""
        headers = self._common_headers.copy()
        headers["evsetoken"] = self._token
        return headers

    @property
    def extensions(self) -> dict[str, Any]:  # type: ignore[override]  # an attribute of httpx.Request
        """What a transport stores with the request."""
        if self._extensions is None:
            self._extensions = {}
        return self._extensions
