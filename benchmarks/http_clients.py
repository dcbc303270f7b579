"""HTTP clients to compare: the bridge's own, and alternatives.

Each is created with the server and a number of connections, and returns a function that requests one station and
waits for the complete response.
"""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from benchmarks.cloud import uuid_of
from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.support.tls import client_context

__all__ = ["CLIENTS", "Get", "Where"]

Get = Callable[[int], Awaitable[None]]
"""Requests the station with this number."""

_HEADERS = {"evsetoken": "token", "accept": "application/json", "accept-encoding": "identity", "user-agent": "bench"}


@dataclass(frozen=True, slots=True)
class Where:
    """The server to request, and the size of the benchmark.

    Attributes:
        cloud: URL of the cloud.
        ca: PEM file with its CA.
        stations: Number of stations.
        connections: Maximum number of open connections.
    """

    cloud: str
    ca: str
    stations: int
    connections: int

    def addresses(self) -> list[str]:
        """Return one URL per station."""
        return [f"{self.cloud}/edgedevices/edge/evses/{uuid_of(number)}/status" for number in range(self.stations)]

    def tls(self) -> ssl.SSLContext:
        """Return a context that verifies the cloud."""
        return client_context("cloud", self.ca)


async def bridge(where: Where, transport_name: str = "auto") -> Get:
    """Return the bridge's client, with requests that are built once."""
    named = {"base_url": where.cloud, "ca_file": where.ca, "max_concurrency": where.connections}
    settings = Cloud.model_validate({**named, "transport": transport_name})
    client = await CloudClient(settings).__aenter__()
    stations = [client.prepare("edge", uuid_of(number), "token") for number in range(where.stations)]

    async def get(number: int) -> None:
        body = await client.send(stations[number].request)
        if isinstance(body, Failure):
            raise RuntimeError(f"the cloud answered {body.detail}")  # noqa: TRY004  # no bug of the caller

    return get


async def aiohttp_session(where: Where) -> Get:
    """Return a client of aiohttp as in its documentation, with URLs and headers built once."""
    connector = aiohttp.TCPConnector(ssl=where.tls(), limit=where.connections)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
    urls, headers = [URL(address) for address in where.addresses()], CIMultiDict(_HEADERS)

    async def get(number: int) -> None:
        async with session.get(urls[number], headers=headers, allow_redirects=False) as response:
            await response.read()
            _check(response.status)

    return get


async def httpx_client(where: Where) -> Get:
    """Return a client of httpx as in its documentation, with its own pool."""
    limits = httpx.Limits(max_connections=where.connections, max_keepalive_connections=where.connections)
    client = httpx.AsyncClient(verify=where.tls(), limits=limits, trust_env=False, timeout=10)
    addresses = where.addresses()

    async def get(number: int) -> None:
        _check((await client.get(addresses[number], headers=_HEADERS)).status_code)

    return get


async def httpx_prepared(where: Where) -> Get:
    """Return the transport of httpx, driven directly, with requests that are built once."""
    limits = httpx.Limits(max_connections=where.connections, max_keepalive_connections=where.connections)
    transport = httpx.AsyncHTTPTransport(verify=where.tls(), limits=limits, trust_env=False)
    requests = [httpx.Request("GET", address, headers=_HEADERS) for address in where.addresses()]

    async def get(number: int) -> None:
        response = await transport.handle_async_request(requests[number])
        await response.aread()
        _check(response.status_code)

    return get


async def libcurl(where: Where) -> Get:
    """Return the multi interface of libcurl with pycurl's own event loop integration."""
    import pycurl  # noqa: PLC0415  # an optional extra

    multi, idle, addresses = pycurl.AsyncCurlMulti(), [], where.addresses()
    for _ in range(where.connections):
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.CAINFO, where.ca),
            (pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in _HEADERS.items()]),
            (pycurl.TIMEOUT, 10),
            (pycurl.NOSIGNAL, 1),
            (pycurl.WRITEFUNCTION, lambda _: None),
        ):
            curl.setopt(option, value)
        idle.append(curl)

    async def get(number: int) -> None:
        curl = idle.pop()
        curl.setopt(pycurl.URL, addresses[number])
        await multi.perform(curl)
        idle.append(curl)
        _check(curl.getinfo(pycurl.RESPONSE_CODE))

    return get


CLIENTS: dict[str, Callable[[Where], Awaitable[Get]]] = {
    "bridge": bridge,
    "bridge-libcurl": partial(bridge, transport_name="libcurl"),
    "bridge-httpx": partial(bridge, transport_name="httpx"),
    "aiohttp": aiohttp_session,
    "httpx": httpx_client,
    "httpx-prepared": httpx_prepared,
    "libcurl": libcurl,
}


def _check(status: int) -> None:
    if status != httpx.codes.OK:
        raise RuntimeError(f"the cloud answered {status}")
