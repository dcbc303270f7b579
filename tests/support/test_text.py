"""Cleaned text fits on one line, is visible and has a limited length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.support.text import clean

_any_text = st.text(st.characters())  # including lone surrogates, which environment variables can contain


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Garage north", "Garage north"),
        ("  Garage \t north ", "Garage north"),
        ("a\r\nb", "a b"),
        ("a\x1b[31mb", "a [31mb"),
        ("a\x00b", "a b"),
        ("a\x85b\u2028c\u2029d", "a b c d"),
        ("\u202egarage", "garage"),
        ("a\u00adb\u2060c\u061cd\U000e0041e", "a b c d e"),
        ("a\ud800b", "a b"),
        ("Straße 5 ⚡ (+/#) {{ x }}", "Straße 5 ⚡ (+/#) {{ x }}"),
        ("", ""),
        ("\n", ""),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 63 + "…"),
    ],
)
def test_clean_returns_one_visible_line(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(_any_text | _any_text.map(lambda text: text * 50), st.integers(1, 80))
def test_clean_of_any_text_returns_one_visible_line(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.isprintable()
    assert cleaned.strip() == cleaned
    assert "  " not in cleaned
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode()
    assert clean(cleaned, limit) == cleaned
