"""A meter that waits for its record counts as if it had not waited."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.meter import Meter, count, interrupt
from evse_mqtt_bridge.domain.model import PlugReading
from evse_mqtt_bridge.domain.sessions import Session
from evse_mqtt_bridge.domain.statuses import STATUSES
from evse_mqtt_bridge.domain.waiting_meters import Continuation, WaitingMeter, continue_record
from tests.harness.samples import NOW, plug_reading

_LONGEST = 90.0

_Step = tuple[float, float | None, str, bool]

_steps = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 40), st.sampled_from([-30.0, 0.0, 90.0, 91.0, 86_400.0])),
        st.one_of(st.none(), st.floats(-30_000, 30_000), st.just(1e9)),
        st.sampled_from([*STATUSES, "rebooting"]),
        st.booleans(),
    ),
    max_size=30,
)
"""Seconds since the step before, power, status, and whether the plug is available."""


def _measured(seconds: float, power: float | None, status: str) -> PlugReading:
    return plug_reading(status=status, power=power, time=NOW + timedelta(seconds=seconds))


class _Run:
    """A meter, and the sessions that it ended."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.ended: list[Session] = []
        self.seconds = 0.0

    def follow(self, steps: Sequence[_Step]) -> None:
        for seconds, power, status, is_available in steps:
            self.seconds += seconds
            before = self.meter
            self.meter = count(before, _measured(self.seconds, power, status), _LONGEST)
            if not is_available:
                self.meter = interrupt(before)
            if self.meter.last_session is not None and self.meter.last_session is not before.last_session:
                self.ended.append(self.meter.last_session)


def _waited(record: Meter, start: float, steps: Sequence[_Step]) -> tuple[WaitingMeter, Continuation | None]:
    waiting, at = WaitingMeter(), start
    for seconds, power, status, is_available in steps:
        at += seconds
        waiting = (
            waiting.with_reading(_measured(at, power, status), _LONGEST) if is_available else waiting.interrupted()
        )
    return waiting, continue_record(record, waiting, _LONGEST)


def _assert_same_session(session: Session | None, expected: Session | None) -> None:
    """Compare sessions, except for `is_charging`, which statuses that determine nothing leave as it was."""
    assert (session is None) is (expected is None)
    if session is not None and expected is not None:
        numbers = ("charged", "discharged", "gap", "charging", "peak")
        assert [getattr(session, name) for name in numbers] == pytest.approx(
            [getattr(expected, name) for name in numbers], abs=1e-6
        )
        others = (session.started, session.is_start_known, session.ended)
        assert others == (expected.started, expected.is_start_known, expected.ended)


@given(_steps, _steps)
def test_wait_changes_no_count_and_no_session(before: list[_Step], meanwhile: list[_Step]) -> None:
    run = _Run()
    run.follow(before)
    record, start = run.meter, run.seconds
    waiting, continuation = _waited(record, start, meanwhile)
    if continuation is None:
        first, known = waiting.first_reading, record.counted
        assert first is None or (known and known.time and first.time and known.time > first.time)
        return
    if continuation.after_first_reading.counted is not waiting.first_reading:
        return  # the same measurement again, in front of which the plug may have been unavailable
    run.follow(meanwhile)
    meter = continuation.meter
    assert (meter.charged, meter.discharged, meter.gap) == pytest.approx(
        (run.meter.charged, run.meter.discharged, run.meter.gap), abs=1e-6
    )
    assert (meter.counted, meter.is_interrupted) == (run.meter.counted, run.meter.is_interrupted)
    _assert_same_session(meter.session, run.meter.session)
    _assert_same_session(meter.last_session, run.meter.last_session)
    rest = run.ended[len(run.ended) - len(continuation.ended) :]
    for session, expected in zip(continuation.ended, rest, strict=True):
        _assert_same_session(session, expected)


@given(_steps, _steps)
def test_counts_of_a_record_never_decrease(before: list[_Step], meanwhile: list[_Step]) -> None:
    run = _Run()
    run.follow(before)
    _, continuation = _waited(run.meter, run.seconds, meanwhile)
    if continuation is not None:
        for earlier, later in (
            (run.meter, continuation.after_first_reading),
            (continuation.after_first_reading, continuation.meter),
        ):
            assert later.charged >= earlier.charged
            assert later.discharged >= earlier.discharged
            assert later.gap >= earlier.gap


def test_energy_of_a_later_record_does_not_count_twice() -> None:
    record = count(count(Meter(), _measured(0, 7200, "charging"), _LONGEST), _measured(60, 7200, "charging"), _LONGEST)
    waiting = WaitingMeter().with_reading(_measured(30, 7200, "charging"), _LONGEST)
    assert continue_record(record, waiting.with_reading(_measured(90, 7200, "charging"), _LONGEST), _LONGEST) is None


def test_memory_of_a_long_wait_is_bounded() -> None:
    waiting = WaitingMeter()
    for number in range(1000):
        status = "connected" if number % 2 else "idle"
        waiting = waiting.with_reading(_measured(number * 30, 0, status), _LONGEST)
    continuation = continue_record(Meter(), waiting, _LONGEST)
    assert continuation is not None
    assert len(continuation.ended) == 100
    assert continuation.meter.last_session == continuation.ended[-1]
    assert continuation.ended[-1].ended == NOW + timedelta(seconds=998 * 30)
