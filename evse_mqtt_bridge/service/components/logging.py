"""Logging as a component: holds the logger in use, and reports dropped lines."""

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.observability.event_log import EventLog
from evse_mqtt_bridge.observability.log import Logger, make_logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.log_writer import LogWriter
from evse_mqtt_bridge.service.components.component import Component

__all__ = ["Logging"]


class Logging(Component):
    """Holds the logger, which a reload replaces if its level or format changes.

    Args:
        logger: The first logger.
        event_log: Writes with the logger in use.
        writer: Writes stderr; `None`: stderr is written directly, and no line is ever dropped.
    """

    def __init__(self, logger: Logger, event_log: EventLog, writer: LogWriter | None) -> None:
        self._logger = logger
        self._event_log = event_log
        self._writer = writer

    @property
    def logger(self) -> Logger:
        """The logger in use. Read it for each line, because a reload may replace it."""
        return self._logger

    @property
    def dropped_lines(self) -> int:
        """Number of lines that were dropped since the start, because stderr could not be written."""
        return self._writer.dropped if self._writer else 0

    def tick(self) -> None:
        """Log how many lines were dropped, once a line can be written again. Call it every few seconds."""
        if self._writer and (lines := self._writer.pop_dropped()):
            log_event(self._logger, LogEvent.LOG_LINES_DROPPED, lines=lines)

    def reconfigure(self, new: Config) -> None:
        """Switch to another level or format."""
        self._logger = self._event_log.log = make_logger(new.log.level, new.log.format)
