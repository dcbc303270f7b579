"""The table of log lines, and that every line of the package is in it."""

import re
from pathlib import Path

import pytest

import evse_mqtt_bridge
from evse_mqtt_bridge.observability.log_events import LogEvent

_PACKAGE = Path(evse_mqtt_bridge.__file__).parent
_SOURCES = {path.relative_to(_PACKAGE).as_posix(): path.read_text() for path in _PACKAGE.rglob("*.py")}

_PUBLISHED_IDS = frozenset(
    {
        "bridge_started",
        "bridge_stopped",
        "bridge_stopping",
        "history_failed",
        "history_restored",
        "broker_connected",
        "broker_connection_lost",
        "broker_connection_rejected",
        "broker_connection_unstable",
        "broker_login_rejected",
        "broker_reconnected",
        "broker_still_disconnected",
        "broker_tls_failed",
        "broker_unreachable",
        "client_id_in_use",
        "clock_changed",
        "cloud_answering",
        "cloud_rate_limited",
        "cloud_rejecting",
        "configuration_applied",
        "counters_start_at_zero",
        "configuration_rejected",
        "configuration_warning",
        "consumer_started",
        "engine_available",
        "engine_refused",
        "engine_unavailable",
        "event_loop_error",
        "fleet_conflict",
        "fleet_conflict_resolved",
        "http_library_slow",
        "few_file_descriptors",
        "lines_suppressed",
        "log_lines_dropped",
        "offline_not_acknowledged",
        "other_bridge_stopped",
        "same_stations",
        "topics_disturbed",
        "plug_available_again",
        "plug_removed",
        "plug_unavailable",
        "poll_failed",
        "older_version_used",
        "publish_forbidden",
        "publish_rejected",
        "restore_uncertain",
        "secret_replaced",
        "secret_unreadable",
        "shard_begun",
        "shard_handed_over",
        "shard_lost",
        "station_available",
        "station_available_again",
        "station_rejected",
        "station_still_unavailable",
        "station_unavailable",
        "status_page_available",
        "status_page_request_failed",
        "status_page_still_unavailable",
        "status_page_unavailable",
        "subscription_rejected",
        "unusual_answer",
    }
)


@pytest.mark.parametrize("event", LogEvent)
def test_log_event_has_snake_case_id_text_and_meaning(event: LogEvent) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event.id)
    assert event.text
    assert event.text[-1] not in ".:"
    assert event.meaning.endswith(".")


def test_log_event_ids_are_those_that_were_published() -> None:
    ids = {event.id for event in LogEvent}
    assert not _PUBLISHED_IDS - ids, "filters use these ids: a kind of line may be added, never renamed or removed"
    assert not ids - _PUBLISHED_IDS, "add the id of the new kind of line to _PUBLISHED_IDS"


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
