"""A table of odd HTTP responses, each as raw bytes, with the verdict that every transport must reach.

The server sends the bytes and closes the connection. `READ` stands for a valid reading of the example.
"""

import gzip
import zlib
from collections.abc import Iterator

from tests.cloud.clients import EXAMPLE

__all__ = ["CLOSED", "CUT_OFF", "NO_HTTP", "ODD_RESPONSES", "READ"]

READ = "a valid reading"
NO_HTTP = "the response is not valid HTTP"
CUT_OFF = "the connection ended in mid-response"
CLOSED = "the server closed the connection without a response"
_NO_CODING = "the body has a content encoding that was not requested"
_EMPTY = "an empty response"
_NO_ARRAY = "JSON, but not an array of plug objects"

_OK = b"HTTP/1.1 200 OK\r\n"
_SIZE = len(EXAMPLE)
_LENGTH = b"Content-Length: %d\r\n" % _SIZE
_ANSWER = _OK + _LENGTH + b"\r\n" + EXAMPLE
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_END = b"0\r\n\r\n"
_CHUNK = b"%x\r\n%b\r\n" % (_SIZE, EXAMPLE)
_HALF = _SIZE // 2
_GZIP = gzip.compress(EXAMPLE)

_STATUS_LINES: dict[bytes, str] = {
    b"HTTP/1.0 200 OK": READ,
    b"HTTP/1.1 200": READ,
    b"HTTP/1.1 200 ": READ,
    b"HTTP/1.1 200 Gr\xc3\xbc\xc3\x9f": READ,
    b"HTTP/1.1 200 \xff": READ,
    b"HTTP/1.1 200 O\x01K": READ,
    b"HTTP/1.1 200 O\tK": READ,
    b"HTTP/1.1 200 " + b"x" * 5000: READ,
    b"HTTP/1.1 600 X": "HTTP 600",
    b"HTTP/1.1 999 X": "HTTP 999",
    **dict.fromkeys(
        (
            b"HTTP/0.9 200 OK",
            b"HTTP/1 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/1.10 200 OK",
            b"HTTP/11 200 OK",
            b"HTTP/2 200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/3 200",
            b"http/1.1 200 OK",
            b"Http/1.1 200 OK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1200 OK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 OK",
            b"HTTP/1.1 0",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 -200 OK",
            b"HTTP/1.1 +200 OK",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1 200 O\0K",
            b"HTTP/1.1 200 O\rK",
            b"ICY 200 OK",
            b"RTSP/1.0 200 OK",
            b"HTTX/1.1 200 OK",
            b"\r\nHTTP/1.1 200 OK",
            b"\r\n\r\nHTTP/1.1 200 OK",
            b"\nHTTP/1.1 200 OK",
            b"x\r\nHTTP/1.1 200 OK",
            EXAMPLE + b"HTTP/1.1 200 OK",
        ),
        NO_HTTP,
    ),
}

_STATUSES = {
    201: "Created: not a response to this request",
    202: "Accepted: not a response to this request",
    204: "No Content: not a response to this request",
    206: "Partial Content: not a response to this request",
    301: "Moved Permanently: redirects are not followed",
    302: "Found: redirects are not followed",
    304: "Not Modified: redirects are not followed",
    308: "Permanent Redirect: redirects are not followed",
    400: "Bad Request: not a response to this request",
    407: "Proxy Authentication Required: not a response to this request",
    408: "Request Timeout",
    421: "Misdirected Request: not a response to this request",
    425: "Too Early",
    426: "Upgrade Required: not a response to this request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
    511: "Network Authentication Required",
}

