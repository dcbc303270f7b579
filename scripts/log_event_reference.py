"""Generates the table of log lines in docs/operations.md from the table of log events.

    python -m scripts.log_event_reference

Run it in the project's directory.
"""

from pathlib import Path

from evse_mqtt_bridge.observability.log_events import LogEvent
from scripts.generated_section import replace_section

__all__ = ["DOCUMENT", "refreshed", "table"]

DOCUMENT = Path("docs/operations.md")

_BEGIN = "<!-- generated from the table of log events: begin -->\n"
_END = "<!-- generated from the table of log events: end -->\n"


def table() -> str:
    """Return one row per log event, as Markdown."""
    rows = [f"| `{event.id}` | {event.level} | {event.text} | {event.meaning} |" for event in LogEvent]
    return "\n".join(["| event | level | text | meaning, and what to do |", "| --- | --- | --- | --- |", *rows])


def refreshed(page: str) -> str:
    """Return `page` with a new table between the two marks.

    Raises:
        ValueError: A mark is missing.
    """
    return replace_section(page, _BEGIN, _END, f"\n{table()}\n\n")


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
