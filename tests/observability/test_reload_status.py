"""The time at which the configuration was applied, and the result of the last reload."""

from datetime import timedelta

from evse_mqtt_bridge.domain.events import ClockChanged, ConfigurationApplied, ConfigurationRejected, ReloadStarted
from evse_mqtt_bridge.observability.process_snapshot import ReloadOutcome
from evse_mqtt_bridge.observability.reload_status import ReloadStatus
from tests.harness import Clock


def test_reload_status_at_start_is_accepted_now(clock: Clock) -> None:
    status = ReloadStatus(clock.now)
    assert (status.last_accepted, status.configured) == (True, clock.now())


def test_reload_status_when_rejected_keeps_time(clock: Clock) -> None:
    started = clock.now()
    status = ReloadStatus(clock.now)
    clock.advance(10)
    status.configuration_rejected(ConfigurationRejected(("wrong",)))
    assert (status.last_accepted, status.configured) == (False, started)


def test_reload_status_when_applied_has_new_time(clock: Clock) -> None:
    started = clock.now()
    status = ReloadStatus(clock.now)
    clock.advance(10)
    status.configuration_rejected(ConfigurationRejected(("wrong",)))
    status.configuration_applied(ConfigurationApplied(3))
    assert (status.last_accepted, status.configured) == (True, started + timedelta(seconds=10))


def test_reload_status_after_clock_was_set_is_corrected(clock: Clock) -> None:
    status = ReloadStatus(clock.now)
    status.clock_changed(ClockChanged(timedelta(hours=-3)))
    assert status.configured == clock.now() - timedelta(hours=3)


def test_reload_status_has_the_outcome_of_the_last_reload(clock: Clock) -> None:
    status = ReloadStatus(clock.now)
    assert (status.started, status.outcome) == (0, None)
    status.reload_started(ReloadStarted())
    assert (status.started, status.outcome) == (1, None)
    status.configuration_applied(ConfigurationApplied(5, added=3, removed=2, changed=1))
    assert status.outcome == ReloadOutcome(1, (), 5, added=3, removed=2, changed=1)
    status.reload_started(ReloadStarted())
    status.configuration_rejected(ConfigurationRejected(("one", "two")))
    assert status.outcome == ReloadOutcome(2, ("one", "two"))
