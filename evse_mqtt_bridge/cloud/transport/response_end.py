"""Finds the end of a response, and notices bytes that a server sends after it.

h11 buffers such bytes and reads them as the response to the next request on the connection. The rules are those of
RFC 9112, section 6.3. If the end cannot be determined, `has_excess` becomes true: the connection is not used again.
"""

import re

from evse_mqtt_bridge.cloud.transport.http_rules import STATUS_LINE

__all__ = ["BLANK_LINE", "ResponseEnd"]

BLANK_LINE = re.compile(rb"\n\r?\n")
"""The end of a head, or of the trailers after the last chunk: the end of a line, followed by an empty line."""

_LENGTH = re.compile(rb"\ncontent-length:[ \t]*(\d{1,18})")
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,20}")
_WITHOUT_BODY = (b"204", b"304")


class ResponseEnd:
    """Follows the body of one response, however it is divided into reads.

    A body without a known length counts as an excess: its end is the end of the connection, which is not used again.

    Args:
        head: The complete head of the response.

    Attributes:
        has_excess: Whether bytes after the end have arrived, or the end cannot be determined.
    """

    __slots__ = ("_in_chunks", "_in_trailers", "_unparsed", "_until_end", "has_excess")

    def __init__(self, head: bytes) -> None:
        status = STATUS_LINE.match(head)
        head = head.lower()
        has_body = status is not None and status[1] not in _WITHOUT_BODY
        length = _LENGTH.search(head)
        self.has_excess = False
        self._in_chunks = has_body and b"\ntransfer-encoding:" in head
        self._in_trailers = False
        self._until_end = int(length[1]) if has_body and length and not self._in_chunks else 0
        """Number of bytes up to the end of the response, or up to the line with the size of the next chunk."""
        self._unparsed = b""
        """Bytes that arrived but are incomplete: a part of a line, or the trailers so far."""

    def feed(self, data: bytes) -> None:
        """Follow the bytes of one read."""
        if self._in_chunks:
            data = self._after_chunks(self._unparsed + data)
        if len(data) > self._until_end:
            self.has_excess = True
        else:
            self._until_end -= len(data)

    def _after_chunks(self, data: bytes) -> bytes:
        """Return what follows the last chunk and its trailers; empty: nothing, they are incomplete, or malformed."""
        position = self._until_end
        while not self._in_trailers and (end := data.find(b"\r\n", position)) >= 0:
            size = _CHUNK_SIZE.match(data, position)
            if size is None:
                self.has_excess = True
                return b""
            count = int(size[0], 16)
            self._in_trailers = count == 0
            # without trailers, the LF of the last chunk's line begins the blank line
            position = end + 2 + count + 2 if count else end + 1
        if self._in_trailers and (blank := BLANK_LINE.search(data, position)):
            self._in_chunks, self._until_end = False, 0
            return data[blank.end() :]
        self._unparsed, self._until_end = data[position:], max(position - len(data), 0)
        return b""
