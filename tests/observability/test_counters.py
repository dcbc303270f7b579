"""The counters for the metrics."""

import pytest

from evse_mqtt_bridge.domain.events import (
    BrokerConnected,
    BrokerDisconnected,
    ConfigurationApplied,
    ConfigurationRejected,
    DisconnectReason,
    PublishRejected,
)
from evse_mqtt_bridge.domain.model import Reading, Reason
from evse_mqtt_bridge.observability.counters import DURATION_BUCKETS, Counters
from tests.harness.samples import FAILURES, failure, plug_reading, reading
from tests.observability.samples import poll_completed


def test_counters_count_successes_and_failures_apart() -> None:
    counters = Counters()
    for outcome in (reading(), reading(), failure(Reason.UNREACHABLE), failure(Reason.NOT_FOUND)):
        counters.poll_completed(poll_completed(outcome))
    assert counters.successes == 2
    assert counters.failures == {Reason.UNREACHABLE: 1, Reason.NOT_FOUND: 1}


@pytest.mark.parametrize("reason", FAILURES)
def test_counters_count_failure_by_its_reason_only(reason: Reason) -> None:
    counters = Counters()
    counters.poll_completed(poll_completed(failure(reason)))
    assert (counters.successes, counters.failures) == (0, {reason: 1})


def test_counters_count_unusual_answer_as_success_too() -> None:
    counters = Counters()
    unusual = Reading((plug_reading(),), notes=("field 'x' is not known", "and 'y' neither"))
    counters.poll_completed(poll_completed(unusual))
    counters.poll_completed(poll_completed(reading()))
    assert (counters.successes, counters.unusual_answers) == (2, 1)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.025, 0), (0.0251, 1), (1.0, 5), (1.001, 6), (30.0, 9), (30.1, len(DURATION_BUCKETS))],
)
def test_counters_count_bound_in_its_own_bucket(seconds: float, bucket: int) -> None:
    counters = Counters()
    counters.poll_completed(poll_completed(reading(), seconds))
    assert [index for index, count in enumerate(counters.durations) if count] == [bucket]
    assert counters.total_duration == seconds


def test_duration_buckets_grow_beyond_request_timeout() -> None:
    assert list(DURATION_BUCKETS) == sorted(set(DURATION_BUCKETS))
    assert DURATION_BUCKETS[-1] > 10  # the default of cloud.timeout


def test_counters_count_connects_and_disconnects() -> None:
    counters = Counters()
    for reason in (DisconnectReason.UNREACHABLE, DisconnectReason.UNREACHABLE):
        counters.broker_disconnected(BrokerDisconnected(reason, "connection refused", 1.0))
    counters.broker_connected(BrokerConnected())
    for _ in range(2):
        counters.broker_disconnected(BrokerDisconnected(DisconnectReason.LOST, "the connection broke off", 1.0))
    assert counters.connects == 1
    assert counters.disconnects == {DisconnectReason.UNREACHABLE: 2, DisconnectReason.LOST: 2}


def test_counters_count_rejected_messages() -> None:
    counters = Counters()
    counters.publish_rejected(PublishRejected("evse/x", "Not authorized"))
    counters.publish_rejected(PublishRejected("evse/x", "Not authorized"))
    assert counters.rejected_messages == 2


def test_counters_count_reloads_by_result() -> None:
    counters = Counters()
    counters.configuration_rejected(ConfigurationRejected(("one problem", "another one")))
    counters.configuration_applied(ConfigurationApplied(3))
    assert (counters.reloads_applied, counters.reloads_rejected) == (1, 1)
