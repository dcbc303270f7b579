"""The time of the last completed poll, and the unavailable stations."""

from dataclasses import replace

import pytest

from evse_mqtt_bridge.domain.availability import Moment, has_changes
from evse_mqtt_bridge.domain.events import PollCompleted, StateAged, StationRemoved
from evse_mqtt_bridge.domain.model import Reason, Station, StationState
from evse_mqtt_bridge.observability.poll_status import PollStatus
from tests.harness import Clock
from tests.harness.samples import NOW, reading
from tests.observability.samples import poll_completed


def test_last_poll_before_any_is_the_start(clock: Clock) -> None:
    assert PollStatus(clock).last_poll == clock()


def test_last_poll_is_when_poll_completed(clock: Clock) -> None:
    status = PollStatus(clock)
    moment = Moment(clock.advance(30), clock.now())
    status.poll_completed(replace(poll_completed(reading()), moment=moment))
    assert status.last_poll == moment.monotonic


@pytest.fixture
def status(clock: Clock) -> PollStatus:
    return PollStatus(clock)


def _change(status: PollStatus, uuid: str, old: Reason | None, new: Reason) -> None:
    moment = Moment(0.0, NOW)
    states = StationState(old), StationState(new)
    status.poll_completed(PollCompleted(Station(uuid, 30), *states, reading(), moment, 0.1, has_changes(*states)))


def test_unavailable_stations_are_counted_by_reason(status: PollStatus) -> None:
    assert not status.unavailable()
    _change(status, "s1", None, Reason.ONLINE)
    _change(status, "s2", None, Reason.UNREACHABLE)
    _change(status, "s3", None, Reason.UNREACHABLE)
    _change(status, "s4", None, Reason.UNAUTHORIZED)
    assert status.unavailable() == {Reason.UNREACHABLE: 2, Reason.UNAUTHORIZED: 1}
    _change(status, "s2", Reason.UNREACHABLE, Reason.ONLINE)
    _change(status, "s3", Reason.UNREACHABLE, Reason.SERVER_ERROR)
    status.station_removed(StationRemoved("s4"))
    assert status.unavailable() == {Reason.SERVER_ERROR: 1}


def test_station_unavailable_without_a_poll_is_counted(status: PollStatus) -> None:
    """A failure counts once plugs of a previous run are restored."""
    new = StationState(Reason.UNREACHABLE)
    status.state_aged(StateAged(Station("s1", 30), StationState(), new, Moment(0.0, NOW)))
    assert status.unavailable() == {Reason.UNREACHABLE: 1}
