"""docs/topics.md says what the tables say."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.publishing.contract import CONTRACT_VERSION
from scripts.topic_reference import DOCUMENT, REASONS, refreshed

_DOCUMENT = Path(__file__).parent.parent.parent / DOCUMENT


def test_the_document_is_what_the_tables_make() -> None:
    text = _DOCUMENT.read_text()
    assert text == refreshed(text), "run `python -m scripts.topic_reference`"


def test_the_document_names_the_contract_version() -> None:
    assert f"This is version {CONTRACT_VERSION} of the contract" in _DOCUMENT.read_text()


def test_a_stale_document_is_noticed() -> None:
    text = _DOCUMENT.read_text()
    stale = text.replace("| `error` | error state", "| `error` | fine")
    assert stale != text
    assert refreshed(stale) == text


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="'topics'"):
        refreshed("# Topics\n")


def test_every_reason_is_explained() -> None:
    assert list(REASONS) == list(Reason)
