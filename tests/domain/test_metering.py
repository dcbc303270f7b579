"""When a meter is published between two heartbeats."""

from dataclasses import replace
from datetime import timedelta

import pytest

from evse_mqtt_bridge.domain.availability import Moment, Rules, advance
from evse_mqtt_bridge.domain.energy import longest_first_span, longest_span
from evse_mqtt_bridge.domain.meter import Meter, count, published_meter
from evse_mqtt_bridge.domain.metering import ENERGY_PAUSE, is_last_of_hour, is_unpublished
from evse_mqtt_bridge.domain.model import StationState
from tests.harness.samples import NOW, at, plug_reading, reading

_RULES = Rules(heartbeat=86_400.0)


def _publications(power: float, interval: float, seconds: float) -> list[float]:
    """Return when a charging plug is published after its first poll, in seconds from then."""
    state, published, after = StationState(), [], 0.0
    while after < seconds:
        measured = plug_reading(power=power, time=NOW + timedelta(seconds=after))
        new = advance(state, reading(measured), _RULES, at(after), 90.0)
        if state.plugs and new.plugs["p1"].last_published_at != state.plugs["p1"].last_published_at:
            published.append(after)
        state, after = new, after + interval
    return published


@pytest.mark.parametrize(
    ("power", "interval", "seconds_between"),
    [
        (7107.0, 10.0, 60.0),
        (22_000.0, 1.0, ENERGY_PAUSE),
        (7107.0, 30.0, 60.0),
        (610.0, 10.0, 60.0),
        (305.0, 30.0, 120.0),
    ],
)
def test_energy_is_published_by_step_and_by_pause(power: float, interval: float, seconds_between: float) -> None:
    published = _publications(power, interval, 500.0)
    assert published[:4] == [seconds_between * number for number in range(1, 5)]


@pytest.mark.parametrize("heartbeat", [10.0, 60.0])
@pytest.mark.parametrize("interval", [10.0, 30.0, 60.0])
def test_restart_within_three_intervals_causes_no_gap(interval: float, heartbeat: float) -> None:
    """The bridge ends just before any poll, and takes three intervals to start, at least 90 s."""
    rules, longest, state = replace(_RULES, heartbeat=heartbeat), longest_span(interval), StationState()
    for number in range(30):
        after = number * interval
        measured = plug_reading(status="charging", power=7107.0, time=NOW + timedelta(seconds=after))
        state = advance(state, reading(measured), rules, at(after), longest, interval)
        published, until = state.plugs["p1"].last_published_meter, state.plugs["p1"].last_published_time
        assert published is not None
        record = Meter(published.charged, gap=published.gap, counted=replace(measured, time=until))
        first = replace(measured, time=NOW + timedelta(seconds=after + interval + longest))
        assert count(record, first, longest_first_span(longest, heartbeat)).gap == 0.0


def test_plug_without_power_is_not_published_between_heartbeats() -> None:
    assert _publications(0.0, 10.0, 500.0) == []


@pytest.mark.parametrize(
    ("second", "interval", "expected"),
    [
        (3585.0, 10.0, True),
        (3584.9, 10.0, False),
        (3594.0, 1.0, True),
        (3593.9, 1.0, False),
        (3555.0, 30.0, True),
        (3554.9, 30.0, False),
        (0.0, 30.0, False),
        (0.0, 3600.0, True),
    ],
)
def test_poll_is_last_of_hour_with_half_an_interval(second: float, interval: float, expected: bool) -> None:
    utc = NOW.replace(minute=0, second=0) + timedelta(seconds=second)
    assert is_last_of_hour(utc, interval) is expected


def test_meter_is_unpublished_if_it_has_counted() -> None:
    meter = Meter(charged=100.0)
    assert is_unpublished(published_meter(Meter(charged=99.0)), meter)
    assert is_unpublished(published_meter(meter), meter._replace(gap=30.0))
    assert not is_unpublished(published_meter(meter), meter)
    assert not is_unpublished(None, Meter())
    assert not is_unpublished(None, None)


@pytest.mark.parametrize("interval", [1.0, 10.0, 30.0])
def test_last_poll_of_an_hour_publishes_the_meter(interval: float) -> None:
    hour = NOW.replace(minute=0, second=0) + timedelta(hours=1)
    state, measured, at_seconds = StationState(), plug_reading(), -300.0
    while at_seconds < 0:
        measured = plug_reading(power=2000.0, time=hour + timedelta(seconds=at_seconds - 2))
        moment = Moment(5000.0 + at_seconds, hour + timedelta(seconds=at_seconds))
        state = advance(state, reading(measured), _RULES, moment, 90.0, interval)
        at_seconds += interval
    plug = state.plugs["p1"]
    assert plug.meter is not None
    assert plug.last_published_meter == published_meter(plug.meter)
    assert plug.last_published_time == measured.time
