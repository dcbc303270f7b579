"""The failure for each HTTP status other than 200, and the wait that the server requests."""

from datetime import UTC, datetime
from http import HTTPStatus

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.errors import of_status
from evse_mqtt_bridge.domain.model import Attribution, Failure, Reason

NOW = datetime(2024, 3, 25, 11, 12, 20, tzinfo=UTC)
HERE = "Mon, 25 Mar 2024 11:12:20 GMT"
THERE = "Mon, 25 Mar 2024 08:00:00 GMT"
"""The time of a server whose clock is hours slow."""


def _of(status: int, body: bytes = b"{}", **headers: str) -> Failure:
    fields = httpx.Headers({name.replace("_", "-"): text for name, text in headers.items()})
    return of_status(status, fields, body, NOW)


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (401, Reason.UNAUTHORIZED, "HTTP 401 Unauthorized: the token was rejected"),
        (403, Reason.UNAUTHORIZED, "HTTP 403 Forbidden: the token was rejected"),
        (404, Reason.NOT_FOUND, "HTTP 404 Not Found: no such station, or the path is not the API's"),
        (410, Reason.NOT_FOUND, "HTTP 410 Gone: no such station, or the path is not the API's"),
        (408, Reason.UNREACHABLE, "HTTP 408 Request Timeout"),
        (425, Reason.UNREACHABLE, "HTTP 425 Too Early"),
        (429, Reason.RATE_LIMITED, "HTTP 429 Too Many Requests"),
        (500, Reason.SERVER_ERROR, "HTTP 500 Internal Server Error"),
        (501, Reason.SERVER_ERROR, "HTTP 501 Not Implemented"),
        (502, Reason.SERVER_ERROR, "HTTP 502 Bad Gateway"),
        (503, Reason.SERVER_ERROR, "HTTP 503 Service Unavailable"),
        (599, Reason.SERVER_ERROR, "HTTP 599"),
        (999, Reason.SERVER_ERROR, "HTTP 999"),
        *(
            (status, Reason.INVALID_RESPONSE, f"HTTP {status} {HTTPStatus(status).phrase}: redirects are not followed")
            for status in (300, 301, 302, 303, 304, 307, 308)
        ),
        (399, Reason.INVALID_RESPONSE, "HTTP 399: redirects are not followed"),
        (101, Reason.INVALID_RESPONSE, "HTTP 101 Switching Protocols: not a response to this request"),
        (204, Reason.INVALID_RESPONSE, "HTTP 204 No Content: not a response to this request"),
        (206, Reason.INVALID_RESPONSE, "HTTP 206 Partial Content: not a response to this request"),
        (400, Reason.INVALID_RESPONSE, "HTTP 400 Bad Request: not a response to this request"),
        (407, Reason.INVALID_RESPONSE, "HTTP 407 Proxy Authentication Required: not a response to this request"),
        (499, Reason.INVALID_RESPONSE, "HTTP 499: not a response to this request"),
        (0, Reason.INVALID_RESPONSE, "HTTP 0: not a response to this request"),
    ],
)
def test_status_has_a_reason(status: int, reason: Reason, text: str) -> None:
    failure = _of(status)
    assert (failure.reason, failure.detail) == (reason, text)


@pytest.mark.parametrize(
    ("status", "body", "reason", "is_from_api"),
    [
        (401, b'{"message": "no"}', Reason.UNAUTHORIZED, True),
        (401, b' \n["no"]', Reason.UNAUTHORIZED, True),
        (401, b"", Reason.UNAUTHORIZED, False),
        (401, b"no", Reason.UNAUTHORIZED, False),
        (403, b"<html>Forbidden</html>", Reason.SERVER_ERROR, False),
        (401, b"\xef\xbb\xbf <!doctype html>", Reason.SERVER_ERROR, False),
        (404, b"<pre>Cannot GET /</pre>", Reason.NOT_FOUND, False),
        (410, b"{}", Reason.NOT_FOUND, True),
    ],
)
def test_rejection_depends_on_the_content(status: int, body: bytes, reason: Reason, is_from_api: bool) -> None:
    failure = _of(status, body)
    assert (failure.reason, failure.is_from_api) == (reason, is_from_api)
    assert failure.attribution is Attribution.UNDECIDED
    assert failure.is_probed


@pytest.mark.parametrize(
    ("status", "is_rejection"), [(204, True), (302, True), (407, True), (408, False), (503, False)]
)
def test_only_rejections_are_attributed(status: int, is_rejection: bool) -> None:
    failure = _of(status)
    assert (failure.attribution is not None) is is_rejection
    assert not failure.is_probed


def test_status_418_is_an_invalid_response() -> None:
    """Its name differs between versions of Python."""
    teapot = _of(418)
    assert teapot.reason is Reason.INVALID_RESPONSE
    assert teapot.detail.startswith("HTTP 418 ")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("7", None, 7),
        ("7", THERE, 7),
        ("0", None, 1),
        ("-30", None, 1),
        ("0.5", None, 1),
        ("2.5", None, 2.5),
        ("3600", None, 3600),
        ("86400", None, 3600),
        ("9" * 400, None, 3600),
        ("inf", None, 3600),
        ("-inf", None, 1),
        ("nan", None, None),
        ("soon", None, None),
        ("", None, None),
        ("7 s", None, None),
        ("7, 9", None, None),
        ("Mon, 25 Mar 2024 11:12:50 GMT", None, 30),
        ("Mon, 25 Mar 2024 11:12:50 GMT", HERE, 30),
        ("Monday, 25-Mar-24 11:12:50 GMT", None, 30),
        ("Mon Mar 25 11:12:50 2024", None, 30),
        ("Mon, 25 Mar 2024 12:12:50 +0100", None, 30),
        # by the server's own clock, wherever it stands
        ("Mon, 25 Mar 2024 08:00:30 GMT", THERE, 30),
        ("Mon, 25 Mar 2024 08:00:30 GMT", None, 1),
        ("Mon, 25 Mar 2024 07:59:00 GMT", THERE, 1),
        ("Mon, 25 Mar 2024 11:12:50 GMT", THERE, 3600),
        ("Mon, 25 Mar 2024 11:12:50 GMT", "at tea time", 30),
        ("Mon, 25 Mar 2024 11:12:50 GMT", "", 30),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None, 3600),
        ("Mon, 99 Mar 2024 11:12:50 GMT", None, None),
        ("Mon, 25 Mar 2024 11:12:50 +9999999", None, None),
    ],
)
def test_retry_after_is_read_from_the_headers(status: int, value: str, date: str | None, seconds: float | None) -> None:
    headers = {"retry_after": value} if date is None else {"retry_after": value, "date": date}
    assert _of(status, b"", **headers).retry_after == seconds


@pytest.mark.parametrize("status", [204, 302, 401, 404, 418])
def test_retry_after_of_other_statuses_is_ignored(status: int) -> None:
    assert _of(status, retry_after="7").retry_after is None


_texts = st.text(st.characters(codec="latin-1"), max_size=40) | st.sampled_from([HERE, "7", "-1e400", "1_0"])


@given(st.integers(-1, 1000), _texts, _texts)
def test_wait_is_within_bounds_for_any_headers(status: int, value: str, date: str) -> None:
    headers = httpx.Headers([(b"retry-after", value.encode("latin-1")), (b"date", date.encode("latin-1"))])
    failure = of_status(status, headers, b"", NOW)
    assert failure.detail.startswith(f"HTTP {status}")
    assert failure.retry_after is None or 1 <= failure.retry_after <= 3600
