"""The web server as a component: the status page, metrics and health probes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.service.components.component import Component
from evse_mqtt_bridge.support.net import host_and_port
from evse_mqtt_bridge.web.limits import ConnectionLimits

if TYPE_CHECKING:
    from evse_mqtt_bridge.web.server import Server
    from evse_mqtt_bridge.web.source import StatusSource

__all__ = ["WebServer"]


class WebServer(Component):
    """Serves the status page if it is enabled. The bridge works without it, so a port in use is not an error.

    Args:
        config: The configuration.
        source: What the page shows.
        history: Kept only while the page is enabled, because it takes memory for each station.
        log: Returns the present logger, which a reload may replace.
        limits: The limits for connections.
    """

    def __init__(
        self,
        config: Config,
        source: "StatusSource",
        history: History,
        log: Callable[[], Logger],
        limits: ConnectionLimits,
    ) -> None:
        self._settings = config.http
        self._source = source
        self._history = history
        self._log = log
        self._limits = limits
        self._server: Server | None = None

    async def start(self) -> None:
        """Start listening. On failure, log it, and leave further attempts to `retry`."""
        self._history.keep(is_kept=self._settings.enabled)
        if not self._settings.enabled:
            return
        error = await self._listen()
        if error:
            log_event(
                self._log(),
                LogEvent.STATUS_PAGE_UNAVAILABLE,
                address=self._address,
                detail=error,
                advice="set http.port, or http.enabled = false",
            )

    async def retry(self) -> None:
        """Start listening if an earlier attempt failed."""
        if self._settings.enabled and (self._server is None or not self._server.is_listening):
            error = await self._listen()
            if error:
                log_event(self._log(), LogEvent.STATUS_PAGE_STILL_UNAVAILABLE, address=self._address, detail=error)

    async def stop(self) -> None:
        """Close every connection, and stop listening."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()

    def reconfigure(self, new: Config) -> None:
        """Use the new settings from the next start on."""
        self._settings = new.http

    @property
    def _address(self) -> str:
        return host_and_port(self._settings.host, self._settings.port)

    async def _listen(self) -> str:
        """Make one attempt; return why it failed, or an empty text."""
        # Imported when it is needed: aiohttp takes 8 MB of memory, which a bridge without a status page saves.
        from evse_mqtt_bridge.web.server import Server  # noqa: PLC0415

        self._server = Server(self._settings, self._source, self._limits)
        error = await self._server.start()
        if not error:
            log_event(self._log(), LogEvent.STATUS_PAGE_AVAILABLE, address=f"http://{self._address}/")
        return error
