"""The end of a response is found as h11 finds it, however the response is divided into reads."""

import contextlib
import itertools

import h11
import pytest

from evse_mqtt_bridge.cloud.transport.http_rules import without_interim_responses
from evse_mqtt_bridge.cloud.transport.response_end import BLANK_LINE, ResponseEnd
from tests.cloud.odd_responses import ODD_RESPONSES

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_NEXT = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
"""A response that ends as a chunked response before it may have ended."""

_COMPLETE = (
    _OK + b"Content-Length: 2\r\n\r\n[]",
    _OK + b"content-length:2\r\n\r\n[]",
    _OK + b"Server: x\r\nCONTENT-LENGTH:  002 \r\n\r\n[]",
    _OK + b"Content-Length: 2, 2\r\n\r\n[]",
    _OK + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n[]",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n[]",
    _OK + b"X: a\r\n Content-Length: 9\r\nContent-Length: 2\r\n\r\n[]",
    _CHUNKED + b"2\r\n[]\r\n0\r\n\r\n",
    _CHUNKED + b"1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
    _CHUNKED + b"0\r\n\r\n",
    _CHUNKED + b"2;a=b\r\n[]\r\n000;a=b\r\n\r\n",
    _CHUNKED + b"0A \r\n[       ]\n\r\n0\r\n\r\n",
    _CHUNKED + b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
    _CHUNKED + b"2\r\n[]\r\n0\r\nX: a\r\nY: b\r\n\r\n",
    _CHUNKED + b"2\r\n[]\r\n0\r\nX: a\n\n",
    _CHUNKED + b"2\r\n[]\r\n0\r\n\n",
    _OK + b"Content-Length: 9\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    _OK + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
)
_UNKNOWN = (
    _OK + b"\r\n[]",
    _OK + b"Connection: close\r\n\r\n[]",
    _OK + b"Content-Length:\r\n 2\r\n\r\n[]",
    _OK + b"Content-Length: x\r\n\r\n[]",
    b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    _CHUNKED + b"x\r\n",
    _CHUNKED + b"2\r\n[]\r\n\r\n",
)


def _has_excess(response: bytes, *reads: int) -> bool:
    """Return whether there is an excess after a response; `reads` are the positions where its body is divided."""
    blank = BLANK_LINE.search(response)
    assert blank
    end = ResponseEnd(response[: blank.end()])
    bounds = (blank.end(), *reads, len(response))
    for start, stop in itertools.pairwise(bounds):
        end.feed(response[start:stop])
    return end.has_excess


def _in_two_reads(response: bytes) -> set[bool]:
    """Return the results with the body divided at every position, and with one byte per read."""
    blank = BLANK_LINE.search(response)
    assert blank
    positions = range(blank.end(), len(response) + 1)
    return {_has_excess(response, *positions), *(_has_excess(response, position) for position in positions)}


@pytest.mark.parametrize("response", _COMPLETE)
def test_complete_response_has_no_excess(response: bytes) -> None:
    assert _in_two_reads(response) == {False}


@pytest.mark.parametrize("excess", [b"\n", b"\r\n", b"0\r\n\r\n", _NEXT])
@pytest.mark.parametrize("response", _COMPLETE)
def test_bytes_after_a_response_are_an_excess(response: bytes, excess: bytes) -> None:
    assert _in_two_reads(response + excess) == {True}


@pytest.mark.parametrize("response", _UNKNOWN)
def test_body_without_a_known_end_is_an_excess(response: bytes) -> None:
    assert _in_two_reads(response) == {True}


@pytest.mark.parametrize("following", [b"\r\n", _NEXT], ids=["blank line", "response"])
def test_no_excess_that_h11_keeps_is_missed(following: bytes) -> None:
    compared = 0
    for response in ODD_RESPONSES:
        received = response + following
        if _kept_by_h11(received):
            assert _has_excess(without_interim_responses(received)), received[:200]
            compared += 1
    assert compared > 100


def _kept_by_h11(received: bytes) -> bytes:
    """Return what h11 takes as the start of the next response; empty: nothing, or it does not reuse the connection."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(received)
    with contextlib.suppress(h11.RemoteProtocolError):
        while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            if connection.their_state is h11.DONE:
                return connection.trailing_data[0]
    return b""
