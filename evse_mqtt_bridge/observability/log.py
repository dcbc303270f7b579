"""Log lines: for people on a console, or one JSON object a line for machines; always to stderr, in UTC."""

import contextlib
import io
import sys
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

__all__ = ["Logger", "make_logger"]

Logger = FilteringBoundLogger

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Lenient(io.TextIOBase):
    """A stream that swallows what cannot be written: a full disk or a reader that went must not end the bridge."""

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
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["console", "json"] = "console",
    stream: TextIO | None = None,
) -> Logger:
    """A logger that owns its settings, so that nothing global changes with it.

    Tracebacks are plain in both forms: the ones that show local variables would show tokens.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
    ]
    if form == "json":
        shared += [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        shared.append(
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        )
    logger: Logger = structlog.wrap_logger(
        structlog.PrintLogger(cast("TextIO", _Lenient(stream))),
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return logger
