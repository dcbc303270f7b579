"""Creates the logger: console lines for people or one JSON object per line for machines, on stderr, with UTC times.

A JSON line has the text as `message` and the id of the kind of line (log_events.py) as `event`. A console line has
only the text, because programs that filter by id read JSON.
"""

import contextlib
import io
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from evse_mqtt_bridge.observability.journal import Prioritized, is_journal
from evse_mqtt_bridge.support.colours import wants_colours

__all__ = ["LEVELS", "Level", "Logger", "make_logger"]

Logger = FilteringBoundLogger

Level = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[Level, int] = MappingProxyType({"debug": 10, "info": 20, "warning": 30, "error": 40})
"""The number of each level; a logger writes the lines of its own level and above."""


class _LenientStream(io.TextIOBase):
    """A stream that ignores write errors: a full disk or a closed pipe must not stop the bridge."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def make_logger(
    level: Level = "info",
    form: Literal["console", "json"] = "console",
    stream: TextIO | None = None,
) -> Logger:
    """Return a logger with its own settings; structlog's global settings stay unchanged.

    Tracebacks are plain in both forms, because structlog's rich tracebacks show local variables, which include tokens.
    The environment decides about colours (support/colours.py). Lines for systemd's journal have priorities.
    """
    stream = stream or sys.stderr
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
    ]
    if form == "json":
        processors += [
            structlog.processors.format_exc_info,
            _rename_text_and_id,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        processors += [
            _drop_id,
            structlog.dev.ConsoleRenderer(
                colors=wants_colours(stream, os.environ),
                pad_event_to=0,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    if is_journal(stream, os.environ):
        processors[-1] = Prioritized(processors[-1])
    logger: Logger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _LenientStream(stream))),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return logger


def _rename_text_and_id(_log: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Move the text, which structlog calls `event`, to `message`, and the id to `event`."""
    line["message"] = line.pop("event")
    if "event_id" in line:
        line["event"] = line.pop("event_id")
    return line


def _drop_id(_log: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    line.pop("event_id", None)
    return line
