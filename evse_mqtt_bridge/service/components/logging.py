"""Logging as a component: the logger in use."""

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.observability.log import Logger, make_logger

__all__ = ["Logging"]


class Logging:
    """Holds the logger, which a reload replaces if its level or format changes."""

    def __init__(self, logger: Logger, event_log: EventLog) -> None:
        self._logger = logger
        self._event_log = event_log

    @property
    def logger(self) -> Logger:
        """The logger in use. Ask for it for each line."""
        return self._logger

    async def prepare(self, new: Config) -> None:
        """Nothing to prepare. See `Component`."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def reconfigure(self, new: Config) -> None:
        """Use another level or format."""
        self._logger = self._event_log.log = make_logger(new.log.level, new.log.format)
