"""The next poll of a station: its grid, backoff and probes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import Outcome, Reason
from evse_mqtt_bridge.polling.schedule import BACKOFF_LIMIT, PROBE_INTERVAL, CompletedPoll, next_due, station_phase
from tests.harness.samples import failure, reading

_chances = st.floats(0, 1, exclude_max=True)
_intervals = st.sampled_from([1.0, 2.5, 7.0, 30.0, 60.0, 86_400.0])
_starts = st.floats(0, 1e7)


def _next(
    outcome: Outcome, due: float, now: float, *, chance: float = 0.5, consecutive_failures: int = 1, phase: float = 0.25
) -> float:
    return next_due(
        outcome, CompletedPoll(due, now, chance), consecutive_failures=consecutive_failures, interval=30, phase=phase
    )


# The grid


@pytest.mark.parametrize("count", [2, 3, 5, 10, 100, 1000])
def test_station_phases_are_spread_evenly(count: int) -> None:
    phases = sorted(station_phase(index) for index in range(count))
    assert all(0 <= phase < 1 for phase in phases)
    gaps = [after - before for before, after in zip(phases, [*phases[1:], phases[0] + 1], strict=True)]
    assert max(gaps) < 2.7 / count
    assert min(gaps) > 0.3 / count


@given(_intervals, _starts, st.integers(0, 100), st.floats(0, 0.4))
def test_next_due_after_success_stays_on_grid(interval: float, start: float, index: int, share: float) -> None:
    """Polls stay a whole number of intervals apart if responses arrive within almost half an interval."""
    phase, due, dues = station_phase(index), start, []
    for _ in range(50):
        due = next_due(
            reading(),
            CompletedPoll(due, due + share * interval, 0.5),
            consecutive_failures=0,
            interval=interval,
            phase=phase,
        )
        dues.append(due)
    assert dues == pytest.approx([dues[0] + poll * interval for poll in range(50)])
    off_grid = (dues[0] / interval - phase) % 1.0
    assert min(off_grid, 1 - off_grid) < 1e-6


@given(_intervals, _starts, st.integers(0, 100), st.floats(0, 0.4))
def test_next_due_after_first_poll_is_half_an_interval_later(
    interval: float, start: float, index: int, share: float
) -> None:
    poll = CompletedPoll(start, start + share * interval, 0.5)
    wait = next_due(reading(), poll, consecutive_failures=0, interval=interval, phase=station_phase(index)) - start
    assert 0.5 * interval - 1e-6 <= wait <= 1.5 * interval + 1e-6


@given(_intervals, _starts, st.floats(0, 20))
def test_next_due_after_delay_skips_missed_polls(interval: float, due: float, late: float) -> None:
    now = due + late * interval
    following = next_due(reading(), CompletedPoll(due, now, 0.5), consecutive_failures=0, interval=interval, phase=0.25)
    assert following > now - 1e-6
    assert following - now <= 1.5 * interval + 1e-6


def test_next_due_after_slow_answer_is_next_grid_point() -> None:
    assert _next(reading(), due=307.5, now=308) == 337.5
    assert _next(reading(), due=307.5, now=337) == 337.5
    assert _next(reading(), due=307.5, now=400) == 427.5


# Failures


@given(_chances, st.integers(1, 5000), _intervals, st.sampled_from([Reason.UNREACHABLE, Reason.SERVER_ERROR]))
def test_next_due_after_failures_has_full_jitter_up_to_bound(
    chance: float, consecutive_failures: int, interval: float, reason: Reason
) -> None:
    poll = CompletedPoll(1000, 1000, chance)
    wait = next_due(failure(reason), poll, consecutive_failures=consecutive_failures, interval=interval, phase=0) - 1000
    limit = max(BACKOFF_LIMIT, interval)
    bound = limit if consecutive_failures > 9 else min(limit, interval * 2 ** (consecutive_failures - 1))
    shortest = interval if reason is Reason.SERVER_ERROR else 1
    assert shortest <= wait + 1e-9 <= max(shortest, bound) + 1e-9 <= limit + 2e-9
    assert wait == pytest.approx(max(shortest, bound * chance))


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.RATE_LIMITED, Reason.INVALID_RESPONSE])
def test_backoff_bound_doubles_up_to_five_minutes(reason: Reason) -> None:
    latest = [
        round(_next(failure(reason), 0, 0, chance=0.999999, consecutive_failures=consecutive_failures))
        for consecutive_failures in range(1, 8)
    ]
    assert latest == [30, 60, 120, 240, 300, 300, 300]


def test_next_due_of_overloaded_server_is_at_least_interval() -> None:
    for consecutive_failures, interval in ((1, 30), (4, 30), (1, 900), (20, 3600)):
        poll = CompletedPoll(0, 0, 0.01)
        for reason in (Reason.RATE_LIMITED, Reason.SERVER_ERROR):
            assert (
                next_due(failure(reason), poll, consecutive_failures=consecutive_failures, interval=interval, phase=0)
                == interval
            )
    assert _next(failure(Reason.UNREACHABLE), 0, 0, chance=0, consecutive_failures=4) == 1


@given(_chances, st.integers(1, 100), st.sampled_from([Reason.UNAUTHORIZED, Reason.NOT_FOUND]))
def test_next_due_of_rejected_station_is_probe_interval(
    chance: float, consecutive_failures: int, reason: Reason
) -> None:
    wait = _next(failure(reason), 0, 10, chance=chance, consecutive_failures=consecutive_failures) - 10
    assert 0.9 * PROBE_INTERVAL <= wait <= 1.1 * PROBE_INTERVAL
    assert PROBE_INTERVAL == 15 * 60


@pytest.mark.parametrize("reason", [Reason.UNAUTHORIZED, Reason.NOT_FOUND])
def test_next_due_of_rejected_station_is_not_below_interval(reason: Reason) -> None:
    poll = CompletedPoll(0, 0, 0.5)
    assert next_due(failure(reason), poll, consecutive_failures=1, interval=86_400, phase=0) == 86_400
