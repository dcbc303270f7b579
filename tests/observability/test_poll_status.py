"""The time of the last completed poll."""

from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.observability.poll_status import PollStatus
from tests.harness import Clock
from tests.harness.samples import reading
from tests.observability.samples import poll_completed


def test_last_poll_before_any_is_the_start(clock: Clock) -> None:
    assert PollStatus(clock).last_poll == clock()


def test_last_poll_is_when_poll_completed(clock: Clock) -> None:
    status = PollStatus(clock)
    moment = Moment(clock.advance(30), clock.now())
    status.poll_completed(poll_completed(reading())._replace(moment=moment))
    assert status.last_poll == moment.monotonic
