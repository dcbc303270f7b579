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

from evse_mqtt_bridge.cloud.failures import EXPECTED, of_error
from evse_mqtt_bridge.core.model import Reason

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


@pytest.mark.parametrize("bug", [ValueError, TypeError, KeyError, ZeroDivisionError, RuntimeError])
def test_a_bug_is_not_expected(bug: Callable[[], Exception]) -> None:
    assert not isinstance(bug(), EXPECTED)
