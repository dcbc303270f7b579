"""The energy between two measurements of a plug, and what counts as a gap."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.energy import Span, has_plausible_power, longest_span, span
from evse_mqtt_bridge.domain.model import PlugReading
from tests.harness.samples import NOW, plug_reading


def _measured(seconds: float, power: float | None) -> PlugReading:
    return plug_reading(power=power, time=NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("start", "end", "charged", "discharged"),
    [
        (7200.0, 7200.0, 120.0, 0.0),
        (0.0, 7200.0, 60.0, 0.0),
        (-7200.0, -3600.0, 0.0, 90.0),
        (3600.0, -3600.0, 15.0, 15.0),  # two triangles of half a minute
        (-7200.0, 3600.0, 10.0, 40.0),  # crosses zero after two thirds
        (0.0, 0.0, 0.0, 0.0),
    ],
)
def test_span_is_the_area_below_the_line(start: float, end: float, charged: float, discharged: float) -> None:
    between = span(_measured(0, start), _measured(60, end), 90, is_interrupted=False)
    assert between is not None
    assert (between.seconds, between.is_known) == (60, True)
    assert [between.charged, between.discharged] == pytest.approx([charged, discharged])


@pytest.mark.parametrize(
    ("seconds", "end", "is_interrupted"),
    [(91, 7200.0, False), (60, 7200.0, True), (60, None, False)],
    ids=["too long", "interrupted", "no power"],
)
def test_span_without_known_energy_is_a_gap(seconds: float, end: float | None, is_interrupted: bool) -> None:
    before, after = _measured(0, 7200), _measured(seconds, end)
    assert span(before, after, 90, is_interrupted=is_interrupted) == Span(seconds, 0, 0, is_known=False)


@pytest.mark.parametrize("seconds", [0, -30])
def test_span_to_a_time_that_is_not_later_is_none(seconds: float) -> None:
    assert span(_measured(0, 7200), _measured(seconds, 7200), 90, is_interrupted=False) is None


def test_span_without_a_time_is_none() -> None:
    assert span(_measured(0, 7200), plug_reading(time=None), 90, is_interrupted=False) is None
    assert span(plug_reading(time=None), _measured(0, 7200), 90, is_interrupted=False) is None


@pytest.mark.parametrize(("interval", "longest"), [(1, 90), (30, 90), (31, 93), (3600, 10_800)])
def test_longest_span_is_three_intervals_or_90_s(interval: float, longest: float) -> None:
    assert longest_span(interval) == longest


@pytest.mark.parametrize(
    ("power", "limit", "is_plausible"),
    [
        (22_000.0, 32.0, True),
        (22_000.0, 6.0, True),  # the limit was lowered, and the vehicle has not followed yet
        (31_000.0, 32.0, False),
        (44_000.0, 63.0, True),
        (-22_000.0, 32.0, True),
        (-31_000.0, 32.0, False),
        (99_000.0, None, True),
        (101_000.0, None, False),
        (None, 32.0, True),
    ],
)
def test_power_above_the_limit_of_the_plug_is_implausible(
    power: float | None, limit: float | None, is_plausible: bool
) -> None:
    assert has_plausible_power(plug_reading(power=power, dyn_current_limit=limit)) is is_plausible


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.floats(0.001, 1e4))
def test_span_energy_never_exceeds_power_times_time(start: float, end: float, seconds: float) -> None:
    between = span(_measured(0, start), _measured(seconds, end), 1e5, is_interrupted=False)
    if between is None:
        return  # shorter than the resolution of a time
    highest = max(abs(start), abs(end)) * between.seconds / 3600
    assert 0 <= between.charged <= highest * (1 + 1e-9)
    assert 0 <= between.discharged <= highest * (1 + 1e-9)
    signed = (start + end) / 2 * between.seconds / 3600
    assert between.charged - between.discharged == pytest.approx(signed, abs=1e-6)