_FIELDS: dict[bytes, str] = {
    **dict.fromkeys(
        (
            b"X: a\r\n b\r\n",
            b"X: a\r\n\tb\r\n",
            b"X: a\x01b\r\n",
            b"X: a\x7fb\r\n",
            b"X: \xe4\r\n",
            b"X: \xc3\xa4\r\n",
            b"X:\r\n",
            b"X:   \r\n",
            b"X:" + b" " * 500 + b"a\r\n",
            b'X: "a\r\n',
            b"X-_!#$%&'*+.^`|~9: a\r\n",
            b"X: " + b"a" * 60_000 + b"\r\n",
            b"X: " + b"a" * 95_000 + b"\r\n",
            b"".join(b"X-%d: a\r\n" % number for number in range(200)),
            b"Set-Cookie: \xff=;;\r\n",
            b"Set-Cookie: a=" + b"b" * 10_000 + b"\r\n",
            b"Connection: some, thing\r\n",
            b"Connection: close\r\n",
            b"Connection: upgrade\r\nUpgrade: h2c\r\n",
            b"Keep-Alive: timeout=abc\r\n",
            b'Alt-Svc: h3=":443"\r\n',
            b"Location: http://127.0.0.1:1/\r\n",
            b"Refresh: 0; url=http://127.0.0.1:1/\r\n",
            b"WWW-Authenticate: Negotiate\r\n",
            b"Trailer: X\r\n",
            b"Content-Range: bytes 0-1/2\r\n",
            b"Content-Type: image/png; charset=none\r\n",
            b"Content-Length-2: 5\r\n",
            b"Transfer-Encodings: gzip\r\n",
            b"Date: yesterday\r\n",
        ),
        READ,
    ),
    **dict.fromkeys(
        (
            b": a\r\n",
            b":\r\n",
            b"X Y: a\r\n",
            b"X : a\r\n",
            b"X\t: a\r\n",
            b"X\r\n",
            b" X: a\r\n",
            b"X: a\0b\r\n",
            b"X: a\rb\r\n",
            b"X: a\nb\r\n",
            b"X-\xe4: a\r\n",
            b"X-\x01: a\r\n",
            b"X-\0: a\r\n",
            b"X[1]: a\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"X: " + b"a" * 110_000 + b"\r\n",
            b"X: " + b"a" * 200_000 + b"\r\n",
            b"".join(b"X-%d: %b\r\n" % (number, b"a" * 4000) for number in range(30)),
            b"".join(b"X-%d: %b\r\n" % (number, b"a" * 4000) for number in range(100)),
        ),
        NO_HTTP,
    ),
}

_LENGTHS: dict[bytes, str] = {
    b"0": _EMPTY,
    b"1": "not JSON, or truncated (1 bytes)",
    b"  %d  " % _SIZE: READ,
    b"\t%d\t" % _SIZE: READ,
    b"000%d" % _SIZE: READ,
    b"%d, %d" % (_SIZE, _SIZE): READ,
    b"%d" % (_SIZE + 1): CUT_OFF,
    b"9999999": CUT_OFF,
    b"9" * 18: CUT_OFF,
    **dict.fromkeys(
        (
            b"",
            b"x",
            b"+%d" % _SIZE,
            b"-%d" % _SIZE,
            b"-1",
            b"0x%x" % _SIZE,
            b"%d.0" % _SIZE,
            b"1e3",
            b"1_0",
            b"%dx" % _SIZE,
            b"%d %d" % (_SIZE, _SIZE),
            b"%d, 5" % _SIZE,
            b"%d," % _SIZE,
            b"\xd9\xa3",
            b"9223372036854775807",
            b"9223372036854775808",
            b"18446744073709551616",
            b"9" * 30,
        ),
        NO_HTTP,
    ),
}

_CODINGS: dict[bytes, str] = {
    **dict.fromkeys((b"chunked", b"Chunked", b"CHUNKED", b"  chunked  ", b"\r\n chunked"), READ),
    **dict.fromkeys(
        (
            b"",
            b"x",
            b"xchunked",
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"chunked, gzip",
            b"chunked, chunked",
            b"identity, chunked",
            b"chunked,",
            b'"chunked"',
            b"chunked;a=b",
            b"chunked\r\nTransfer-Encoding: chunked",
            b"identity\r\nTransfer-Encoding: chunked",
        ),
        NO_HTTP,
    ),
}

