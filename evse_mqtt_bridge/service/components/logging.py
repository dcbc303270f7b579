"""Logging as a component: holds the logger in use."""

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.observability.log import Logger, make_logger
from evse_mqtt_bridge.service.components.component import Component

__all__ = ["Logging"]


class Logging(Component):
    """Holds the logger, which a reload replaces if its level or format changes."""

    def __init__(self, logger: Logger, event_log: EventLog) -> None:
        self._logger = logger
        self._event_log = event_log

    @property
    def logger(self) -> Logger:
        """The logger in use. Read it for each line, because a reload may replace it."""
        return self._logger

    def reconfigure(self, new: Config) -> None:
        """Switch to another level or format."""
        self._logger = self._event_log.log = make_logger(new.log.level, new.log.format)
