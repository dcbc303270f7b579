"""The client's requests and its outcome for each status, with every kind of transport.

The two transports of the settings and httpx's own use a real server; httpx.MockTransport needs none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import httpx
import pytest

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.model import Outcome, Reason
from tests.cloud.clients import EXAMPLE, TOKEN, Clients, failure_of, is_example
from tests.cloud.mock_cloud import MockCloud
from tests.harness import Answer, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE


@dataclass(frozen=True, slots=True)
class _Api:
    """A cloud, and clients that reach it."""

    cloud: CloudServer | MockCloud
    clients: Clients

    async def poll(self, path: str = "", **changed: object) -> Outcome:
        return await self.clients.poll(self.cloud.url + path, **changed)


@pytest.fixture(params=["libcurl", "httpx", "AsyncHTTPTransport", "MockTransport"])
def api(request: pytest.FixtureRequest, _token_stays_secret: None) -> Iterator[_Api]:
    """The API, reached with each kind of transport."""
    match request.param:
        case "MockTransport":
            mock = MockCloud()
            yield _Api(mock, Clients("auto", lambda: httpx.MockTransport(mock.handle)))
            return
        case "libcurl" if find_spec("pycurl") is None:
            pytest.skip("pycurl is not installed")
        case "AsyncHTTPTransport":
            clients = Clients("auto", partial(httpx.AsyncHTTPTransport, trust_env=False))
        case name:
            clients = Clients(name)
    with CloudServer() as cloud:
        yield _Api(cloud, clients)


async def test_request_is_what_the_api_needs_and_no_more(api: _Api) -> None:
    api.cloud.answer(EXAMPLE_EVSE, status_example())
    assert await api.poll() == parse(EXAMPLE, EXAMPLE_EVSE)
    [request] = api.cloud.requests
    assert (request.method, request.path) == ("GET", f"/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/status")
    assert request.headers == {
        "host": api.cloud.url.removeprefix("http://"),
        "evsetoken": TOKEN,
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"evse-mqtt-bridge/{__version__}",
    }


async def test_path_is_taken_from_the_settings(api: _Api) -> None:
    await api.poll("/api", status_path="/Status/{uuid}%20?of={edge_device_id}")
    assert api.cloud.requests[0].path == f"/api/Status/{EXAMPLE_EVSE} "


async def test_client_polls_again_after_an_error(api: _Api) -> None:
    async with api.clients.client(api.cloud.url) as client:
        station = client.prepare("edge-1", EXAMPLE_EVSE, TOKEN)
        for _ in range(3):
            api.cloud.answer(EXAMPLE_EVSE, Answer(b"down for maintenance", 503))
            assert failure_of(await client.fetch(station)).reason is Reason.SERVER_ERROR
            api.cloud.answer(EXAMPLE_EVSE, status_example())
            assert is_example(await client.fetch(station))


async def test_client_names_its_transport(api: _Api) -> None:
    name = api.clients.transport if api.clients.create_transport is None else type(api.clients.create_transport())
    async with api.clients.client(api.cloud.url) as client:
        assert client.transport_name == getattr(name, "__name__", name)


@pytest.mark.parametrize(
    ("status", "headers", "reason", "retry_after", "text"),
    [
        (401, {}, Reason.UNAUTHORIZED, None, "HTTP 401 Unauthorized: the token was rejected"),
        (403, {}, Reason.UNAUTHORIZED, None, "HTTP 403 Forbidden: the token was rejected"),
        (404, {}, Reason.NOT_FOUND, None, "HTTP 404 Not Found: no such station"),
        (410, {}, Reason.NOT_FOUND, None, "HTTP 410 Gone: no such station"),
        (429, {}, Reason.RATE_LIMITED, None, "HTTP 429 Too Many Requests"),
        (429, {"Retry-After": "120"}, Reason.RATE_LIMITED, 120, "HTTP 429 Too Many Requests"),
        (429, {"Retry-After": "-1"}, Reason.RATE_LIMITED, 1, "HTTP 429 Too Many Requests"),
        (429, {"Retry-After": "1e400"}, Reason.RATE_LIMITED, 3600, "HTTP 429 Too Many Requests"),
        (429, {"Retry-After": "soon"}, Reason.RATE_LIMITED, None, "HTTP 429 Too Many Requests"),
        (503, {"Retry-After": "7"}, Reason.SERVER_ERROR, 7, "HTTP 503 Service Unavailable"),
        (500, {}, Reason.SERVER_ERROR, None, "HTTP 500 Internal Server Error"),
        (502, {}, Reason.SERVER_ERROR, None, "HTTP 502 Bad Gateway"),
        (599, {}, Reason.SERVER_ERROR, None, "HTTP 599"),
        (204, {}, Reason.INVALID_RESPONSE, None, "HTTP 204 No Content: not a response to this request"),
        (206, {}, Reason.INVALID_RESPONSE, None, "HTTP 206 Partial Content: not a response to this request"),
        (400, {}, Reason.INVALID_RESPONSE, None, "HTTP 400 Bad Request: not a response to this request"),
        (401, {"Retry-After": "7"}, Reason.UNAUTHORIZED, None, "HTTP 401"),
    ],
)
async def test_status_other_than_200_is_a_failure(
    api: _Api, status: int, headers: dict[str, str], reason: Reason, retry_after: float | None, text: str
) -> None:
    api.cloud.answer(EXAMPLE_EVSE, Answer(b"" if status == 204 else EXAMPLE, status, headers))
    failure = failure_of(await api.poll())
    assert (failure.reason, failure.retry_after) == (reason, retry_after)
    assert failure.detail.startswith(text)


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("Mon, 25 Mar 2024 11:14:20 GMT", "Mon, 25 Mar 2024 11:12:20 GMT", 120),
        ("Mon, 25 Mar 2024 11:14:20 GMT", "Mon, 25 Mar 2024 11:20:00 GMT", 1),
        ("Mon Mar 25 11:14:20 2024", "Mon Mar 25 11:12:20 2024", 120),
        ("Fri, 31 Dec 2199 23:59:59 GMT", "no date", 3600),
        ("Fri, 31 Dec 2199 23:59:59 GMT", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", 3600),
    ],
)
async def test_retry_after_as_a_date_uses_the_servers_clock(
    api: _Api, retry_after: str, date: str, seconds: float
) -> None:
    api.cloud.answer(EXAMPLE_EVSE, Answer(b"", 503, {"Retry-After": retry_after, "Date": date}))
    assert failure_of(await api.poll()).retry_after == seconds


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "here"])
async def test_redirect_is_not_followed(api: _Api, status: int, where: str) -> None:
    with CloudServer() as elsewhere:
        elsewhere.answer(EXAMPLE_EVSE, status_example())
        url = elsewhere.url if where == "elsewhere" else api.cloud.url
        location = f"{url}/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/x"
        api.cloud.answer(EXAMPLE_EVSE, Answer(b"", status, {"Location": location}))
        failure = failure_of(await api.poll())
        assert failure.reason is Reason.INVALID_RESPONSE
        assert "redirects are not followed" in failure.detail
        assert (len(api.cloud.requests), len(elsewhere.requests)) == (1, 0)
