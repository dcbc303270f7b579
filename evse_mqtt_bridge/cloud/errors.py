"""Foreign errors and status codes, translated once into a Failure with words for the log."""

import errno
import os
import re
import ssl
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from socket import gaierror

import aiohttp
import httpx

from evse_mqtt_bridge.cloud.retry_after import http_date, retry_after
from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.support.text import clean

__all__ = ["EXPECTED", "CurlError", "of_error", "of_status"]


class CurlError(httpx.TransportError):
    """What libcurl said of a request: its code and its words, in which there is nothing of the request's headers.

    `is_answering` tells whether the head of an answer had come; `os_error` is the system's number for it, or 0.
    """

    def __init__(self, code: int, words: str, *, is_answering: bool = False, os_error: int = 0) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.is_answering = is_answering
        self.os_error = os_error


EXPECTED = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError, TimeoutError)
"""What a request may raise that is the network's or the server's doing."""


_DNS = "DNS: the name could not be resolved"
_REFUSED = "connection refused"
_CLOSED = "the server closed the connection without an answer"
_ENDED = "the connection ended in mid-answer"
_NO_HTTP = "the answer is not valid HTTP"
_NO_WAY = "the proxy did not let the connection through"

_WORDS: tuple[tuple[tuple[type[BaseException], ...], Reason, str], ...] = (
    # The first row that fits any link of the chain of causes, from the outside in, wins.
    ((gaierror,), Reason.UNREACHABLE, _DNS),
    ((ConnectionRefusedError,), Reason.UNREACHABLE, _REFUSED),
    ((aiohttp.ClientPayloadError,), Reason.UNREACHABLE, _ENDED),
    ((ConnectionResetError, BrokenPipeError, aiohttp.ServerDisconnectedError), Reason.UNREACHABLE, _CLOSED),
    ((aiohttp.ClientHttpProxyError,), Reason.UNREACHABLE, _NO_WAY),
    ((aiohttp.ClientResponseError,), Reason.INVALID_RESPONSE, _NO_HTTP),
)

_CONNECT = 7
_BROKEN = (35, 55, 56)  # in the handshake, in sending, in receiving
_ANY = re.compile("")
_CURL: tuple[tuple[tuple[int, ...], re.Pattern[str], Reason, str], ...] = (
    # libcurl's codes, as curl/curl.h numbers them, and where one stands for several things, what its words begin with.
    # The first row that fits wins; {} is what the words say in their group.
    ((1, 8, 23, 61, 100), _ANY, Reason.INVALID_RESPONSE, _NO_HTTP),
    ((5, 6), _ANY, Reason.UNREACHABLE, _DNS),
    ((18,), _ANY, Reason.UNREACHABLE, _ENDED),
    ((35,), re.compile(".*unexpected eof"), Reason.UNREACHABLE, _CLOSED),
    ((35,), re.compile(r".*error:\w+:[^:]*:[^:]*:(.+)"), Reason.UNREACHABLE, "TLS: {}"),
    ((35,), _ANY, Reason.UNREACHABLE, "TLS: handshake failed"),
    ((52,), _ANY, Reason.UNREACHABLE, _CLOSED),
    (
        (56,),
        re.compile("Too (?:large|many) response headers|.*[Cc]hunk"),
        Reason.INVALID_RESPONSE,
        _NO_HTTP,
    ),
    ((7, 56), re.compile("CONNECT|.*after CONNECT"), Reason.UNREACHABLE, _NO_WAY),
    (
        (60,),
        re.compile(r"SSL.*subject name.*IP.* address '([^']*)'", re.IGNORECASE),
        Reason.UNREACHABLE,
        "TLS: the certificate was refused: IP address mismatch, certificate is not valid for '{}'.",
    ),
    (
        (60,),
        re.compile(r"SSL.*subject name.*'([^']*)'"),
        Reason.UNREACHABLE,
        "TLS: the certificate was refused: Hostname mismatch, certificate is not valid for '{}'.",
    ),
    (
        (60,),
        re.compile(r"SSL certificate [^:]*: (.+?)(?: \(\d+\))?$"),
        Reason.UNREACHABLE,
        "TLS: the certificate was refused: {}",
    ),
    ((60,), _ANY, Reason.UNREACHABLE, "TLS: the certificate was refused: it could not be verified"),
    ((77,), _ANY, Reason.UNREACHABLE, "TLS: there is no CA to verify the server with"),
)


def of_error(error: Exception) -> Failure:
    """The Failure that an exception of EXPECTED stands for.

    The words are made here, from the class and from texts known to hold no header: some of these exceptions carry the
    whole request, token included, in their repr.
    """
    if isinstance(error, CurlError):
        return _of_curl(error)
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLError) and isinstance(cause, aiohttp.ClientError):
            continue  # it has the class of what it wraps, and not its attributes
        if isinstance(cause, ssl.SSLCertVerificationError):
            told = getattr(cause, "verify_message", "") or "it could not be verified"
            return Failure(Reason.UNREACHABLE, f"TLS: the certificate was refused: {clean(told)}")
        if isinstance(cause, ssl.SSLError):
            told = getattr(cause, "reason", "") or "handshake failed"  # OpenSSL's; Python's own have no such attribute
            return Failure(Reason.UNREACHABLE, f"TLS: {clean(told).replace('_', ' ').lower()}")
        for classes, reason, words in _WORDS:
            if isinstance(cause, classes):
                return Failure(reason, words)
    told = next((cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror), "")
    return Failure(Reason.UNREACHABLE, clean(told) or type(error).__name__)


def _of_curl(error: CurlError) -> Failure:
    # libcurl keeps the system's number of an address that it tried in vain, whatever fails after another one answered.
    if error.code == _CONNECT and error.os_error == errno.ECONNREFUSED:
        return Failure(Reason.UNREACHABLE, _REFUSED)
    if error.code in _BROKEN and error.os_error in (errno.ECONNRESET, errno.EPIPE):
        return Failure(Reason.UNREACHABLE, _ENDED if error.is_answering else _CLOSED)
    for codes, pattern, reason, words in _CURL:
        if error.code in codes and (found := pattern.match(error.words)):
            return Failure(reason, words.format(*map(clean, found.groups())))
    if error.os_error and error.code in (_CONNECT, *_BROKEN):
        return Failure(Reason.UNREACHABLE, os.strerror(error.os_error))
    if error.code in _BROKEN:  # and the system had no number for it
        return Failure(Reason.UNREACHABLE, _ENDED if error.is_answering else _CLOSED)
    return Failure(Reason.UNREACHABLE, f"{clean(error.words) or 'it failed'} (libcurl {error.code})")


def of_status(status: int, headers: httpx.Headers, now: datetime) -> Failure:  # noqa: PLR0911  # a row for each kind
    """The Failure that an HTTP status other than 200 stands for; `now` is this machine's time, in UTC."""
    name = _status_name(status)
    match status:
        case 401 | 403:
            return Failure(Reason.UNAUTHORIZED, f"{name}: the token was rejected")
        case 404 | 410:
            return Failure(Reason.NOT_FOUND, f"{name}: no such station, or the path is not the API's")
        case 408 | 425:  # by RFC 9110, section 15.5.9, and RFC 8470, section 5.2, the same may be asked again
            return Failure(Reason.UNREACHABLE, name)
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