_CHUNKS: dict[bytes, str] = {
    **dict.fromkeys(
        (
            _CHUNK + _END,
            b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
            b'%x;a="b;c"\r\n%b\r\n0\r\n\r\n' % (_SIZE, EXAMPLE),
            b"%x;%b\r\n%b\r\n0\r\n\r\n" % (_SIZE, b"a" * 5000, EXAMPLE),
            b"%x \r\n%b\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
            b"%x\t\r\n%b\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
            b"%X\r\n%b\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
            b"0000%x\r\n%b\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
            _CHUNK + b"000\r\n\r\n",
            _CHUNK + b"0\r\nX: a\r\n\r\n",
            b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (_HALF, EXAMPLE[:_HALF], _SIZE - _HALF, EXAMPLE[_HALF:]),
            b"".join(b"1\r\n%c\r\n" % byte for byte in EXAMPLE) + _END,
        ),
        READ,
    ),
    **dict.fromkeys(
        (
            b" " + _CHUNK + _END,
            b"0x" + _CHUNK + _END,
            b"+" + _CHUNK + _END,
            b"-" + _CHUNK + _END,
            b"zz\r\n" + EXAMPLE,
            b"\r\n" + EXAMPLE,
            b"1_0\r\n" + EXAMPLE,
            b"%x\r\n%b0\r\n\r\n" % (_SIZE, EXAMPLE),
            b"%x\r\n%bxx\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
            b"0" * 30 + _CHUNK + _END,
            b"0" * 100_000,
            _CHUNK + b"0\r\nX A\r\n\r\n",
            _CHUNK + b"0\r\nX: \0\r\n\r\n",
            _CHUNK + b"0\r\nX: %b\r\n\r\n" % (b"a" * 150_000),
        ),
        NO_HTTP,
    ),
    **dict.fromkeys(
        (
            _CHUNK,
            _CHUNK + b"0\r\n",
            b"7fffffff\r\n" + EXAMPLE,
            b"f" * 16 + b"\r\n" + EXAMPLE,
            b"f" * 17 + b"\r\n" + EXAMPLE,
            b"%d0\r\n%b\r\n0\r\n\r\n" % (_SIZE, EXAMPLE),
        ),
        CUT_OFF,
    ),
    _END: _EMPTY,
}

_ENCODED: dict[tuple[bytes, bytes], str] = {
    (b"gzip", _GZIP): READ,
    (b" gzip ", _GZIP): READ,
    (b"gzip", _GZIP + b"xx"): READ,
    (b"identity", EXAMPLE): READ,
    (b"deflate", zlib.compress(EXAMPLE)): READ,
    (b"deflate", zlib.compress(EXAMPLE)[2:-4]): "the body is not deflate, as its header declares",
    (b"gzip", EXAMPLE): "the body is not gzip, as its header declares",
    (b"gzip", b""): _EMPTY,
    (b"gzip", gzip.compress(EXAMPLE[:274]) + gzip.compress(EXAMPLE[274:])): "not JSON, or truncated (274 bytes)",
    **{
        (name, _GZIP): _NO_CODING
        for name in (b"", b"x-gzip", b"gzip, gzip", b"gzip, identity", b"br", b"zstd", b"none", b"utf-8")
    },
    (b"gzip\r\nContent-Encoding: gzip", _GZIP): _NO_CODING,
}

_BODIES: dict[bytes, str] = {
    b"\xef\xbb\xbf" + EXAMPLE: READ,
    b"": _EMPTY,
    b" \r\n": _EMPTY,
    b"<html>": "HTML or XML instead of JSON",
    b"<?xml": "HTML or XML instead of JSON",
    b"[]": "no valid plug in the response: an empty array, no plug",
    **dict.fromkeys((b"null", b"true", b"1", b'"x"', b"{}", b"[NaN]"), _NO_ARRAY),
    **{
        body: f"not JSON, or truncated ({len(body)} bytes)"
        for body in (EXAMPLE.decode().encode("utf-16"), b"[" * 100_000, EXAMPLE[:-9], EXAMPLE + b"x", b'["\xff"]')
    },
}

