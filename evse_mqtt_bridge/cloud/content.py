"""Recognises the content of a response by its start, without parsing it."""

__all__ = ["is_empty", "is_json", "is_page"]

_LONGEST_START = 256


def is_json(body: bytes) -> bool:
    """Return whether the body is a JSON object or array, as far as its start shows."""
    return _start(body) in (b"{", b"[")


def is_page(body: bytes) -> bool:
    """Return whether the body is HTML or XML."""
    return _start(body) == b"<"


def is_empty(body: bytes) -> bool:
    """Return whether the body is empty, or starts with nothing but white space."""
    return not _start(body)


def _start(body: bytes) -> bytes:
    return body[:_LONGEST_START].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
