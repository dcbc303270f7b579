"""Decides which responses count as HTTP/1, by the same rules for both transports.

The libraries differ: libcurl repairs what it can, and h11 rejects what RFC 9112 forbids. A bridge must not publish
values with one transport that it rejects with the other, so the stricter library decides, and these rules make up the
difference. Strictness costs nothing: no server of the API sends such a response, and a broken proxy is better reported
than guessed at.

- The version is 1.0 or 1.1, and the status has three digits from 100. 101 is no response to a request of the bridge.
- The name of a header is a token (RFC 9110, section 5.6.2), directly followed by a colon.
- Content-Length has at most 18 digits, and Transfer-Encoding is `chunked` and nothing else.
- The head has at most 96 KiB; both libraries accept more, but different amounts.

The framing of chunks is left to the libraries. Two differences remain: libcurl accepts a bare LF there, and h11
accepts a size of 18 to 20 digits.
"""

import re
from collections.abc import Sequence

__all__ = [
    "HEAD_LIMIT",
    "STATUS_LINE",
    "SWITCHING_PROTOCOLS",
    "is_start_of_response",
    "is_valid_head",
    "is_valid_response",
    "without_interim_responses",
]

HEAD_LIMIT = 96 * 1024
"""Maximum size of the head of a response, in bytes."""

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?=[ \r\n])")
"""The start of a response; the group is the status."""

SWITCHING_PROTOCOLS = 101
"""The interim status that another protocol follows instead of another response."""

_LONGEST_LENGTH = 18
_UNUSUAL_LINE = re.compile(
    rb"\n(?!(?!content-length|transfer-encoding)[a-z0-9-]++:|content-length: \d{1,%d}\r\n)" % _LONGEST_LENGTH
)
"""Finds the first line of a head that needs a closer look; in most heads, that is the empty line at the end."""

_INVALID_LINE = re.compile(rb"\n(?![\w!#$%&'*+.^`|~-]+:|[ \t]|\r?\n|\Z)")
"""A line that is neither a header, nor the continuation of one, nor the empty line at the end."""

_CONTINUED_STATUS_LINE = re.compile(rb"[^\n]*\n[ \t]")
_TOO_LONG_LENGTH = re.compile(rb"\ncontent-length:[ \t]*\d{%d}" % (_LONGEST_LENGTH + 1))
_CODING = re.compile(rb"\ntransfer-encoding:([^\n]*)")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_START = b"HTTP/1."


def is_valid_head(head: bytes) -> bool:
    """Return whether a complete head, in lower case and with its status line, is valid. Runs for each poll."""
    if len(head) > HEAD_LIMIT:
        return False
    unusual = _UNUSUAL_LINE.search(head)
    if unusual is not None and unusual.start() == len(head) - len(b"\n\r\n"):
        return True
    if _CONTINUED_STATUS_LINE.match(head) or _INVALID_LINE.search(head) or _TOO_LONG_LENGTH.search(head):
        return False
    return b"\ntransfer-encoding:" not in head or [coding.strip() for coding in _CODING.findall(head)] == [b"chunked"]


def is_valid_response(version: bytes, status: int, fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether a response is valid whose head h11 has parsed, which applies all other rules itself.

    Args:
        version: The version in the status line, such as `HTTP/1.1`.
        status: The status.
        fields: The headers.
    """
    size = sum(len(name) + len(value) + len(b": \r\n") for name, value in fields)
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    return (
        version in (b"HTTP/1.1", b"HTTP/1.0")
        and status != SWITCHING_PROTOCOLS
        and size <= HEAD_LIMIT
        and all(len(length) <= _LONGEST_LENGTH for length in lengths)
    )


def without_interim_responses(data: bytes) -> bytes:
    """Return what arrived on a connection without the complete interim responses (1xx) at its start."""
    while interim := _INTERIM.match(data):
        data = data[interim.end() :]
    return data


def is_start_of_response(data: bytes) -> bool:
    """Return whether the bytes after the interim responses can be the start of a response; true if there are none."""
    return data.startswith(_START) or _START.startswith(data)
