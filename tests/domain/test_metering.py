"""When a meter is published between two heartbeats."""

from datetime import timedelta

import pytest

from evse_mqtt_bridge.domain.availability import Rules, advance
from evse_mqtt_bridge.domain.metering import ENERGY_PAUSE
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
        (7107.0, 10.0, 30.0),
        (22_000.0, 1.0, ENERGY_PAUSE),
        (7107.0, 30.0, 30.0),
        (610.0, 10.0, 60.0),
        (305.0, 30.0, 120.0),
    ],
)
def test_energy_is_published_by_step_and_by_pause(power: float, interval: float, seconds_between: float) -> None:
    published = _publications(power, interval, 500.0)
    assert published[:4] == [seconds_between * number for number in range(1, 5)]


def test_plug_without_power_is_not_published_between_heartbeats() -> None:
    assert _publications(0.0, 10.0, 500.0) == []
