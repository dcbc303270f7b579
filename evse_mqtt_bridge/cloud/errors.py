"""Translates the errors of every transport, and HTTP statuses, into a Failure with a text for the log.

One table contains the rules for libcurl's codes and for the exceptions of Python and httpx, so that the same problem
has the same reason and text with both transports. A text consists of the text of the rule and of messages that never
contain a header, because some exceptions contain the complete request, including the token.
"""

import errno
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from socket import gaierror

import httpx

from evse_mqtt_bridge.cloud.content import is_json, is_page
from evse_mqtt_bridge.cloud.retry_after import http_date, retry_after
from evse_mqtt_bridge.domain.model import Attribution, Failure, Reason
from evse_mqtt_bridge.support.text import clean
from evse_mqtt_bridge.support.tls import LONGEST_ERROR, explain_rejection

__all__ = ["EXPECTED", "CurlError", "causes", "of_error", "of_status"]


class CurlError(httpx.TransportError):
    """libcurl could not complete a request.

    Attributes:
        code: libcurl's error code (curl/curl.h).
        text: libcurl's message, which contains no header of the request.
        is_answering: Whether the head of a response had arrived.
        os_error: errno of the failed system call; 0: none. It may belong to an address that libcurl tried before
            another one accepted the connection.
    """

    def __init__(self, code: int, text: str, *, is_answering: bool = False, os_error: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.is_answering = is_answering
        self.os_error = os_error


EXPECTED = (httpx.HTTPError, httpx.StreamError, OSError)
"""The exceptions of a request that the network or the server causes; OSError includes TimeoutError and TLS errors."""

_CLOSED = "the server closed the connection without a response"
_CUT_OFF = "the connection ended in mid-response"
_CLOSED_OR_CUT_OFF = ""
"""Replaced by one of the two texts above, depending on whether the head of a response had arrived."""

_NO_HTTP = "the response is not valid HTTP"
_REFUSED_CERTIFICATE = "TLS: the certificate was rejected: "


@dataclass(frozen=True, slots=True)
class _Rule:
    """The Failure for some codes of libcurl and classes of exceptions.

    Attributes:
        kinds: Codes and classes, of which one must match.
        text: The text of the Failure; `{}` is replaced by the group of `pattern`.
        pattern: Must match the start of the error's own message; its group is cleaned before use.
        reason: The reason of the Failure.
    """

    kinds: tuple[int | type[BaseException], ...]
    text: str
    pattern: re.Pattern[str] = re.compile("")
    reason: Reason = Reason.UNREACHABLE


def _start(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_RULES: tuple[_Rule, ...] = (
    # The first rule that matches the error or any of its causes wins.
    # Names
    _Rule((5, 6, gaierror), "DNS: the name could not be resolved"),
    # Certificates: libcurl has three forms of messages, Python has one.
    _Rule(
        (60,),
        f"{_REFUSED_CERTIFICATE}IP address mismatch, certificate is not valid for '{{}}'.",
        _start(r"SSL.*subject name.*'([\d.]+|[\da-f.]*:[\da-f.:]*)'"),
    ),
    _Rule(
        (60,),
        f"{_REFUSED_CERTIFICATE}Hostname mismatch, certificate is not valid for '{{}}'.",
        _start(r"SSL.*subject name.*'([^']*)'"),
    ),
    _Rule((60,), f"{_REFUSED_CERTIFICATE}{{}}", _start(r"SSL certificate [^:]*: (.+?)(?: \(\d+\))?$")),
    _Rule((ssl.SSLCertVerificationError,), f"{_REFUSED_CERTIFICATE}{{}}", _start("(.+)")),
    _Rule((60, ssl.SSLCertVerificationError), f"{_REFUSED_CERTIFICATE}it could not be verified"),
    _Rule((77,), "TLS: there is no CA to verify the server with"),
    # The proxy
    _Rule((7, 56), "the proxy rejected the connection", re.compile("CONNECT|.*after CONNECT")),
    _Rule((httpx.ProxyError,), "the proxy rejected the connection"),
    # Responses that are not HTTP
    _Rule((1, 8, 23, 61, 100), _NO_HTTP, reason=Reason.INVALID_RESPONSE),
    # h11 accepts such a size, and then lacks the rest of the chunk.
    _Rule((56,), _CUT_OFF, _start("invalid chunk size")),
    _Rule((56,), _NO_HTTP, _start("Too (?:large|many) response headers|.*chunk"), Reason.INVALID_RESPONSE),
    _Rule((httpx.DecodingError,), "the response could not be decoded", reason=Reason.INVALID_RESPONSE),
    # Connections that end early
    _Rule((ConnectionResetError, BrokenPipeError, ssl.SSLEOFError), _CLOSED_OR_CUT_OFF),
    _Rule((18,), _CUT_OFF),
    _Rule((httpx.RemoteProtocolError,), _CUT_OFF, _start("peer closed connection")),
    _Rule((httpx.RemoteProtocolError,), _CLOSED, _start("server disconnected")),
    _Rule((httpx.RemoteProtocolError,), _NO_HTTP, reason=Reason.INVALID_RESPONSE),
    _Rule((35, ssl.SSLError), _CLOSED, _start(".*unexpected eof")),
    _Rule((52,), _CLOSED),
    # TLS
    _Rule((35,), "TLS: {}", _start(r".*error:\w+:[^:]*:[^:]*:(.+)")),
    _Rule((ssl.SSLError,), "TLS: {}", _start("(.+)")),
    _Rule((35, ssl.SSLError), "TLS: handshake failed"),
    # Time
    _Rule((httpx.PoolTimeout,), "no connection became free in time"),
    _Rule((httpx.ConnectTimeout,), "the connection could not be established in time"),
    _Rule((httpx.TimeoutException,), "no response in time"),
    # Everything else that the system or libcurl reports
    _Rule((ConnectionRefusedError,), "connection refused"),
    _Rule((OSError,), "{}", _start("(.+)")),
    _Rule((55, 56, httpx.NetworkError), _CLOSED_OR_CUT_OFF),
)

_CONNECT = 7
_BROKEN = (35, 55, 56)  # during the handshake, while sending, while receiving


def of_error(error: Exception, *, is_answering: bool = False, section: str = "cloud") -> Failure:
    """Return the Failure for an exception of EXPECTED.

    Args:
        error: The exception that the transport raised.
        is_answering: Whether the head of a response had arrived; ignored for a CurlError, which has this attribute.
        section: The table of the configuration that names the CA file of the connection.
    """
    is_answering = is_answering or (isinstance(error, CurlError) and error.is_answering)
    chain = list(causes(error))
    for rule in _RULES:
        for cause in chain:
            if _is_of_kind(cause, rule.kinds) and (match := rule.pattern.match(_message(cause))):
                text = rule.text.format(*(clean(group, LONGEST_ERROR) for group in match.groups()))
                if text.startswith(_REFUSED_CERTIFICATE):
                    text = explain_rejection(text, section)
                return Failure(rule.reason, text or (_CUT_OFF if is_answering else _CLOSED))
    if isinstance(error, CurlError):
        return Failure(Reason.UNREACHABLE, f"{clean(error.text) or 'the request failed'} (libcurl {error.code})")
    return Failure(Reason.UNREACHABLE, type(error).__name__)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the first cause last; for libcurl, that is the error of a system call."""
    while error is not None:
        yield error
        if isinstance(error, CurlError) and error.os_error and _is_current(error):
            yield OSError(error.os_error, os.strerror(error.os_error))
        error = error.__cause__ or error.__context__


def _is_current(error: CurlError) -> bool:
    """Return whether `os_error` belongs to this failure, and not to an address that was tried before."""
    return error.code == _CONNECT or (error.code in _BROKEN and error.os_error != errno.ECONNREFUSED)


def _is_of_kind(error: BaseException, kinds: tuple[int | type[BaseException], ...]) -> bool:
    if isinstance(error, CurlError) and error.code in kinds:
        return True
    return isinstance(error, tuple(kind for kind in kinds if isinstance(kind, type)))


def _message(error: BaseException) -> str:
    """Return the part of an error's message that rules may match and quote."""
    match error:
        case CurlError():
            return error.text
        case ssl.SSLCertVerificationError():  # Python's own instances lack the attributes of OpenSSL's
            return getattr(error, "verify_message", "") or ""
        case ssl.SSLError():
            return (getattr(error, "reason", "") or "").replace("_", " ").lower()
        case OSError():
            return error.strerror or ""
    return str(error)


def of_status(status: int, headers: httpx.Headers, body: bytes, now: datetime) -> Failure:
    """Return the Failure for an HTTP status other than 200.

    Args:
        status: The status.
        headers: The headers.
        body: The body, as far as it could be read.
        now: The time of this machine, in UTC.
    """
    name = _status_name(status)
    match status:
        case 401 | 403 | 404 | 410:
            return _of_rejection(status, name, body)
        case 408 | 425:  # the request may be repeated: RFC 9110, section 15.5.9, and RFC 8470, section 5.2
            return Failure(Reason.UNREACHABLE, name)
        case 429:
            return Failure(Reason.RATE_LIMITED, name, _requested_wait(headers, now))
        case _ if status >= 500:  # noqa: PLR2004  # the classes of RFC 9110, section 15
            return Failure(Reason.SERVER_ERROR, name, _requested_wait(headers, now))
    is_redirect = 300 <= status < 400  # noqa: PLR2004  # same
    detail = f"{name}: {'redirects are not followed' if is_redirect else 'not a response to this request'}"
    return Failure(Reason.INVALID_RESPONSE, detail, attribution=Attribution.UNDECIDED, is_from_api=False)


def _of_rejection(status: int, name: str, body: bytes) -> Failure:
    """Return the Failure for a status that rejects the request.

    A web page that forbids it is never about the token, because the API answers with JSON. A page that finds nothing
    may be about the station: it is what a server sends for a path that it does not know.
    """
    is_from_api = is_json(body)
    reason, detail = _REJECTIONS[status]
    if reason is Reason.UNAUTHORIZED and is_page(body):
        reason, detail = Reason.SERVER_ERROR, "a web page instead of the API's response"
    return Failure(
        reason, f"{name}: {detail}", attribution=Attribution.UNDECIDED, is_probed=True, is_from_api=is_from_api
    )


_TOKEN_REJECTED = (Reason.UNAUTHORIZED, "the token was rejected")
_STATION_UNKNOWN = (Reason.NOT_FOUND, "no such station, or the path is not the API's")
_REJECTIONS = {401: _TOKEN_REJECTED, 403: _TOKEN_REJECTED, 404: _STATION_UNKNOWN, 410: _STATION_UNKNOWN}


def _requested_wait(headers: httpx.Headers, now: datetime) -> float | None:
    """Return Retry-After in seconds; a date is relative to the server's clock if there is a Date header."""
    value = headers.get("retry-after")
    if value is None:
        return None
    return retry_after(value, http_date(headers.get("date", "")) or now)


def _status_name(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"
