"""Tests of the translation of errors into reasons and texts.

The client never uses the text of an exception of httpx, because the text may contain the request and its token.
"""

import errno
import socket
import ssl
from collections.abc import Callable

import httpx
import pytest

from evse_mqtt_bridge.cloud.errors import EXPECTED, CurlError, of_error
from evse_mqtt_bridge.domain.model import Failure, Reason
from tests.cloud.clients import TOKEN

_CLOSED = "the server closed the connection without a response"
_CUT_OFF = "the connection ended in mid-response"
_NO_HTTP = "the response is not valid HTTP"
_NO_PROXY = "the proxy rejected the connection"
_NO_DNS = "DNS: the name could not be resolved"
_REFUSED = "TLS: the certificate was rejected: "
_ALTERNATIVES = "use a host name or address that the certificate lists as subject alternative name"
_MISMATCH = f"{_REFUSED}Hostname mismatch, certificate is not valid for 'cloud.example'; {_ALTERNATIVES}"
_OTHER_ADDRESS = f"{_REFUSED}IP address mismatch, certificate is not valid for '127.0.0.1'; {_ALTERNATIVES}"
_NO_ISSUER = f"{_REFUSED}unable to get local issuer certificate; does cloud.ca_file name the CA that signed it?"


def _caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _os_error(number: int) -> OSError:
    return OSError(number, errno.errorcode[number])


def _invalid_certificate() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, TOKEN)
    error.verify_message = "unable to get local issuer certificate"
    return error


def _wrong_host(host: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, TOKEN)
    error.verify_message = f"Hostname mismatch, certificate is not valid for '{host}'."
    return error


def _tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, TOKEN)
    error.reason = reason
    return error


_ERRORS: list[tuple[Exception, Reason, str]] = [
    (_caused_by(httpx.ConnectError(TOKEN), ConnectionRefusedError()), Reason.UNREACHABLE, "connection refused"),
    (_caused_by(httpx.ConnectError(TOKEN), socket.gaierror()), Reason.UNREACHABLE, _NO_DNS),
    (_caused_by(httpx.ConnectError(TOKEN), _os_error(errno.ENETUNREACH)), Reason.UNREACHABLE, "ENETUNREACH"),
    (_caused_by(httpx.ConnectError(TOKEN), _invalid_certificate()), Reason.UNREACHABLE, _NO_ISSUER),
    (
        _caused_by(httpx.ConnectError(TOKEN), _wrong_host("status-api.cloud.example")),
        Reason.UNREACHABLE,
        _MISMATCH.replace("cloud.example", "status-api.cloud.example"),
    ),
    (
        _caused_by(httpx.ConnectError(TOKEN), _tls_error("WRONG_VERSION_NUMBER")),
        Reason.UNREACHABLE,
        "TLS: wrong version number",
    ),
    (
        _caused_by(httpx.ConnectError(TOKEN), _tls_error("UNEXPECTED_EOF_WHILE_READING")),
        Reason.UNREACHABLE,
        _CLOSED,
    ),
    (httpx.ConnectError(TOKEN), Reason.UNREACHABLE, _CLOSED),
    (ConnectionResetError(), Reason.UNREACHABLE, _CLOSED),
    (_caused_by(httpx.ReadError(TOKEN), ConnectionResetError()), Reason.UNREACHABLE, _CLOSED),
    (httpx.ReadError(TOKEN), Reason.UNREACHABLE, _CLOSED),
    (httpx.WriteError(TOKEN), Reason.UNREACHABLE, _CLOSED),
    (httpx.RemoteProtocolError(TOKEN), Reason.INVALID_RESPONSE, _NO_HTTP),
    (
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        Reason.UNREACHABLE,
        _CLOSED,
    ),
    (
        httpx.RemoteProtocolError(
            "peer closed connection without sending complete message body (incomplete chunked read)"
        ),
        Reason.UNREACHABLE,
        _CUT_OFF,
    ),
    (httpx.DecodingError(TOKEN), Reason.INVALID_RESPONSE, "the response could not be decoded"),
    (httpx.ProxyError(TOKEN), Reason.UNREACHABLE, _NO_PROXY),
    (httpx.PoolTimeout(TOKEN), Reason.UNREACHABLE, "no connection became free in time"),
    (httpx.ConnectTimeout(TOKEN), Reason.UNREACHABLE, "the connection could not be established in time"),
    (httpx.ReadTimeout(TOKEN), Reason.UNREACHABLE, "no response in time"),
    (httpx.UnsupportedProtocol(TOKEN), Reason.UNREACHABLE, "UnsupportedProtocol"),
    (_os_error(errno.EMFILE), Reason.UNREACHABLE, "EMFILE"),
    (OSError(), Reason.UNREACHABLE, "OSError"),
    (ssl.SSLError(), Reason.UNREACHABLE, "TLS: handshake failed"),
    (ssl.SSLCertVerificationError(), Reason.UNREACHABLE, f"{_REFUSED}it could not be verified"),
    (ssl.SSLEOFError(), Reason.UNREACHABLE, _CLOSED),
]


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    _ERRORS,
    ids=[f"{type(error).__name__}-{text.split(':')[0]}" for error, _, text in _ERRORS],
)
def test_error_has_a_reason_and_a_text_of_our_own(error: Exception, reason: Reason, text: str) -> None:
    assert isinstance(error, EXPECTED)
    failure = of_error(error)
    assert failure == Failure(reason, text)
    assert failure.detail.isprintable()
    assert TOKEN not in repr(failure)


