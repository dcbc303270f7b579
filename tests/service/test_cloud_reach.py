"""Whether a member reaches the cloud, from the outcomes of its polls."""

from evse_mqtt_bridge.domain.events import PollCompleted
from evse_mqtt_bridge.domain.model import Outcome, Reason, Station, StationState
from evse_mqtt_bridge.service.cloud_reach import CloudReach
from tests.harness import Clock
from tests.harness.samples import at, failure, plug_reading, reading


def _poll(reach: CloudReach, clock: Clock, second: float, outcome: Outcome) -> bool:
    clock.monotonic = at(second).monotonic
    station, state = Station("s", 30), StationState()
    reach.poll_completed(PollCompleted(station, state, state, outcome, at(second), 0.1, has_changes=False))
    return reach.is_reached


def test_cloud_counts_as_away_after_a_minute_of_failures(clock: Clock) -> None:
    reach = CloudReach(clock)
    results = [_poll(reach, clock, second, failure(Reason.UNREACHABLE)) for second in (0, 20, 40, 59, 61)]
    assert results == [True, True, True, True, False]
    assert _poll(reach, clock, 62, reading(plug_reading()))


def test_any_answer_shows_that_the_cloud_is_reached(clock: Clock) -> None:
    reach = CloudReach(clock)
    outcomes = [failure(Reason.UNREACHABLE), failure(Reason.SERVER_ERROR), failure(Reason.UNREACHABLE)]
    assert all(_poll(reach, clock, 30 * number, outcomes[number % 3]) for number in range(30))


def test_single_failing_station_is_not_enough(clock: Clock) -> None:
    reach = CloudReach(clock)
    assert all(_poll(reach, clock, second, failure(Reason.UNREACHABLE)) for second in (0, 300))


def test_member_without_stations_tries_again_later(clock: Clock) -> None:
    reach = CloudReach(clock)
    for second in (0, 30, 70):
        _poll(reach, clock, second, failure(Reason.UNREACHABLE))
    clock.monotonic = at(70 + 599).monotonic
    assert not reach.is_reached
    clock.monotonic = at(70 + 601).monotonic
    assert reach.is_reached
    assert _poll(reach, clock, 680, failure(Reason.UNREACHABLE)), "it has a minute again"
