"""The Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ["RETRY_AFTER_RANGE", "http_date", "retry_after"]

RETRY_AFTER_RANGE = (1.0, 3600.0)
"""Seconds: the shortest and the longest wait that is honoured."""


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3), within 1 s .. 1 h.

    `now` is the time at the server. `None` where the header cannot be read.
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
    """An HTTP date (RFC 9110, section 5.6.7), UTC where it names no zone; `None` for what is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):  # the parser stumbles in more ways than it tells
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date
