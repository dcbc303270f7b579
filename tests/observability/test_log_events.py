"""The table of log lines, and that every line of the package is in it."""

import re
from pathlib import Path

import pytest

import evse_mqtt_bridge
from evse_mqtt_bridge.observability.log_events import LogEvent

_PACKAGE = Path(evse_mqtt_bridge.__file__).parent
_SOURCES = {path.relative_to(_PACKAGE).as_posix(): path.read_text() for path in _PACKAGE.rglob("*.py")}


@pytest.mark.parametrize("event", LogEvent)
def test_log_event_has_snake_case_id_text_and_meaning(event: LogEvent) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event.id)
    assert event.text
    assert event.text[-1] not in ".:"
    assert event.meaning.endswith(".")


def test_log_events_have_unique_texts() -> None:
    assert len({event.text for event in LogEvent}) == len(LogEvent)


@pytest.mark.parametrize("event", LogEvent)
def test_log_event_is_used(event: LogEvent) -> None:
    assert any(f"LogEvent.{event.name}" in source for source in _SOURCES.values())


def test_every_log_call_has_an_event_id() -> None:
    calls = {
        file
        for file, source in _SOURCES.items()
        if re.search(r"\b_?log(?:ger)?(?:\(\))?\.(?:debug|info|warning|error|exception|critical|log)\(", source)
    }
    assert calls == {"observability/log_events.py"}
