"""Marks lines for systemd's journal with their priority, as sd-daemon(3) describes: `<3>` for an error.

Without a mark, the journal stores every line with the priority of information, and `journalctl -p err` finds nothing.
"""

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["Prioritized", "is_journal", "mark_unmarked"]

_PRIORITIES = MappingProxyType({"debug": 7, "info": 6, "warning": 4, "error": 3})
_LINE_START = re.compile("^(?=.)", re.MULTILINE)
_UNMARKED_LINE_START = re.compile(rb"^(?=.)(?!<[0-7]>)", re.MULTILINE)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether a stream is connected to the journal: JOURNAL_STREAM has its device and inode (systemd.exec(5)).

    The variable alone does not suffice, because a service may redirect its output.
    """
    try:
        device, inode = map(int, environ.get("JOURNAL_STREAM", "").split(":"))
        status = os.fstat(stream.fileno())
    except (ValueError, OSError):  # no such variable, or a stream without a descriptor
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


class Prioritized:
    """A processor that marks each line which another one renders with the priority of its level."""

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, method: str, line: EventDict) -> str:
        """Return the rendered and marked text."""
        mark = f"<{_PRIORITIES[line['level']]}>"
        return _LINE_START.sub(mark, str(self._renderer(logger, method, line)))


def mark_unmarked(text: bytes) -> bytes:
    """Return the lines of `text`, with the priority of an error if they have none: tracebacks, errors of a command."""
    return _UNMARKED_LINE_START.sub(b"<3>", text)
