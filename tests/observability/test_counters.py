"""What is counted of polls."""

import pytest

from evse_mqtt_bridge.domain.model import Reading, Reason
from evse_mqtt_bridge.observability.counters import DURATION_BUCKETS, Counters
from tests.harness.samples import FAILURES, failure, plug_reading, reading


def test_useful_answers_and_failures_are_counted_apart() -> None:
    counters = Counters()
    for outcome in (reading(), reading(), failure(Reason.UNREACHABLE), failure(Reason.NOT_FOUND)):
        counters.polled(outcome, 0.1)
    assert counters.answered == 2
    assert counters.failures == {Reason.UNREACHABLE: 1, Reason.NOT_FOUND: 1}


@pytest.mark.parametrize("reason", FAILURES)
def test_a_failure_is_counted_by_its_reason_alone(reason: Reason) -> None:
    counters = Counters()
    counters.polled(failure(reason), 0.1)
    assert (counters.answered, counters.failures) == (0, {reason: 1})


def test_unusual_answers_are_useful_too() -> None:
    counters = Counters()
    counters.polled(Reading((plug_reading(),), notes=("field 'x' is not known", "and 'y' neither")), 0.1)
    counters.polled(reading(), 0.1)
    assert (counters.answered, counters.unusual) == (2, 1)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (0.025, 0), (0.0251, 1), (1.0, 5), (1.001, 6), (30.0, 9), (30.1, len(DURATION_BUCKETS))],
)
def test_a_bound_belongs_to_its_bucket(seconds: float, bucket: int) -> None:
    counters = Counters()
    counters.polled(reading(), seconds)
    assert [at for at, count in enumerate(counters.durations) if count] == [bucket]
    assert counters.seconds == seconds


def test_the_buckets_grow_and_reach_beyond_a_timeout() -> None:
    assert list(DURATION_BUCKETS) == sorted(set(DURATION_BUCKETS))
    assert DURATION_BUCKETS[-1] > 10  # what a request may take, unless it is told otherwise
