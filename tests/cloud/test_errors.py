"""Errors become words once, by their class: nothing of their own text is trusted, for some hold the whole request."""

import errno
import socket
import ssl
from collections.abc import Callable

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from evse_mqtt_bridge.cloud.errors import EXPECTED, CurlError, of_error
from evse_mqtt_bridge.domain.model import Failure, Reason

_TOKEN = "s3cr3t-t0ken"
_HEADERS = CIMultiDictProxy(CIMultiDict({"evsetoken": _TOKEN}))
_REQUEST = aiohttp.RequestInfo(URL("https://cloud.example"), "GET", _HEADERS, URL("https://cloud.example"))
_KEY = ConnectionKey("cloud.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)


def _because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _os_error(number: int) -> OSError:
    return OSError(number, errno.errorcode[number])


_ERRORS: list[tuple[Exception, Reason, str]] = [
    (aiohttp.ClientConnectorError(_KEY, ConnectionRefusedError()), Reason.UNREACHABLE, "connection refused"),
    (aiohttp.ClientConnectorError(_KEY, socket.gaierror()), Reason.UNREACHABLE, "DNS: the name could not be resolved"),
    (aiohttp.ClientConnectorError(_KEY, _os_error(errno.ENETUNREACH)), Reason.UNREACHABLE, "ENETUNREACH"),
    (aiohttp.ServerDisconnectedError(_TOKEN), Reason.UNREACHABLE, "the server closed the connection without an answer"),
    (aiohttp.ClientPayloadError(_TOKEN), Reason.UNREACHABLE, "the connection ended in mid-answer"),
    (
        aiohttp.ClientResponseError(_REQUEST, (), message=_TOKEN),
        Reason.INVALID_RESPONSE,
        "the answer is not valid HTTP",
    ),
    (ConnectionResetError(), Reason.UNREACHABLE, "the server closed the connection without an answer"),
    (_because(httpx.ReadError(_TOKEN), ConnectionResetError()), Reason.UNREACHABLE, "the server closed the connection"),
    (httpx.RemoteProtocolError(_TOKEN), Reason.UNREACHABLE, "RemoteProtocolError"),
    (aiohttp.ClientError(_TOKEN), Reason.UNREACHABLE, "ClientError"),
    (_os_error(errno.EMFILE), Reason.UNREACHABLE, "EMFILE"),
    (OSError(), Reason.UNREACHABLE, "OSError"),
    (ssl.SSLError(), Reason.UNREACHABLE, "TLS: handshake failed"),
    (ssl.SSLCertVerificationError(), Reason.UNREACHABLE, "TLS: the certificate was refused"),
    (ssl.SSLEOFError(), Reason.UNREACHABLE, "TLS: "),
    (
        aiohttp.ClientHttpProxyError(_REQUEST, (), status=407, message=_TOKEN),
        Reason.UNREACHABLE,
        "the proxy did not let the connection through",
    ),
]


@pytest.mark.parametrize(("error", "reason", "words"), _ERRORS, ids=[type(row[0]).__name__ for row in _ERRORS])
def test_each_error_has_its_reason_and_words_of_our_own(error: Exception, reason: Reason, words: str) -> None:
    assert isinstance(error, EXPECTED)
    failure = of_error(error)
    assert failure.reason is reason
    assert failure.detail.startswith(words)
    assert failure.detail.isprintable()
    assert failure.retry_after is None
    assert _TOKEN not in repr(failure)


_CLOSED = "the server closed the connection without an answer"
_ENDED = "the connection ended in mid-answer"
_NO_HTTP = "the answer is not valid HTTP"
_NO_WAY = "the proxy did not let the connection through"
_MISMATCH = "TLS: the certificate was refused: Hostname mismatch, certificate is not valid for 'cloud.example'."
_LOCAL = "TLS: the certificate was refused: unable to get local issuer certificate"


@pytest.mark.parametrize(
    ("code", "words", "reason", "told"),
    [
        (1, "Received HTTP/0.9 when not allowed", Reason.INVALID_RESPONSE, _NO_HTTP),
        (5, "Could not resolve proxy: p", Reason.UNREACHABLE, "DNS: the name could not be resolved"),
        (6, "Could not resolve host: h", Reason.UNREACHABLE, "DNS: the name could not be resolved"),
        (7, "CONNECT tunnel failed, response 407", Reason.UNREACHABLE, _NO_WAY),
        (8, "Invalid Content-Length: value", Reason.INVALID_RESPONSE, _NO_HTTP),
        (18, "end of response with 9450 bytes missing", Reason.UNREACHABLE, _ENDED),
        (23, "", Reason.INVALID_RESPONSE, _NO_HTTP),
        (35, "TLS connect error: error:0A00010B:SSL routines::wrong version number", Reason.UNREACHABLE,
         "TLS: wrong version number"),
        (35, "TLS connect error: error:0A000126:SSL routines::unexpected eof while reading", Reason.UNREACHABLE,
         _CLOSED),
        (35, "", Reason.UNREACHABLE, "TLS: handshake failed"),
        (52, "Empty reply from server", Reason.UNREACHABLE, _CLOSED),
        (55, "", Reason.UNREACHABLE, _CLOSED),
        (56, "OpenSSL SSL_read: SSL_ERROR_SYSCALL", Reason.UNREACHABLE, _CLOSED),
        (56, "chunk hex-length char not a hex digit: 0x7a", Reason.INVALID_RESPONSE, _NO_HTTP),
        (56, "Too large response headers: 307223 > 307200", Reason.INVALID_RESPONSE, _NO_HTTP),
        (56, "CONNECT tunnel failed, response 407", Reason.UNREACHABLE, _NO_WAY),
        (56, "Received HTTP code 407 from proxy after CONNECT", Reason.UNREACHABLE, _NO_WAY),
        (60, "SSL certificate problem: unable to get local issuer certificate", Reason.UNREACHABLE, _LOCAL),
        (60, "SSL certificate OpenSSL verify result: unable to get local issuer certificate (20)", Reason.UNREACHABLE,
         _LOCAL),
        (60, "SSL: no alternative certificate subject name matches target host name 'cloud.example'",
         Reason.UNREACHABLE, _MISMATCH),
        (60, "SSL: certificate subject name 'other' does not match target hostname 'cloud.example'",
         Reason.UNREACHABLE, _MISMATCH),
        (60, "SSL: no alternative certificate subject name matches target ipv4 address '127.0.0.1'",
         Reason.UNREACHABLE,
         "TLS: the certificate was refused: IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (60, "", Reason.UNREACHABLE, "TLS: the certificate was refused: it could not be verified"),
        (61, "Unsolicited Transfer-Encoding (whatever) found", Reason.INVALID_RESPONSE, _NO_HTTP),
        (77, "error setting certificate file", Reason.UNREACHABLE, "TLS: there is no CA to verify the server with"),
        (100, "Too many response headers, 5000 is max", Reason.INVALID_RESPONSE, _NO_HTTP),
        (999, "what it\nmay be", Reason.UNREACHABLE, "what it may be (libcurl 999)"),
        (999, "", Reason.UNREACHABLE, "it failed (libcurl 999)"),
    ],
)  # fmt: skip
def test_each_code_of_libcurl_has_its_reason_and_words(code: int, words: str, reason: Reason, told: str) -> None:
    error = CurlError(code, words)
    assert isinstance(error, EXPECTED)
    assert of_error(error) == Failure(reason, told)


@pytest.mark.parametrize(
    ("code", "number", "is_answering", "told"),
    [
        (7, errno.ECONNREFUSED, False, "connection refused"),
        (7, errno.ENETUNREACH, False, "Network is unreachable"),
        (35, errno.ECONNRESET, False, _CLOSED),
        (55, errno.EPIPE, False, _CLOSED),
        (56, errno.ECONNRESET, False, _CLOSED),
        (56, errno.ECONNRESET, True, _ENDED),
        (56, errno.ETIMEDOUT, False, "Connection timed out"),
        (56, 0, True, _ENDED),
    ],
)
def test_what_the_system_said_to_libcurl_counts(code: int, number: int, is_answering: bool, told: str) -> None:
    error = CurlError(code, "failure", is_answering=is_answering, os_error=number)
    assert of_error(error) == Failure(Reason.UNREACHABLE, told)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ECONNRESET, errno.ENETUNREACH])
def test_what_the_system_said_of_an_address_before_does_not_count(number: int) -> None:
    assert of_error(CurlError(1, "Received HTTP/0.9", os_error=number)) == Failure(Reason.INVALID_RESPONSE, _NO_HTTP)
    expired = CurlError(60, "SSL certificate problem: certificate has expired", os_error=number)
    assert of_error(expired).detail == "TLS: the certificate was refused: certificate has expired"


@pytest.mark.parametrize("bug", [ValueError, TypeError, KeyError, ZeroDivisionError, RuntimeError])
def test_a_bug_is_not_expected(bug: Callable[[], Exception]) -> None:
    assert not isinstance(bug(), EXPECTED)
