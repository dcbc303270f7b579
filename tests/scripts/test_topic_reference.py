"""The tables in docs/topics.md are current."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION
from scripts.topic_reference import DOCUMENT, REASONS, refreshed

_DOCUMENT = Path(__file__).parent.parent.parent / DOCUMENT


def test_page_is_up_to_date() -> None:
    text = _DOCUMENT.read_text()
    assert text == refreshed(text), "run `python -m scripts.topic_reference`"


def test_page_states_the_contract_version() -> None:
    assert f"This is version {CONTRACT_VERSION} of the contract" in _DOCUMENT.read_text()


def test_refreshed_replaces_stale_table() -> None:
    text = _DOCUMENT.read_text()
    stale = text.replace("| `error` | error state", "| `error` | fine")
    assert stale != text
    assert refreshed(stale) == text


def test_refreshed_page_without_marks_raises() -> None:
    with pytest.raises(ValueError, match="a mark is missing: <!-- topics"):
        refreshed("# Topics\n")


def test_every_reason_has_a_description() -> None:
    assert list(REASONS) == list(Reason)
