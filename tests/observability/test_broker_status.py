"""The connection to the broker, as the status page shows it."""

from datetime import timedelta

import pytest

from evse_mqtt_bridge.domain.events import (
    BrokerChanged,
    BrokerConnected,
    BrokerDisconnected,
    ClockChanged,
    DisconnectReason,
    PublishRejected,
)
from evse_mqtt_bridge.observability.broker_status import BrokerStatus
from tests.harness import Clock

_LOST = BrokerDisconnected(DisconnectReason.LOST, "the connection broke off", 1.0)


@pytest.fixture
def status(clock: Clock) -> BrokerStatus:
    return BrokerStatus(clock.now)


def test_broker_status_before_first_attempt_begins_now(status: BrokerStatus, clock: Clock) -> None:
    snapshot = status.snapshot("b:1")
    assert (snapshot.connected, snapshot.since, snapshot.error) == (False, clock.now(), "")


def test_broker_status_after_failed_attempts_keeps_first_time(status: BrokerStatus, clock: Clock) -> None:
    clock.advance(5)
    status.broker_disconnected(BrokerDisconnected(DisconnectReason.UNREACHABLE, "connection refused", 1.0))
    first_attempt = clock.now()
    clock.advance(5)
    status.broker_disconnected(BrokerDisconnected(DisconnectReason.UNREACHABLE, "no route to host", 1.0))
    snapshot = status.snapshot("b:1")
    assert (snapshot.connected, snapshot.since, snapshot.error) == (False, first_attempt, "no route to host")


def test_broker_status_when_connected_has_no_error(status: BrokerStatus, clock: Clock) -> None:
    status.broker_disconnected(_LOST)
    clock.advance(5)
    status.broker_connected(BrokerConnected())
    snapshot = status.snapshot("b:1")
    assert (snapshot.address, snapshot.connected, snapshot.since, snapshot.error) == ("b:1", True, clock.now(), "")


def test_broker_status_when_lost_keeps_time_of_loss(status: BrokerStatus, clock: Clock) -> None:
    status.broker_connected(BrokerConnected())
    clock.advance(5)
    status.broker_disconnected(_LOST)
    lost = clock.now()
    clock.advance(5)
    status.broker_disconnected(_LOST)
    assert (status.snapshot("b:1").since, status.snapshot("b:1").error) == (lost, "the connection broke off")


def test_broker_status_after_broker_change_has_no_error(status: BrokerStatus, clock: Clock) -> None:
    status.broker_connected(BrokerConnected())
    clock.advance(5)
    status.broker_changed(BrokerChanged("other:1", "me"))
    snapshot = status.snapshot("other:1")
    assert (snapshot.connected, snapshot.since, snapshot.error) == (False, clock.now(), "")


def test_broker_status_after_clock_was_set_is_corrected(status: BrokerStatus, clock: Clock) -> None:
    shift = timedelta(days=20_000)
    status.clock_changed(ClockChanged(shift))
    assert status.snapshot("b:1").since == clock.now(), "there was no attempt to connect"
    status.broker_connected(BrokerConnected())
    connected_at = clock.now()
    clock.advance(5)
    status.clock_changed(ClockChanged(shift))
    assert status.snapshot("b:1").since == connected_at + shift


def test_rejected_messages_count_until_the_next_connection(status: BrokerStatus) -> None:
    status.broker_connected(BrokerConnected())
    for topic in ("a", "b"):
        status.publish_rejected(PublishRejected(topic, "not authorized"))
    assert status.rejected_messages == 2
    status.broker_disconnected(_LOST)
    assert status.rejected_messages == 2
    status.broker_connected(BrokerConnected())
    assert status.rejected_messages == 0
