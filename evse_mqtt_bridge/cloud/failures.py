"""Foreign errors and status codes, translated once into a Failure with words for the log."""

import ssl
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from socket import gaierror

import aiohttp
import httpx

from evse_mqtt_bridge.core.model import Failure, Reason
from evse_mqtt_bridge.core.schedule import http_date, retry_after
from evse_mqtt_bridge.core.text import clean

__all__ = ["EXPECTED", "of_error", "of_status"]

EXPECTED = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError, TimeoutError)
"""What a request may raise that is the network's or the server's doing."""


_WORDS: tuple[tuple[tuple[type[BaseException], ...], Reason, str], ...] = (
    # The first row that fits any link of the chain of causes, from the outside in, wins.
    ((gaierror,), Reason.UNREACHABLE, "DNS: the name could not be resolved"),
    ((ConnectionRefusedError,), Reason.UNREACHABLE, "connection refused"),
    ((aiohttp.ClientPayloadError,), Reason.UNREACHABLE, "the connection ended in mid-answer"),
    (
        (ConnectionResetError, BrokenPipeError, aiohttp.ServerDisconnectedError),
        Reason.UNREACHABLE,
        "the server closed the connection without an answer",
    ),
    ((aiohttp.ClientResponseError,), Reason.INVALID_RESPONSE, "the answer is not valid HTTP"),
)


def of_error(error: Exception) -> Failure:
    """The Failure that an exception of EXPECTED stands for.

    The words are made here, from the class and from texts known to hold no header: some of these exceptions carry the
    whole request, token included, in their repr.
    """
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLError) and isinstance(cause, aiohttp.ClientError):
            continue  # it has the class of what it wraps, and not its attributes
        if isinstance(cause, ssl.SSLCertVerificationError):
            told = getattr(cause, "verify_message", "") or "it could not be verified"
            return Failure(Reason.UNREACHABLE, f"TLS: the certificate was refused: {clean(told)}")
        if isinstance(cause, ssl.SSLError):
            told = getattr(cause, "reason", "") or "handshake failed"  # OpenSSL's; Python's own have no such attribute
            return Failure(Reason.UNREACHABLE, f"TLS: {clean(told)}")
        for classes, reason, words in _WORDS:
            if isinstance(cause, classes):
                return Failure(reason, words)
    told = next((cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror), "")
    return Failure(Reason.UNREACHABLE, clean(told) or type(error).__name__)


def of_status(status: int, headers: httpx.Headers, now: datetime) -> Failure:
    """The Failure that an HTTP status other than 200 stands for; `now` is this machine's time, in UTC."""
    name = _status_name(status)
    match status:
        case 401 | 403:
            return Failure(Reason.UNAUTHORIZED, f"{name}: the token was rejected")
        case 404 | 410:
            return Failure(Reason.NOT_FOUND, f"{name}: no such station, or the path is not the API's")
        case 429:
            return Failure(Reason.RATE_LIMITED, name, _asked_wait(headers, now))
        case _ if 300 <= status < 400:  # noqa: PLR2004  # the classes of RFC 9110, section 15
            return Failure(Reason.INVALID_RESPONSE, f"{name}: redirects are not followed")
        case _ if status >= 500:  # noqa: PLR2004  # same
            return Failure(Reason.SERVER_ERROR, name, _asked_wait(headers, now))
    return Failure(Reason.INVALID_RESPONSE, f"{name}: not an answer to this request")


def _asked_wait(headers: httpx.Headers, now: datetime) -> float | None:
    """Retry-After in seconds, a date judged by the server's own clock where it tells it."""
    asked = headers.get("retry-after")
    if asked is None:
        return None
    return retry_after(asked, http_date(headers.get("date", "")) or now)


def _status_name(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it, the first cause last; aiohttp also keeps the OS's error in an attribute."""
    while error is not None:
        yield error
        wrapped = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)
        if isinstance(wrapped, BaseException):
            yield wrapped
        error = error.__cause__ or error.__context__
