"""The table of log lines in docs/operations.md is current."""

from pathlib import Path

import pytest

from scripts.log_event_reference import DOCUMENT, refreshed

_PAGE = Path(__file__).parents[2] / DOCUMENT


def test_table_of_log_events_is_current() -> None:
    page = _PAGE.read_text()
    assert page == refreshed(page), "run `python -m scripts.log_event_reference`"


def test_outdated_table_of_log_events_is_replaced() -> None:
    page = _PAGE.read_text()
    outdated = page.replace("| `station_rejected` | error |", "| `station_rejected` | info |")
    assert outdated != page
    assert refreshed(outdated) == page


def test_page_without_marks_is_rejected() -> None:
    with pytest.raises(ValueError, match="a mark is missing"):
        refreshed("# Operations\n")
