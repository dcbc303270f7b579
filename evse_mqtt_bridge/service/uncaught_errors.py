"""Handles exceptions that nothing else catches: a bug ends the process, a system error is logged."""

import asyncio
from collections.abc import Callable

from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.rate_limiter import RateLimiter

__all__ = ["LINES_PER_MINUTE", "UncaughtErrors"]

LINES_PER_MINUTE = 6
"""Maximum number of log lines about such errors per minute; further ones are only counted."""


class UncaughtErrors:
    """Receives exceptions from callbacks of the event loop and from requests to the status page.

    Args:
        log: Returns the logger in use.
        now: Returns monotonic seconds.
    """

    def __init__(self, log: Callable[[], Logger], now: Callable[[], float]) -> None:
        self.bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises the first bug. Without one it never completes."""
        self._log = log
        self._now = now
        self._rate_limiter = RateLimiter(LINES_PER_MINUTE)

    def handle(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Handle an exception instead of asyncio, which only logs it: a bug in a callback must end the process."""
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, OSError) and not self.bug.done():
            self.bug.set_exception(error)
            return
        detail = str(context.get("message"))
        if isinstance(error, OSError) and error.strerror:
            detail = f"{detail}: {error.strerror}"
        self._report(LogEvent.EVENT_LOOP_ERROR, detail=detail)

    def request_failed(self, error: BaseException) -> None:
        """Log the bug that failed a request to the status page. Polling and publishing continue."""
        self._report(LogEvent.STATUS_PAGE_REQUEST_FAILED, exc_info=error)

    def _report(self, event: LogEvent, **fields: object) -> None:
        now = self._now()
        if suppressed := self._rate_limiter.pop_suppressed(now):
            fields["suppressed"] = suppressed
        if self._rate_limiter.allows(now):
            log_event(self._log(), event, **fields)
