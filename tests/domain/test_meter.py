"""The meter of a plug: it never goes back, and known time and gaps add up to the time with a vehicle."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt, larger
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.statuses import STATUSES
from tests.harness.samples import NOW, plug_reading

_LONGEST = 90.0


def _measured(seconds: float, power: float | None = 7200.0, status: str = "charging") -> PlugReading:
    return plug_reading(status=status, power=power, time=NOW + timedelta(seconds=seconds))


def _after(*readings: PlugReading, meter: Meter | None = None) -> Meter:
    meter = meter or Meter()
    for reading in readings:
        meter = count(meter, reading, _LONGEST)
    return meter


def test_meter_counts_from_its_first_measurement() -> None:
    meter = _after(_measured(0), _measured(30), _measured(60))
    assert [meter.charged, meter.discharged, meter.gap] == pytest.approx([120, 0, 0])


@pytest.mark.parametrize(
    "repeated",
    [_measured(30), _measured(30, 9000), _measured(0), _measured(-3600), plug_reading(time=None)],
    ids=["duplicate", "same time", "reordered", "an hour ago", "no time"],
)
def test_measurement_that_is_not_newer_changes_nothing(repeated: PlugReading) -> None:
    before = _after(_measured(0), _measured(30))
    assert _after(repeated, meter=before) is before
    assert _after(repeated, _measured(60), meter=before).charged == pytest.approx(120)


@pytest.mark.parametrize("seconds", [30.0, 0.0, -3600.0])
def test_older_measurement_of_an_idle_plug_changes_nothing(seconds: float) -> None:
    before = _after(_measured(0, 0.0, "idle"), _measured(30, 0.0, "idle"))
    assert _after(_measured(seconds, 0.0, "idle"), meter=before) is before


def test_measurement_with_impossible_power_is_bridged() -> None:
    meter = _after(_measured(0), _measured(30, 5e6), _measured(60))
    assert [meter.charged, meter.gap] == pytest.approx([120, 0])


@pytest.mark.parametrize(
    ("before", "after", "gap"),
    [
        ("charging", "charging", 600),
        ("connected", "idle", 600),
        ("idle", "connected", 600),
        ("starting", "idle", 600),  # a vehicle may have been connected
        ("idle", "idle", 0),
    ],
)
def test_gap_counts_if_a_vehicle_may_have_charged(before: str, after: str, gap: float) -> None:
    meter = _after(_measured(0, 0, before), _measured(600, 0, after))
    assert (meter.charged, meter.gap) == (0, gap)


def test_interrupted_meter_counts_a_gap_and_goes_on() -> None:
    meter = interrupt(_after(_measured(0), _measured(30)))
    meter = _after(_measured(60), _measured(90), meter=meter)
    assert [meter.charged, meter.gap] == pytest.approx([120, 30])


def test_meter_before_its_first_measurement_has_no_gap() -> None:
    assert _after(_measured(0), meter=interrupt(Meter())).gap == 0


def test_larger_has_each_count_and_the_later_session() -> None:
    stored = _after(_measured(0), _measured(30))
    later = _after(_measured(60), meter=stored)
    assert larger(stored, later) == larger(later, stored) == later
    decreased = later._replace(charged=1.0)
    assert larger(stored, decreased).charged == stored.charged


_powers = st.one_of(st.none(), st.floats(-30_000, 30_000), st.just(1e9))
_steps = st.tuples(
    st.one_of(st.floats(0, 40), st.sampled_from([-600.0, -30.0, 0.0, 90.0, 91.0, 86_400.0])),
    _powers,
    st.sampled_from([*STATUSES, "rebooting"]),
    st.booleans(),
)


def _fold(steps: Sequence[tuple[float, float | None, str, bool]]) -> list[tuple[Meter, bool]]:
    """Return the meter after each step, and whether the step was counted."""
    meter, seconds, meters = Meter(), 0.0, []
    for step, power, status, is_available in steps:
        seconds += step
        if is_available:
            new = count(meter, _measured(seconds, power, status), _LONGEST)
            meters.append((new, new is not meter))
            meter = new
        else:
            meter = interrupt(meter)
            meters.append((meter, False))
    return meters


@given(st.lists(_steps, max_size=40))
def test_counts_never_decrease_whatever_is_measured(steps: list[tuple[float, float | None, str, bool]]) -> None:
    before = Meter()
    for meter, _ in _fold(steps):
        assert meter.charged >= before.charged
        assert meter.discharged >= before.discharged
        assert meter.gap >= before.gap
        before = meter


@given(st.lists(_steps, max_size=40))
def test_energy_is_never_above_power_times_time(steps: list[tuple[float, float | None, str, bool]]) -> None:
    before = Meter()
    for meter, is_counted in _fold(steps):
        if is_counted and before.counted and before.counted.time and meter.counted and meter.counted.time:
            hours = (meter.counted.time - before.counted.time).total_seconds() / 3600
            highest = max(abs(reading.power or 0) for reading in (before.counted, meter.counted)) * hours
            assert meter.charged - before.charged <= highest * (1 + 1e-9) + 1e-9
            assert meter.discharged - before.discharged <= highest * (1 + 1e-9) + 1e-9
        before = meter


def _covered(steps: Sequence[tuple[float, float | None, str, bool]]) -> float:
    """Return the known seconds since the start of the last session, by the rules in the documentation."""
    seconds = covered = 0.0
    last: tuple[timedelta, float | None] | None = None
    is_open = is_interrupted = False
    for step, power, status, is_available in steps:
        seconds += step
        time = timedelta(seconds=seconds)  # in microseconds, as those of the meter: 90.00000000000001 s is not too long
        if not is_available:
            is_interrupted = True
            continue
        if (power is not None and abs(power) > 30_000) or (last is not None and time <= last[0]):
            continue
        if is_open and last is not None and not is_interrupted and None not in (power, last[1]):
            span = (time - last[0]).total_seconds()
            covered += span if span <= _LONGEST else 0.0
        last, is_interrupted = (time, power), False
        flag = STATUSES[status].vehicle_connected if status in STATUSES else None
        if flag and not is_open:
            covered = 0.0
        is_open = is_open if flag is None else flag
    return covered


@given(st.lists(_steps, max_size=40))
def test_known_time_and_gap_are_the_connected_time(steps: list[tuple[float, float | None, str, bool]]) -> None:
    """Every span of a session is either known or a gap."""
    meter = _fold(steps)[-1][0] if steps else Meter()
    session = meter.session or meter.last_session
    if session is not None and meter.counted is not None and meter.counted.time is not None:
        assert _covered(steps) + session.gap == pytest.approx(session.connected_until(meter.counted.time), abs=1e-3)


@given(st.lists(_steps, min_size=2, max_size=40), st.data())
def test_meter_that_continues_from_a_copy_counts_alike(
    steps: list[tuple[float, float | None, str, bool]], data: st.DataObject
) -> None:
    """A restart between any two measurements loses nothing."""
    cut = data.draw(st.integers(0, len(steps) - 1))
    complete = _fold(steps)[-1][0]
    stored = _fold(steps[:cut])[-1][0] if cut else Meter()
    seconds = sum(step for step, *_ in steps[:cut])
    meter = stored._replace(counted=replace(stored.counted) if stored.counted else None)
    for step, power, status, is_available in steps[cut:]:
        seconds += step
        meter = count(meter, _measured(seconds, power, status), _LONGEST) if is_available else interrupt(meter)
    assert meter == complete
