"""The readings of the history: each hour has what arrived before its end, and all hours have what the meter counted."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.meter import Meter, count
from evse_mqtt_bridge.domain.readings import PlugReading
from evse_mqtt_bridge.storage.records import Plug, ReadingRecord, reading_time, records

_PLUG = Plug("station", "p1")
_HOUR = datetime(2026, 3, 28, 23, tzinfo=UTC)


def _at(seconds: float) -> datetime:
    return _HOUR + timedelta(seconds=seconds)


def _meter(charged: float, gap: float = 0.0) -> Meter:
    return Meter(charged, gap=gap, counted=PlugReading("p1", status="charging", time=_HOUR))


def _readings(old: Meter, new: Meter, before: float, after: float) -> list[tuple[float, float, float]]:
    """Return the hours, relative to _HOUR, the energy and the gap of the readings that follow from a measurement."""
    found = [each for each in records(_PLUG, old, new, _at(before), _at(after)) if isinstance(each, ReadingRecord)]
    return [((each.hour - _HOUR) / timedelta(hours=1), each.charged, each.gap) for each in found]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (-40, -10, [(0, 150, 0)]),
        (-10, 20, [(0, 100, 0), (1, 150, 0)]),
        (-30, 0, [(0, 100, 0), (1, 150, 0)]),
        (0, 30, [(1, 150, 0)]),
        (-10, 7220, [(0, 100, 0), (3, 150, 0)]),
    ],
)
def test_energy_counts_in_the_hour_of_its_arrival(
    before: float, after: float, expected: list[tuple[float, float, float]]
) -> None:
    assert _readings(_meter(100), _meter(150), before, after) == expected


def test_gap_is_spread_over_its_hours() -> None:
    old, new = _meter(100, gap=60), _meter(100, gap=60 + 7800)
    assert _readings(old, new, -600, 7200) == [
        (0, 100, 660),
        (1, 100, 4260),
        (2, 100, 7860),
        (3, 100, 7860),
    ]


def test_gap_of_an_idle_plug_begins_when_it_begins() -> None:
    """The last change of the meter may be hours before the gap."""
    old, new = _meter(100), _meter(100, gap=600)
    assert _readings(old, new, -7000, 3900) == [(-1, 100, 0), (1, 100, 300), (2, 100, 600)]


def test_gap_of_a_year_creates_few_readings() -> None:
    year = 365 * 86_400.0
    readings = _readings(_meter(100), _meter(100, gap=year), -10, year)
    assert len(readings) < 52
    assert readings[-1][1:] == (100, year)


@pytest.mark.parametrize(
    ("measured", "arrived", "expected"),
    [
        (0, 4, 4),
        (4, 0, 0),
        (0, 120, 120),
        (0, 121, 0),
        (0, -300, 0),
        (None, 300, 300),
    ],
)
def test_reading_has_the_time_of_a_credible_arrival(measured: float | None, arrived: float, expected: float) -> None:
    assert reading_time(None if measured is None else _at(measured), _at(arrived)) == _at(expected)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([5.0, 30.0, 55.0, 600.0, 3600.0, 50_000.0]),
            st.sampled_from([0.0, 3000.0, 11_000.0, -2000.0]),
            st.sampled_from(["charging", "connected", "idle"]),
        ),
        max_size=60,
    )
)
def test_hours_add_up_to_the_meter(steps: list[tuple[float, float, str]]) -> None:
    meter, time, before = Meter(), _at(-100), _at(-100)
    rows: dict[datetime, ReadingRecord] = {}
    for seconds, power, status in steps:
        time += timedelta(seconds=seconds)
        new = count(meter, PlugReading("p1", status=status, power=power, time=time), 90.0)
        found = list(records(_PLUG, meter, new, before, time))
        rows |= {each.hour: each for each in found if isinstance(each, ReadingRecord)}
        if found:
            before = time
        meter = new
        ordered = [rows[hour] for hour in sorted(rows)]
        for count_of in ("charged", "discharged", "gap"):
            counts = [getattr(each, count_of) for each in ordered]
            assert counts == sorted(counts)
            assert (counts or [0.0])[-1] == getattr(meter, count_of)
