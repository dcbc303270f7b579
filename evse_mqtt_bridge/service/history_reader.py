"""Reads the history for the status page, in threads: bounded, limited in time, and with a cache.

Each read opens the database anew, so it follows a database that was replaced, restarted or set aside. Requests for the
same report share one read, and its result for some seconds.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from evse_mqtt_bridge.config.schema import Config, History
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service.components.component import Component
from evse_mqtt_bridge.storage.report_request import HistoryUnavailableError, ReportRequest
from evse_mqtt_bridge.support.tasks import shared_result
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["DISABLED", "HistoryReader"]

DISABLED = "history.enabled is false, so no history is kept"
"""Why a bridge without a history has no reports."""

_CONCURRENT = 2  # reads at a time
_MOST_READS = 16  # running and waiting for their turn
_TIME_LIMIT = 10.0  # seconds, for a read with its wait
_LIFETIME = 20.0  # seconds, of a cached result
_CACHED_RESULTS = 100
_CACHED_SIZE = 64 * 1024  # bytes; larger results are not kept

_Key = ReportRequest | None  # `None`: the overview


@dataclass(frozen=True, slots=True)
class _Read:
    """A read that is under way or cached.

    Attributes:
        task: Returns the result.
        expires: When the result is too old; monotonic seconds.
    """

    task: asyncio.Task[bytes]
    expires: float


class HistoryReader(Component):
    """Reads the history of a configuration.

    Args:
        config: The configuration.
        clock: The clock of the bridge.
        write_error: Returns why the history could not be written last; empty: it could.
    """

    def __init__(self, config: Config, clock: Clock, write_error: Callable[[], str]) -> None:
        self._settings = config.history
        self._clock = clock
        self._write_error = write_error
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._reads: dict[_Key, _Read] = {}

    def reconfigure(self, new: Config) -> None:
        """Read from the database of the new settings."""
        self._settings = new.history
        self._reads.clear()

    async def overview(self) -> bytes:
        """Return the state of the history with the energy of today and of this month, as JSON."""
        error, content = "", b"{}"
        if self._settings.enabled:
            try:
                content = await self._result(None, partial(_overview, self._settings, self._clock.utc()))
            except HistoryUnavailableError as unavailable:
                error = str(unavailable)
            if not error and (write_error := self._write_error()):
                error = f"the history cannot be written at the moment: {write_error}"
        else:
            error = DISABLED
        state = {"enabled": self._settings.enabled, "error": error}
        return json.dumps({**state, **json.loads(content)}).encode()

    async def report(self, request: ReportRequest) -> bytes:
        """Return a report.

        Raises:
            HistoryUnavailableError: The history is disabled, busy, or cannot be read.
            ReportRequestError: The request is invalid.
        """
        if not self._settings.enabled:
            raise HistoryUnavailableError(DISABLED)
        return await self._result(request, partial(_report, self._settings, request, self._clock.utc()))

    async def _result(self, key: _Key, read: Callable[[], bytes]) -> bytes:
        now = self._clock.monotonic()
        known = self._reads.get(key)
        if known is None or now >= known.expires:
            if sum(not each.task.done() for each in self._reads.values()) >= _MOST_READS:
                raise HistoryUnavailableError("too many reports are requested at the same time; try again later")
            known = _Read(asyncio.create_task(self._run(read), name="history read"), now + _LIFETIME)
            known.task.add_done_callback(partial(self._done, key))
            self._reads[key] = known
        return await shared_result(known.task)  # other requests may wait for the same result

    def _done(self, key: _Key, task: asyncio.Task[bytes]) -> None:
        """Forget a result that is not worth keeping, and old ones."""
        # Reading the exception here marks it as handled, if every client has gone away meanwhile.
        is_kept = not task.cancelled() and task.exception() is None and len(task.result()) <= _CACHED_SIZE
        known = self._reads.get(key)
        if known is not None and known.task is task and not is_kept:
            del self._reads[key]
        now = self._clock.monotonic()
        done = [each for each, read in self._reads.items() if read.task.done()]
        for each in done:
            if now >= self._reads[each].expires or len(self._reads) > _CACHED_RESULTS:
                del self._reads[each]

    async def _run(self, read: Callable[[], bytes]) -> bytes:
        loop = asyncio.get_running_loop()

        def work() -> bytes:
            try:
                return read()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._slots.release)

        try:
            async with asyncio.timeout(_TIME_LIMIT):
                # The thread returns its slot at its end, which may be after the time limit.
                await self._slots.acquire()
                return await in_daemon_thread(work, "history-read")
        except TimeoutError:
            raise HistoryUnavailableError(f"the database did not answer within {_TIME_LIMIT:g} s") from None


def _overview(settings: History, now: datetime) -> bytes:
    from evse_mqtt_bridge.storage.reports import open_history, overview  # noqa: PLC0415  # needs 2 MB

    with open_history(settings, os.environ, _TIME_LIMIT) as (database, zone):
        return json.dumps({"time_zone": str(zone), **overview(database, zone, now)}).encode()


def _report(settings: History, request: ReportRequest, now: datetime) -> bytes:
    from evse_mqtt_bridge.storage.reports import open_history, read_report  # noqa: PLC0415  # needs 2 MB

    with open_history(settings, os.environ, _TIME_LIMIT) as (database, zone):
        return read_report(database, request, zone, now)