@pytest.mark.parametrize("error", [ConnectionResetError(), BrokenPipeError(), httpx.ReadError(""), ssl.SSLEOFError()])
def test_lost_connection_after_the_head_is_cut_off(error: Exception) -> None:
    assert of_error(error) == Failure(Reason.UNREACHABLE, _CLOSED)
    assert of_error(error, is_answering=True) == Failure(Reason.UNREACHABLE, _CUT_OFF)


@pytest.mark.parametrize(
    ("code", "text", "reason", "expected"),
    [
        (1, "Received HTTP/0.9 when not allowed", Reason.INVALID_RESPONSE, _NO_HTTP),
        (5, "Could not resolve proxy: p", Reason.UNREACHABLE, _NO_DNS),
        (6, "Could not resolve host: h", Reason.UNREACHABLE, _NO_DNS),
        (7, "CONNECT tunnel failed, response 407", Reason.UNREACHABLE, _NO_PROXY),
        (8, "Invalid Content-Length: value", Reason.INVALID_RESPONSE, _NO_HTTP),
        (18, "end of response with 9450 bytes missing", Reason.UNREACHABLE, _CUT_OFF),
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
        (56, "CONNECT tunnel failed, response 407", Reason.UNREACHABLE, _NO_PROXY),
        (56, "Received HTTP code 407 from proxy after CONNECT", Reason.UNREACHABLE, _NO_PROXY),
        (60, "SSL certificate problem: unable to get local issuer certificate", Reason.UNREACHABLE, _NO_ISSUER),
        (60, "SSL certificate OpenSSL verify result: unable to get local issuer certificate (20)", Reason.UNREACHABLE,
         _NO_ISSUER),
        (60, "SSL: no alternative certificate subject name matches target host name 'cloud.example'",
         Reason.UNREACHABLE, _MISMATCH),
        (60, "SSL: certificate subject name 'other' does not match target hostname 'cloud.example'",
         Reason.UNREACHABLE, _MISMATCH),
        (60, "SSL: no alternative certificate subject name matches target ipv4 address '127.0.0.1'",
         Reason.UNREACHABLE,
         _OTHER_ADDRESS),
        (60, "SSL: certificate subject name 'other' does not match target hostname '127.0.0.1'",
         Reason.UNREACHABLE, _OTHER_ADDRESS),
        (60, "", Reason.UNREACHABLE, f"{_REFUSED}it could not be verified"),
        (61, "Unsolicited Transfer-Encoding (whatever) found", Reason.INVALID_RESPONSE, _NO_HTTP),
        (77, "error setting certificate file", Reason.UNREACHABLE, "TLS: there is no CA to verify the server with"),
        (100, "Too many response headers, 5000 is max", Reason.INVALID_RESPONSE, _NO_HTTP),
        (999, "what it\nmay be", Reason.UNREACHABLE, "what it may be (libcurl 999)"),
        (999, "", Reason.UNREACHABLE, "the request failed (libcurl 999)"),
    ],
)  # fmt: skip
def test_libcurl_code_has_a_reason_and_a_text(code: int, text: str, reason: Reason, expected: str) -> None:
    error = CurlError(code, text)
    assert isinstance(error, EXPECTED)
    assert of_error(error) == Failure(reason, expected)


@pytest.mark.parametrize(
    ("code", "number", "is_answering", "expected"),
    [
        (7, errno.ECONNREFUSED, False, "connection refused"),
        (7, errno.ENETUNREACH, False, "Network is unreachable"),
        (35, errno.ECONNRESET, False, _CLOSED),
        (55, errno.EPIPE, False, _CLOSED),
        (56, errno.ECONNRESET, False, _CLOSED),
        (56, errno.ECONNRESET, True, _CUT_OFF),
        (56, errno.ETIMEDOUT, False, "Connection timed out"),
        (56, 0, True, _CUT_OFF),
    ],
)
def test_libcurl_error_with_os_error_uses_the_os_error(
    code: int, number: int, is_answering: bool, expected: str
) -> None:
    error = CurlError(code, "failure", is_answering=is_answering, os_error=number)
    assert of_error(error) == Failure(Reason.UNREACHABLE, expected)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ECONNRESET, errno.ENETUNREACH])
def test_os_error_of_an_earlier_address_is_ignored(number: int) -> None:
    assert of_error(CurlError(1, "Received HTTP/0.9", os_error=number)) == Failure(Reason.INVALID_RESPONSE, _NO_HTTP)
    expired = CurlError(60, "SSL certificate problem: certificate has expired", os_error=number)
    assert of_error(expired).detail.startswith(f"{_REFUSED}certificate has expired; ")


@pytest.mark.parametrize("bug", [ValueError, TypeError, KeyError, ZeroDivisionError, RuntimeError])
def test_bug_is_not_an_expected_error(bug: Callable[[], Exception]) -> None:
    assert not isinstance(bug(), EXPECTED)
