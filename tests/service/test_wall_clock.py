"""The clock reports by how much it was set, before it returns the first new time."""

from datetime import UTC, datetime, timedelta

import pytest

from evse_mqtt_bridge.service.wall_clock import WallClock

_START = datetime(2026, 3, 25, 11, 12, 20, tzinfo=UTC)


class _Machine:
    """A machine whose time passes, and whose clock can be set."""

    def __init__(self, at: datetime = _START) -> None:
        self.at = at
        self.elapsed = 100.0
        self.clock = WallClock(self._seconds, lambda: self.elapsed)
        self.shifts: list[float] = []
        self.clock.on_change = lambda shift: self.shifts.append(shift.total_seconds())

    def _seconds(self) -> float:
        return self.at.timestamp()

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.elapsed += seconds


@pytest.mark.parametrize("seconds", [3.0, -3.0, 7200.0, -7200.0, 1e9])
def test_clock_that_was_set_is_reported_once(seconds: float) -> None:
    machine = _Machine()
    machine.wait(10)
    machine.at += timedelta(seconds=seconds)
    assert machine.clock() == _START + timedelta(seconds=10 + seconds)
    machine.wait(10)
    machine.clock()
    assert machine.shifts == [pytest.approx(seconds)]


def test_change_is_reported_before_the_new_time_is_returned() -> None:
    machine = _Machine(datetime(1970, 1, 1, tzinfo=UTC))
    order: list[object] = []
    machine.clock.on_change = order.append
    machine.at = _START
    order.append(machine.clock())
    assert order == [_START - datetime(1970, 1, 1, tzinfo=UTC), _START]


def test_small_adjustments_are_reported_when_they_add_up() -> None:
    machine = _Machine()
    for _ in range(50):
        machine.wait(1)
        machine.at += timedelta(seconds=0.1)
        machine.clock()
    assert len(machine.shifts) == 2
    assert sum(machine.shifts) == pytest.approx(4.2)


def test_time_that_passes_is_no_change() -> None:
    """A day may pass between two calls, for example while the machine is suspended."""
    machine = _Machine()
    machine.wait(86_400)
    assert machine.clock() == _START + timedelta(days=1)
    assert machine.shifts == []


def test_clock_of_this_machine_is_the_time_of_day() -> None:
    assert abs(WallClock()() - datetime.now(UTC)) < timedelta(seconds=5)
