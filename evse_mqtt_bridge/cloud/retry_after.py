"""Parses the Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ["RETRY_AFTER_RANGE", "http_date", "retry_after"]

RETRY_AFTER_RANGE = (1.0, 3600.0)
"""The shortest and the longest wait that the bridge accepts, in seconds."""


def retry_after(value: str, now: datetime) -> float | None:
    """Return the wait that a Retry-After header requests, within RETRY_AFTER_RANGE; `None` if the header is invalid.

    Args:
        value: The header.
        now: The current time of the server.
    """
    try:
        seconds = float(value)
    except ValueError:
        date = http_date(value)
        if date is None:
            return None
        seconds = (date - now) / timedelta(seconds=1)
    if math.isnan(seconds):
        return None
    shortest, longest = RETRY_AFTER_RANGE
    return min(max(seconds, shortest), longest)


def http_date(value: str) -> datetime | None:
    """Return an HTTP date (RFC 9110, section 5.6.7), in UTC if it has no zone; `None` if it is invalid."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):  # the parser raises more than its documentation lists
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
