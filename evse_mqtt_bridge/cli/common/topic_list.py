"""The topics of a configuration as text: a line per topic, or, if that is too wide, grouped by their prefix. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len

from evse_mqtt_bridge.cli.common.columns import Columns, widest
from evse_mqtt_bridge.publishing.contract import Kind, TopicRow

__all__ = ["plain_text", "topic_lines"]

_INDENT = "  "
_KIND_WIDTH = max(len(kind) for kind in Kind)
_UNIT_WIDTH = 2
_MIN_DESCRIPTION_WIDTH = 20


def topic_lines(rows: Sequence[TopicRow], width: int) -> Iterator[str]:
    """Yield one line per topic if every line fits into `width` cells, else a heading per prefix with its topics."""
    lines = list(_lines([row.topic for row in rows], rows))
    if not lines or widest(lines) <= width:
        yield from lines
        return
    for prefix, group in groupby(rows, key=lambda row: row.topic.rpartition("/")[0]):
        topics = list(group)
        yield f"{prefix}/"
        names = [row.topic.rpartition("/")[2] for row in topics]
        yield from (_INDENT + line for line in _lines(names, topics, width - len(_INDENT)))


def plain_text(description: str) -> str:
    """Return a description without its Markdown."""
    return description.replace("`", "")


def _lines(names: Sequence[str], rows: Sequence[TopicRow], width: int | None = None) -> Iterator[str]:
    """Yield a line per row, with descriptions wrapped to `width`; `None`: not wrapped. Ids are never wrapped."""
    columns = Columns([widest(names), _KIND_WIDTH, _UNIT_WIDTH])
    for name, row in zip(names, rows, strict=True):
        start, text = columns.row([name, row.kind, row.unit]), plain_text(row.description)
        if width is None:
            yield start + text
            continue
        indent = " " * cell_len(start)
        if width - len(indent) < _MIN_DESCRIPTION_WIDTH:  # the description gets lines of its own
            yield start.rstrip()
            start, indent = _INDENT, _INDENT
        limit = max(width - len(indent), _MIN_DESCRIPTION_WIDTH)
        first, *others = textwrap.wrap(text, limit, break_long_words=False, break_on_hyphens=False) or [""]
        yield start + first
        yield from (indent + part for part in others)
