"""Requests for reports from the history, and the times in them. It imports no database."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

__all__ = [
    "Grouping",
    "HistoryUnavailableError",
    "ReportFormat",
    "ReportKind",
    "ReportRequest",
    "ReportRequestError",
    "default_since",
    "parse_time",
    "start_of_day",
]

_PERIOD = timedelta(days=30)
_MONTHS = timedelta(days=365)
_MONTH = re.compile(r"(\d{4})-(\d{2})")


class Grouping(StrEnum):
    """How energy is summed up."""

    DAY = "day"
    MONTH = "month"
    PLUG = "plug"


class ReportKind(StrEnum):
    """What a report lists."""

    ENERGY = "energy"
    SESSIONS = "sessions"


class ReportFormat(StrEnum):
    """The format of a report."""

    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A request for a report.

    Attributes:
        kind: What to list.
        format: The format of the response.
        grouping: How to sum up energy.
        since: Start of the period, as `parse_time` reads it; empty: see `default_since`.
        until: End of the period; empty: now.
        station: Only this station (uuid); empty: all.
        plug: Only this plug (uuid); empty: all.
        limit: Maximum number of sessions, the latest first; `None`: all of the period.
    """

    kind: ReportKind
    format: ReportFormat = ReportFormat.JSON
    grouping: Grouping = Grouping.DAY
    since: str = ""
    until: str = ""
    station: str = ""
    plug: str = ""
    limit: int | None = None


class ReportRequestError(Exception):
    """The request is invalid; the text names the reason."""


class HistoryUnavailableError(Exception):
    """The history cannot be read at the moment; the text names the reason."""


def parse_time(text: str, zone: tzinfo) -> datetime:
    """Return the time of a day, a month or an ISO 8601 time, in UTC.

    Raises:
        ReportRequestError: The text is none of these.
    """
    try:
        if match := _MONTH.fullmatch(text):
            moment = datetime(int(match[1]), int(match[2]), 1, tzinfo=zone)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReportRequestError(
            f'"{text}" is not a day such as 2026-03-25, a month such as 2026-03, or an ISO 8601 time'
        ) from None


def default_since(kind: ReportKind, grouping: Grouping, now: datetime, zone: tzinfo) -> datetime:
    """Return where the period of a report begins by default, in UTC: 30 days ago, or by month that month a year ago."""
    if kind is ReportKind.ENERGY and grouping is Grouping.MONTH:
        return start_of_day((now - _MONTHS).astimezone(zone).replace(day=1), zone)
    return start_of_day(now - _PERIOD, zone)


def start_of_day(moment: datetime, zone: tzinfo) -> datetime:
    """Return the start of the day of a moment in a zone, in UTC."""
    return moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
