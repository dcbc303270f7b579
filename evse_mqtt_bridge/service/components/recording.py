"""Recording as a component: writes the sessions and the energy of the plugs into the history.

The modules of the database need 2 MB, so they are imported only if the history is enabled.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Container
from typing import TYPE_CHECKING, NamedTuple

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.events import HistoryFailed, HistoryRestored, Listener
from evse_mqtt_bridge.domain.meter import Meter
from evse_mqtt_bridge.service.components.component import Component
from evse_mqtt_bridge.service.recorder import Recorder
from evse_mqtt_bridge.storage.sink import HistoryProblem, WriterCounts
from evse_mqtt_bridge.support.threads import in_daemon_thread

if TYPE_CHECKING:
    from evse_mqtt_bridge.storage.records import Plug
    from evse_mqtt_bridge.storage.writer import HistoryWriter

__all__ = ["Recorder", "Recording"]

Meters = dict[str, dict[str, Meter]]
"""Meters by station uuid and plug uuid."""

MetersRead = Callable[[Meters], None]

_LOAD_LIMIT = 5.0  # seconds, for meters
_CLOSE_LIMIT = 2.0  # seconds, for the last transaction


class _Read(NamedTuple):
    """See `Recording.read_meters`."""

    stations: Collection[str]
    on_read: MetersRead


class Recording(Component):
    """Keeps the history of a configuration.

    Args:
        config: The configuration.
        recorder: Derives the records.
        listener: Receives the events of the database.
    """

    def __init__(self, config: Config, recorder: Recorder, listener: Listener) -> None:
        self.ending: Callable[[], None] = _ignore
        """Called before the writer ends, so that the recorder can get what is not recorded yet."""
        self._recorder = recorder
        self._settings = config.history
        self._listener = listener
        self._writer: HistoryWriter | None = None
        self._reads: list[_Read] = []
        """The reads of meters that no writer has answered."""
        self._is_first_attempt_over = asyncio.Event()
        self.counts = WriterCounts()
        """What the current or last writer has done."""

    def read_meters(self, stations: Collection[str], on_read: MetersRead) -> None:
        """Read the meters that were written last, now or when the writer starts.

        Args:
            stations: The uuids of the stations whose meters are read.
            on_read: Called once, as soon as the database answers; with no meters if that is not to be expected.
        """
        read = _Read(stations, on_read)
        self._reads.append(read)
        if not self._settings.enabled:
            self._pass_meters(read, {})
        elif self._writer is not None:
            self._pass_to_writer(self._writer, read)

    async def wait_for_meters(self) -> None:
        """Wait some seconds for the first meters that are read, unless the first attempt fails."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOAD_LIMIT):
                await self._is_first_attempt_over.wait()

    async def meters_of(self, stations: Container[str]) -> Meters:
        """Return the meters of stations, by station uuid and plug uuid; none if they cannot be read in time."""
        if not self._settings.enabled:
            return {}
        from evse_mqtt_bridge.storage.database import DatabaseError  # noqa: PLC0415  # see the module
        from evse_mqtt_bridge.storage.location import database_url  # noqa: PLC0415

        url = database_url(self._settings, os.environ)
        try:
            async with asyncio.timeout(_LOAD_LIMIT):
                return _by_station(await in_daemon_thread(lambda: _load(url, stations), "history-load"))
        except (DatabaseError, TimeoutError):
            return {}  # the writer reports the error

    async def start(self) -> None:
        """Start the writer, if the history is enabled."""
        if not self._settings.enabled:
            for read in list(self._reads):
                self._pass_meters(read, {})
            return
        from evse_mqtt_bridge.storage.location import database_url, retention  # noqa: PLC0415  # see the module
        from evse_mqtt_bridge.storage.writer import HistoryWriter  # noqa: PLC0415

        loop = asyncio.get_running_loop()

        def report(problem: HistoryProblem) -> None:
            loop.call_soon_threadsafe(self._report, problem)

        writer = HistoryWriter(database_url(self._settings, os.environ), retention(self._settings), report)
        for read in self._reads:
            self._pass_to_writer(writer, read)
        writer.start()
        self._writer, self.counts = writer, writer.counts
        self._recorder.use(writer)

    async def stop(self) -> None:
        """Write what waits, and end the writer; a database that does not answer is left after a moment."""
        self.ending()
        self._recorder.use(None)
        writer, self._writer = self._writer, None
        if writer is not None:
            await in_daemon_thread(lambda: writer.close(_CLOSE_LIMIT), "history-close")

    def reconfigure(self, new: Config) -> None:
        """Switch to other settings. See `Component`."""
        self._settings = new.history

    def _pass_to_writer(self, writer: "HistoryWriter", read: _Read) -> None:
        loop = asyncio.get_running_loop()
        writer.read_meters(read.stations, lambda found: loop.call_soon_threadsafe(self._pass_meters, read, found))

    def _pass_meters(self, read: _Read, found: "dict[Plug, Meter]") -> None:
        if read in self._reads:  # else the writer of other settings has answered
            self._reads.remove(read)
            read.on_read(_by_station(found))
        self._is_first_attempt_over.set()

    def _report(self, problem: HistoryProblem) -> None:
        self._is_first_attempt_over.set()
        if problem.error:
            self._listener.history_failed(HistoryFailed(problem.error, problem.set_aside))
        else:
            self._listener.history_restored(HistoryRestored())


def _ignore() -> None:
    """Do nothing."""


def _load(url: str, stations: Container[str]) -> "dict[Plug, Meter]":
    from evse_mqtt_bridge.storage.database import Database  # noqa: PLC0415  # see the module

    database = Database(url, is_report=True)  # without the check of the whole file, which can take seconds
    try:
        return database.meters(stations)
    finally:
        database.close()


def _by_station(found: "dict[Plug, Meter]") -> Meters:
    meters: dict[str, dict[str, Meter]] = {}
    for plug, meter in found.items():
        meters.setdefault(plug.station, {})[plug.uuid] = meter
    return meters
