"""Measurements become stale even without a poll."""

from datetime import UTC, datetime, timedelta

from evse_mqtt_bridge.domain.availability import Moment, Rules, advance, age
from evse_mqtt_bridge.domain.model import PlugReading, Reading, Reason, StationState

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RULES = Rules(stale_after=60)


def _polled() -> StationState:
    answer = Reading((PlugReading("old", time=NOW - timedelta(seconds=50)), PlugReading("new", time=NOW)))
    return advance(StationState(), answer, RULES, Moment(0.0, NOW))


def test_age_after_limit_makes_plug_stale() -> None:
    later = age(_polled(), RULES, Moment(20.0, NOW + timedelta(seconds=20)))
    assert later.plugs["old"].reason is Reason.STALE
    assert later.plugs["new"].reason is Reason.ONLINE
    assert later.reason is Reason.ONLINE


def test_age_before_limit_changes_nothing() -> None:
    state = _polled()
    assert age(state, RULES, Moment(5.0, NOW + timedelta(seconds=5))) is state
