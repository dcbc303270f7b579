"""Request handlers for the energy and the sessions of the history. All are read-only.

| route | response |
| --- | --- |
| `/api/history` | the state of the history, and the energy of today and this month |
| `/api/energy`, `/api/energy.csv` | energy by day, month or plug |
| `/api/sessions`, `/api/sessions.csv` | sessions that ended in a period, the latest first |
"""

from collections.abc import Mapping
from functools import partial

from aiohttp import web
from multidict import MultiMapping

from evse_mqtt_bridge.storage.report_request import (
    Grouping,
    HistoryUnavailableError,
    ReportFormat,
    ReportKind,
    ReportRequest,
    ReportRequestError,
)
from evse_mqtt_bridge.web.connections import send_document
from evse_mqtt_bridge.web.security import is_cross_site
from evse_mqtt_bridge.web.source import HistorySource

__all__ = ["HistoryHandlers", "report_request"]

_PARAMETERS: Mapping[ReportKind, frozenset[str]] = {
    ReportKind.ENERGY: frozenset({"by", "since", "until", "station", "plug"}),
    ReportKind.SESSIONS: frozenset({"since", "until", "station", "plug", "limit"}),
}
_MOST_TEXT = 64  # characters of a parameter
_DEFAULT_LIMIT = 1_000  # sessions as JSON
_HIGHEST_LIMIT = 10_000
_CONTENT_TYPES = {ReportFormat.JSON: "application/json", ReportFormat.CSV: "text/csv; charset=utf-8"}
_CROSS_SITE = "Pages of other sites cannot read the history.\n"


class HistoryHandlers:
    """Handles requests with data from the history.

    Args:
        source: The history.
        max_responses: Maximum number of concurrent responses, because each holds its own report.
    """

    def __init__(self, source: HistorySource, max_responses: int) -> None:
        self._source = source
        self._max_responses = max_responses
        self._responses = 0

    def routes(self) -> list[web.RouteDef]:
        """Return all routes."""
        return [
            web.get("/api/history", self._overview),
            *(
                web.get(f"/api/{kind}{suffix}", partial(self._report, kind, form))
                for kind in ReportKind
                for suffix, form in (("", ReportFormat.JSON), (".csv", ReportFormat.CSV))
            ),
        ]

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        if is_cross_site(request.headers):
            return web.Response(status=403, text=_CROSS_SITE)
        return web.Response(body=await self._source.overview(), content_type="application/json")

    async def _report(self, kind: ReportKind, form: ReportFormat, request: web.Request) -> web.StreamResponse:
        if is_cross_site(request.headers):
            return web.Response(status=403, text=_CROSS_SITE)
        if self._responses >= self._max_responses:
            return _unavailable(f"{self._max_responses} other clients are reading the history. Try again later.\n")
        self._responses += 1
        try:
            body = await self._source.report(report_request(kind, form, request.query))
            headers = {"Content-Type": _CONTENT_TYPES[form]}
            if form is ReportFormat.CSV:
                headers["Content-Disposition"] = f'attachment; filename="evse-{kind}.csv"'
            return await send_document(request, headers, body)
        except ReportRequestError as error:
            return web.Response(status=400, text=f"{error}\n")
        except HistoryUnavailableError as error:
            return _unavailable(f"{error}\n")
        finally:
            self._responses -= 1


def report_request(kind: ReportKind, form: ReportFormat, query: MultiMapping[str]) -> ReportRequest:
    """Return the request for a report from the parameters of a URL.

    Raises:
        ReportRequestError: A parameter is unknown, repeated or invalid.
    """
    allowed = _PARAMETERS[kind]
    for name in query:
        if name not in allowed:
            raise ReportRequestError(f"unknown parameter; use {', '.join(sorted(allowed))}")
        if len(query.getall(name)) > 1 or len(query[name]) > _MOST_TEXT or not query[name].isprintable():
            raise ReportRequestError(f"{name} must be one text of at most {_MOST_TEXT} characters")
    try:
        grouping = Grouping(query.get("by", Grouping.DAY))
    except ValueError:
        raise ReportRequestError(f"by must be one of {', '.join(Grouping)}") from None
    return ReportRequest(
        kind,
        form,
        grouping,
        since=query.get("since", ""),
        until=query.get("until", ""),
        station=query.get("station", ""),
        plug=query.get("plug", ""),
        limit=_limit(query.get("limit", ""), None if form is ReportFormat.CSV else _DEFAULT_LIMIT),
    )


def _limit(text: str, default: int | None) -> int | None:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _HIGHEST_LIMIT):
        raise ReportRequestError(f"limit must be a number from 1 to {_HIGHEST_LIMIT}")
    return int(text)


def _unavailable(text: str) -> web.Response:
    return web.Response(status=503, text=text, headers={"Retry-After": "10"})
