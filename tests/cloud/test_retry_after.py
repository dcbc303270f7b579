"""The Retry-After header: seconds or a date, in every form that servers send."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.cloud.retry_after import retry_after

_SERVER = datetime(2024, 3, 25, 11, 12, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("1.5", 1.5),
        ("0", 1),
        ("-5", 1),
        ("3600", 3600),
        ("3601", 3600),
        ("99999999999999999999999", 3600),
        ("9" * 5000, 3600),
        ("1e400", 3600),
        ("inf", 3600),
        ("-inf", 1),
        ("Mon, 25 Mar 2024 11:14:20 GMT", 120),
        ("Monday, 25-Mar-24 11:14:20 GMT", 120),
        ("Mon Mar 25 11:14:20 2024", 120),
        ("Mon, 25 Mar 2024 13:14:20 +0200", 120),
        ("Mon, 25 Mar 2024 11:14:20 -0000", 120),
        ("Mon, 25 Mar 2024 11:00:00 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
    ],
)
def test_retry_after_is_kept_within_bounds(value: str, seconds: float) -> None:
    assert retry_after(value, _SERVER) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "nan",
        "soon",
        "12 parsecs",
        "0x10",
        "1,5",
        "Mon, 25 Mar",
        "Mon, 99 Foo 2024 11:14:20 GMT",
        "\x00",
        "ü",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 2024 00:00:00 +9900",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_invalid_retry_after_is_ignored(value: str) -> None:
    assert retry_after(value, _SERVER) is None


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,20} [A-Z][a-z]{2} [0-9]{1,20} [0-9:]{1,12} [+-]?[0-9A-Z]{0,20}")
)
def test_no_retry_after_exceeds_an_hour_or_raises(value: str) -> None:
    seconds = retry_after(value, _SERVER)
    assert seconds is None or (1 <= seconds <= 3600 and not math.isnan(seconds))


def test_retry_after_as_a_date_counts_from_now() -> None:
    later = _SERVER + timedelta(minutes=10)
    assert retry_after(later.strftime("%a, %d %b %Y %H:%M:%S GMT"), _SERVER) == 600
