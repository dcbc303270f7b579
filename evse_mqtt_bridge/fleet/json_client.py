"""Sends JSON requests to one endpoint of an engine, each within a limit of time and size."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from evse_mqtt_bridge.cloud.errors import EXPECTED, of_error

__all__ = ["Answer", "JsonClient", "NoAnswerError"]

_BODY_LIMIT = 4 * 1024**2
"""Maximum size of an answer, in bytes. A fleet of 64 shards and as many members needs less than 64 KiB."""

_CONNECTIONS = httpx.Limits(max_connections=4, max_keepalive_connections=4, keepalive_expiry=60)


class NoAnswerError(Exception):
    """An endpoint did not answer; the text is the reason, without the endpoint."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered.

    Attributes:
        status: The HTTP status.
        body: The body.
        headers: The headers, whose names ignore case.
    """

    status: int
    body: bytes
    headers: Mapping[str, str]

    def data(self) -> object:
        """Return the JSON value of the body; `None` if it is not JSON."""
        try:
            found: object = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found


class JsonClient:
    """An HTTP client that keeps connections open, and ignores proxies and redirects.

    Args:
        context: TLS settings for https URLs.
        limit: Maximum duration of a request, from connecting to the last byte, in seconds.
    """

    def __init__(self, context: ssl.SSLContext | None, limit: float) -> None:
        self._limit = limit
        # a bare context costs nothing, httpx's default one loads all CAs of the system
        self._client = httpx.AsyncClient(
            verify=context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=limit,
            limits=_CONNECTIONS,
            trust_env=False,
        )

    async def request(
        self, method: str, url: str, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer, whatever its status.

        Raises:
            NoAnswerError: There is none within the limit.
        """
        try:
            async with asyncio.timeout(self._limit):
                async with self._client.stream(method, url, json=body, headers=headers) as response:
                    return Answer(response.status_code, await _read(response), response.headers)
        except TimeoutError:
            raise NoAnswerError(f"no answer within {self._limit:.3g} s") from None
        except EXPECTED as error:
            raise NoAnswerError(of_error(error, section="fleet.tls").detail) from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def _read(response: httpx.Response) -> bytes:
    """Return the body.

    Raises:
        NoAnswerError: It exceeds the limit.
    """
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise NoAnswerError(f"the answer is larger than {_BODY_LIMIT // 1024**2} MiB")
    return bytes(body)