_RAW: dict[bytes, str] = {
    b"": CLOSED,
    **dict.fromkeys(
        (
            b"H",
            b"HTTP",
            b"HTTP/1.1",
            b"HTTP/1.1 2",
            _OK[:-1],
            _OK,
            _OK + b"X",
            _OK + _LENGTH,
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            b"HTTP/1.1 200 OK\rContent-Length: 2\r\r[]",
        ),
        CLOSED,
    ),
    **dict.fromkeys(
        (
            b"x",
            b"\n",
            b"\r\n",
            b"   ",
            b"\0" * 10,
            bytes(range(256)),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"220 mail.example ESMTP\r\n",
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff",
            b"<html><body>Hello</body></html>",
            EXAMPLE,
            b"HTTP/1.1 100 Continue\r\n\r\n" + EXAMPLE,
            b"HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc" + _ANSWER,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + _ANSWER,
            _OK + _LENGTH + b"Content-Length: 5\r\n\r\n" + EXAMPLE,
            _OK + b"Content-Length: 5\r\n" + _LENGTH + b"\r\n" + EXAMPLE,
            _OK + b"Transfer-Encoding : chunked\r\n\r\n" + _CHUNK + _END,
            b"HTTP/1.1 503 X\r\nTransfer-Encoding: x\r\n\r\n",
            b"HTTP/1.1 503 X\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 503 X\r\n: x\r\nContent-Length: 0\r\n\r\n",
        ),
        NO_HTTP,
    ),
    **dict.fromkeys(
        (
            b"HTTP/1.1 200 OK\nContent-Length: %d\n\n%b" % (_SIZE, EXAMPLE),
            b"HTTP/1.1 200 OK\nContent-Length: %d\r\n\n%b" % (_SIZE, EXAMPLE),
            b"HTTP/1.1 100 Continue\r\n\r\n" + _ANSWER,
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _ANSWER,
            b"HTTP/1.1 102 Processing\r\n\r\n" * 20 + _ANSWER,
            b"HTTP/1.1 199 X\r\n\r\n" + _ANSWER,
            _OK + b"\r\n" + EXAMPLE,
            _OK + _LENGTH * 3 + b"\r\n" + EXAMPLE,
            _OK + _LENGTH + _CHUNKED + b"\r\n" + _CHUNK + _END,
            _OK + _CHUNKED + _LENGTH + b"\r\n" + _CHUNK + _END,
            b"HTTP/1.0 200 OK\r\n" + _CHUNKED + b"\r\n" + _CHUNK + _END,
            _ANSWER + b"HTTP/1.1 500 X\r\n\r\n",
        ),
        READ,
    ),
    _OK + _LENGTH + b"\r\n" + EXAMPLE[:20]: CUT_OFF,
    b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello": "HTTP 204 No Content: not a response to this request",
    b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "HTTP 503 Service Unavailable",
    b"HTTP/1.1 503 X\r\nContent-Length: 9999\r\n\r\n": "HTTP 503 Service Unavailable",
}


def _heads() -> Iterator[tuple[bytes, str]]:
    for line, verdict in _STATUS_LINES.items():
        yield line + b"\r\n" + _LENGTH + b"\r\n" + EXAMPLE, verdict
    for status, text in _STATUSES.items():
        for rest in (b"\r\n", b"Content-Length: 0\r\n\r\n", b"Content-Length: 4\r\n\r\nbody"):
            yield b"HTTP/1.1 %d Reason\r\n%b" % (status, rest), f"HTTP {status} {text}"
    for fields, verdict in _FIELDS.items():
        yield _OK + fields + _LENGTH + b"\r\n" + EXAMPLE, verdict
        if not fields.startswith(b" "):  # at the end, it would continue Content-Length
            yield _OK + _LENGTH + fields + b"\r\n" + EXAMPLE, verdict
    for length, verdict in _LENGTHS.items():
        yield _OK + b"Content-Length: " + length + b"\r\n\r\n" + EXAMPLE, verdict


def _bodies() -> Iterator[tuple[bytes, str]]:
    for coding, verdict in _CODINGS.items():
        yield _OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n" + _CHUNK + _END, verdict
    for chunks, verdict in _CHUNKS.items():
        yield _OK + _CHUNKED + b"\r\n" + chunks, verdict
    for (encoding, body), verdict in _ENCODED.items():
        yield _OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (encoding, len(body), body), verdict
    for body, verdict in _BODIES.items():
        yield _OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), verdict


ODD_RESPONSES = {**dict(_heads()), **dict(_bodies()), **_RAW}
"""The verdict of each response: `READ`, or the detail of its Failure."""
