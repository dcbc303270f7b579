"""The time at which the configuration was applied, and the result of the last reload."""

from datetime import timedelta

from evse_mqtt_bridge.domain.events import ClockChanged, ConfigurationApplied, ConfigurationRejected
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
