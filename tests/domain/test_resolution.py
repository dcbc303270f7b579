"""Rounding: noise is no change, and a rounded value is close to the reported one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.model import PlugReading, StationState
from evse_mqtt_bridge.domain.resolution import Resolution, rounded
from evse_mqtt_bridge.publishing.payloads import number
from tests.harness.samples import at, numeric_values, plug_reading, reading

_values = st.floats(-1e6, 1e6)
_decimals = st.integers(0, 6)


def _currents(*values: float, decimals: int = 2) -> list[float | None]:
    """Return the rounded current after each of these values."""
    last, found = None, []
    for value in values:
        last = rounded(PlugReading("p1", current_l1=value), last, Resolution(current_decimals=decimals))
        found.append(last.current_l1)
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((10.300000190734863, 10.299999237060547, 10.300000190734863), [10.3, 10.3, 10.3]),
        ((10.305000305175781, 10.304999351501465), [10.31, 10.31]),
        ((10.304999351501465, 10.305000305175781), [10.3, 10.3]),
        ((10.3, 10.306, 10.307, 10.31, 10.3), [10.3, 10.3, 10.31, 10.31, 10.3]),
        ((0.0001, -0.0001), [0.0, 0.0]),
        ((-0.001, 32.0, 6.0), [0.0, 32.0, 6.0]),
    ],
)
def test_noise_is_no_change(values: tuple[float, ...], expected: list[float]) -> None:
    found = _currents(*values)
    assert found == expected
    assert "-0.0" not in map(str, found)


@given(_values, st.lists(st.floats(-0.04, 0.04), min_size=1, max_size=8), _decimals)
def test_noise_below_a_tenth_of_a_step_is_no_change(value: float, noise: list[float], decimals: int) -> None:
    assert len(set(_currents(*(value + each * 10**-decimals for each in noise), decimals=decimals))) == 1


@given(st.lists(_values, min_size=1, max_size=8), _decimals)
def test_rounded_value_is_near_and_has_few_decimals(values: list[float], decimals: int) -> None:
    for value, found in zip(values, _currents(*values, decimals=decimals), strict=True):
        assert found is not None
        assert abs(found - value) <= 0.601 * 10**-decimals
        assert len(number(found).partition(".")[2]) <= decimals


def test_each_quantity_has_its_resolution() -> None:
    one = PlugReading("p1", "L", "idle", 7107.04, 1.234, 2.345, 3.456, 6.789)
    assert rounded(one, None, Resolution()) == PlugReading("p1", "L", "idle", 7107.0, 1.23, 2.35, 3.46, 6.79)
    assert rounded(one, None, Resolution(0, 1)) == PlugReading("p1", "L", "idle", 7107.0, 1.2, 2.3, 3.5, 6.8)


@given(numeric_values, numeric_values)
def test_fifteen_decimals_keep_what_is_reported(first: float | None, second: float | None) -> None:
    resolution = Resolution(15, 15)
    last = rounded(PlugReading("p1", power=first), None, resolution)
    found = rounded(PlugReading("p1", power=second), last, resolution).power
    assert (found is None) == (second is None)
    assert found is None or second is None or abs(found - second) <= 1e-15


def test_fewer_decimals_after_a_reload_apply_to_equal_values() -> None:
    fine = rounded(PlugReading("p1", current_l1=10.31), None, Resolution())
    coarse = rounded(PlugReading("p1", current_l1=10.312), fine, Resolution(current_decimals=0))
    assert coarse.current_l1 == 10.0


def test_unknown_value_stays_unknown() -> None:
    known = PlugReading("p1", power=11.0)
    assert rounded(PlugReading("p1"), known, Resolution()).power is None
    assert rounded(known, PlugReading("p1"), Resolution()).power == 11.0


def test_noise_publishes_nothing() -> None:
    state = advance(StationState(), reading(plug_reading(current_l1=10.300000190734863)), Rules(), at(0))
    after = advance(state, reading(plug_reading(current_l1=10.299999237060547)), Rules(), at(1))
    assert (state.plugs["p1"].reading, after.plugs) == (plug_reading(current_l1=10.3), state.plugs)


def test_value_that_need_not_be_rounded_stays_the_same_object() -> None:
    measured = PlugReading("p", power=float("7107.5"), current_l1=float("10.123"))
    result = rounded(measured, None, Resolution())
    assert result.power is measured.power
    assert result.current_l1 == 10.12


def test_negative_zero_becomes_zero() -> None:
    result = rounded(PlugReading("p", power=-0.0, current_l1=10.123), None, Resolution())
    assert str(result.power) == "0.0"
