"""The client over real sockets: what it sends, and what it makes of each status."""

import pytest

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud.wire import parse
from evse_mqtt_bridge.domain.model import Reason
from tests.cloud.fetching import TOKEN, failure_of
from tests.cloud.loops import EXAMPLE as _EXAMPLE
from tests.cloud.loops import Loop, ask
from tests.harness import Answer, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE


def test_a_request_is_what_the_api_asks_for_and_nothing_more(run: Loop, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert run(ask(cloud.url)) == parse(_EXAMPLE, EXAMPLE_EVSE)
    [request] = cloud.requests
    assert (request.method, request.path) == ("GET", f"/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/status")
    assert request.headers == {
        "host": cloud.url.removeprefix("http://"),
        "evsetoken": TOKEN,
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"evse-mqtt-bridge/{__version__}",
    }


def test_the_path_is_a_setting(run: Loop, cloud: CloudServer) -> None:
    run(ask(f"{cloud.url}/api", status_path="/Status/{uuid}%20?of={edge_device_id}"))
    assert cloud.requests[0].path == f"/api/Status/{EXAMPLE_EVSE} "


@pytest.mark.parametrize(
    ("status", "headers", "reason", "retry_after", "words"),
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
        (204, {}, Reason.INVALID_RESPONSE, None, "HTTP 204 No Content: not an answer to this request"),
        (206, {}, Reason.INVALID_RESPONSE, None, "HTTP 206 Partial Content: not an answer to this request"),
        (400, {}, Reason.INVALID_RESPONSE, None, "HTTP 400 Bad Request: not an answer to this request"),
        (401, {"Retry-After": "7"}, Reason.UNAUTHORIZED, None, "HTTP 401"),
    ],
)
def test_each_status_has_its_reason(
    run: Loop,
    cloud: CloudServer,
    status: int,
    headers: dict[str, str],
    reason: Reason,
    retry_after: float | None,
    words: str,
) -> None:
    cloud.answer(EXAMPLE_EVSE, Answer(b"" if status == 204 else _EXAMPLE, status, headers))
    failure = failure_of(run(ask(cloud.url)))
    assert (failure.reason, failure.retry_after) == (reason, retry_after)
    assert failure.detail.startswith(words)


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
def test_a_retry_after_as_a_date_is_judged_by_the_servers_clock(
    run: Loop, cloud: CloudServer, retry_after: str, date: str, seconds: float
) -> None:
    cloud.answer(EXAMPLE_EVSE, Answer(b"", 503, {"Retry-After": retry_after, "Date": date}))
    assert failure_of(run(ask(cloud.url))).retry_after == seconds


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "here"])
def test_a_redirect_is_not_followed(run: Loop, cloud: CloudServer, status: int, where: str) -> None:
    with CloudServer() as elsewhere:
        elsewhere.answer(EXAMPLE_EVSE, status_example())
        run(ask(elsewhere.url))
        assert len(elsewhere.requests) == 1, "it would tell"
        location = f"{elsewhere.url if where == 'elsewhere' else cloud.url}/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/x"
        cloud.answer(EXAMPLE_EVSE, Answer(b"", status, {"Location": location}))
        failure = failure_of(run(ask(cloud.url)))
        assert failure.reason is Reason.INVALID_RESPONSE
        assert "redirects are not followed" in failure.detail
        assert (len(cloud.requests), len(elsewhere.requests)) == (1, 1)
