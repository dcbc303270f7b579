"""Charging sessions: when they start and end, and which events lead from one state to another."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.sessions import SessionEvent, session_changes
from tests.harness.samples import NOW, plug_reading

_STEP = 30
_STARTED, _CHARGING, _PAUSED, _ENDED = SessionEvent


def _measured(step: int, status: str, power: float = 0.0) -> PlugReading:
    return plug_reading(status=status, power=power, time=NOW + timedelta(seconds=_STEP * step))


def _meters(statuses: Iterable[str]) -> list[Meter]:
    """Return the meter after each of these statuses, 30 s apart; a charging plug has 7200 W."""
    meter, meters = Meter(), []
    for step, status in enumerate(statuses):
        if status == "(unavailable)":
            meter = interrupt(meter)
        else:
            meter = count(meter, _measured(step, status, 7200.0 if status == "charging" else 0.0), 90)
        meters.append(meter)
    return meters


def _events(old: Meter, new: Meter) -> list[SessionEvent]:
    changes = session_changes((old.session, old.last_session), (new.session, new.last_session))
    return [change.event for change in changes]


@pytest.mark.parametrize("undetermined", ["starting", "init", "stopped", "error", "unknown", "producing", "new one"])
def test_status_that_determines_nothing_keeps_the_session(undetermined: str) -> None:
    *_, connected, kept, ended = _meters(["idle", "connected", undetermined, "idle"])
    assert connected.session is not None
    assert kept.session is not None
    assert kept.session.started == connected.session.started
    assert ended.session is None
    assert ended.last_session is not None
    assert ended.last_session.connected_until(NOW) == 2 * _STEP


@pytest.mark.parametrize("undetermined", ["starting", "init", "stopped", "error"])
def test_status_that_determines_nothing_opens_no_session(undetermined: str) -> None:
    assert _meters(["idle", undetermined])[-1].session is None


@pytest.mark.parametrize(
    ("statuses", "is_known"),
    [
        (["idle", "connected"], True),
        (["connected"], False),
        (["starting", "charging"], False),
        (["idle", "(unavailable)", "connected"], False),
        (["idle", "idle", "charging"], True),
    ],
)
def test_start_is_known_if_it_was_measured(statuses: list[str], is_known: bool) -> None:
    session = _meters(statuses)[-1].session
    assert session is not None
    assert session.is_start_known is is_known


def test_session_counts_energy_charging_time_and_peak() -> None:
    statuses = ["idle", "connected", "charging", "charging", "connected", "charging", "idle"]
    session = _meters(statuses)[-1].last_session
    assert session is not None
    # 30 s at 7200 W are 60 Wh, and half as much for each rise and fall
    assert session.charged == pytest.approx(30 + 60 + 30 + 30 + 30)
    assert (session.charging, session.peak, session.gap) == (3 * _STEP, 7200, 0)
    assert session.connected_until(NOW) == 5 * _STEP


def test_session_keeps_an_outage_as_a_gap() -> None:
    session = _meters(["idle", "charging", "(unavailable)", "charging", "idle"])[-1].last_session
    assert session is not None
    assert (session.gap, session.charging) == (2 * _STEP, _STEP)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["idle", "connected"], [_STARTED]),
        (["idle", "charging"], [_STARTED, _CHARGING]),
        (["connected", "charging"], [_CHARGING]),
        (["charging", "connected"], [_PAUSED]),
        (["charging", "starting"], []),
        (["connected", "idle"], [_ENDED]),
        (["idle", "idle"], []),
    ],
)
def test_events_of_one_measurement(statuses: list[str], expected: list[SessionEvent]) -> None:
    old, new = _meters(statuses)
    assert _events(old, new) == expected


def test_events_of_several_measurements_are_complete() -> None:
    meters = _meters(["charging", "idle", "charging"])
    assert _events(meters[0], meters[2]) == [_ENDED, _STARTED, _CHARGING], "one session ended, another one started"
    meters = _meters(["idle", "charging", "idle"])
    assert _events(meters[0], meters[2]) == [_STARTED, _ENDED], "a session that came and went"
