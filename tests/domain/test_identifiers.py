"""Identifiers, and aliases made from names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.identifiers import is_alias, suggest_alias


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("Plug 1", "plug-1"),
        ("  Säule  Nord / links!", "saule-nord-links"),
        ("garage_north", "garage_north"),
        ("北", "北"),
        ("--", ""),
        ("", ""),
        ("x" * 70, "x" * 64),
        ("x" * 63 + " y", "x" * 63),
    ],
)
def test_suggest_alias_keeps_letters_and_digits(name: str, alias: str) -> None:
    assert suggest_alias(name) == alias


@given(st.text())
def test_suggest_alias_is_empty_or_valid(name: str) -> None:
    alias = suggest_alias(name)
    assert alias == "" or is_alias(alias)
