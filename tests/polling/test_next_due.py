"""The next poll of a station: its grid, backoff and probes, and short waits after an outage."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import Attribution, Failure, Reason, StationState
from evse_mqtt_bridge.polling.backoff import (
    FIRST_PROBE,
    PROBE_LIMIT,
    SHORT_WAIT,
    CompletedPoll,
    can_recover_with,
    next_due,
    recovery_window,
    station_phase,
    with_short_wait,
)
from tests.harness.samples import failure

_MAX_BACKOFF = 300.0
_ONLINE = StationState(Reason.ONLINE)

_chances = st.floats(0, 1, exclude_max=True)
_intervals = st.sampled_from([1.0, 2.5, 7.0, 30.0, 60.0, 86_400.0])
_starts = st.floats(0, 1e7)


def _failing(reason: Reason, consecutive_failures: int = 1) -> StationState:
    return StationState(None, consecutive_failures, {}, failure(reason))


def _rejected(attribution: Attribution, probes: int) -> StationState:
    rejection = Failure(Reason.UNAUTHORIZED, attribution=attribution, is_probed=True)
    return replace(_failing(Reason.UNAUTHORIZED, probes), failure=rejection, probes=probes)


def _due(
    state: StationState,
    poll: CompletedPoll,
    *,
    interval: float = 30,
    phase: float = 0.25,
    max_backoff: float = _MAX_BACKOFF,
) -> float:
    return next_due(state, poll, interval=interval, phase=phase, max_backoff=max_backoff)


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
        due = _due(_ONLINE, CompletedPoll(due, due + share * interval, 0.5), interval=interval, phase=phase)
        dues.append(due)
    assert dues == pytest.approx([dues[0] + poll * interval for poll in range(50)])
    off_grid = (dues[0] / interval - phase) % 1.0
    assert min(off_grid, 1 - off_grid) < 1e-6


@given(_intervals, _starts, st.integers(0, 100), st.floats(0, 0.4))
def test_next_due_after_first_poll_is_half_an_interval_later(
    interval: float, start: float, index: int, share: float
) -> None:
    poll = CompletedPoll(start, start + share * interval, 0.5)
    wait = _due(_ONLINE, poll, interval=interval, phase=station_phase(index)) - start
    assert 0.5 * interval - 1e-6 <= wait <= 1.5 * interval + 1e-6


@given(_intervals, _starts, st.floats(0, 20))
def test_next_due_after_delay_skips_missed_polls(interval: float, due: float, late: float) -> None:
    now = due + late * interval
    following = _due(_ONLINE, CompletedPoll(due, now, 0.5), interval=interval)
    assert following > now - 1e-6
    assert following - now <= 1.5 * interval + 1e-6


def test_next_due_after_slow_answer_is_next_grid_point() -> None:
    assert _due(_ONLINE, CompletedPoll(307.5, 308, 0.5)) == 337.5
    assert _due(_ONLINE, CompletedPoll(307.5, 337, 0.5)) == 337.5
    assert _due(_ONLINE, CompletedPoll(307.5, 400, 0.5)) == 427.5


# Failures


@given(_chances, st.integers(1, 5000), _intervals, st.sampled_from([Reason.UNREACHABLE, Reason.SERVER_ERROR]))
def test_next_due_after_failures_has_full_jitter_up_to_bound(
    chance: float, consecutive_failures: int, interval: float, reason: Reason
) -> None:
    state = _failing(reason, consecutive_failures)
    wait = _due(state, CompletedPoll(1000, 1000, chance), interval=interval, phase=0) - 1000
    limit = max(_MAX_BACKOFF, interval)
    bound = limit if consecutive_failures > 9 else min(limit, interval * 2 ** (consecutive_failures - 1))
    shortest = interval if reason is Reason.SERVER_ERROR else 1
    assert shortest <= wait + 1e-9 <= max(shortest, bound) + 1e-9 <= limit + 2e-9
    assert wait == pytest.approx(max(shortest, bound * chance))


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.RATE_LIMITED, Reason.INVALID_RESPONSE])
@pytest.mark.parametrize(
    ("max_backoff", "bounds"),
    [(300, [30, 60, 120, 240, 300, 300, 300]), (100, [30, 60, 100, 100, 100, 100, 100]), (10, [30] * 7)],
)
def test_backoff_bound_doubles_up_to_the_setting(reason: Reason, max_backoff: float, bounds: list[int]) -> None:
    poll = CompletedPoll(0, 0, 0.999999)
    latest = [round(_due(_failing(reason, count), poll, max_backoff=max_backoff)) for count in range(1, 8)]
    assert latest == bounds


def test_next_due_of_overloaded_server_is_at_least_interval() -> None:
    for consecutive_failures, interval in ((1, 30), (4, 30), (1, 900), (20, 3600)):
        for reason in (Reason.RATE_LIMITED, Reason.SERVER_ERROR):
            state = _failing(reason, consecutive_failures)
            assert _due(state, CompletedPoll(0, 0, 0.01), interval=interval, phase=0) == interval
    assert _due(_failing(Reason.UNREACHABLE, 4), CompletedPoll(0, 0, 0)) == 1


@given(_chances, st.integers(1, 5000))
def test_rejected_station_is_probed_at_doubling_intervals(chance: float, probes: int) -> None:
    wait = _due(_rejected(Attribution.STATION, probes), CompletedPoll(0, 10, chance)) - 10
    expected = min(PROBE_LIMIT, FIRST_PROBE * 2 ** min(probes - 1, 10))
    assert 0.9 * expected - 1e-6 <= wait <= 1.1 * expected + 1e-6
    assert (FIRST_PROBE, PROBE_LIMIT) == (30, 15 * 60)


@pytest.mark.parametrize("attribution", [Attribution.UNDECIDED, Attribution.CLOUD])
def test_rejection_by_the_cloud_is_probed_up_to_max_backoff(attribution: Attribution) -> None:
    waits = [_due(_rejected(attribution, probes), CompletedPoll(0, 0, 0.5)) for probes in (1, 2, 4, 10, 5000)]
    assert waits == pytest.approx([30, 60, 240, 300, 300])


@pytest.mark.parametrize("attribution", Attribution)
def test_next_due_of_rejected_station_is_not_below_interval(attribution: Attribution) -> None:
    assert _due(_rejected(attribution, 1), CompletedPoll(0, 0, 0.5), interval=86_400, phase=0) == 86_400


# An outage of all stations, and its end


@given(_chances, st.floats(0, 1000), st.sampled_from([None, 0.0, 30.0, 60.0, 61.0, 500.0]))
def test_with_short_wait_polls_one_station_within_a_minute(chance: float, due: float, earliest: float | None) -> None:
    poll = CompletedPoll(0, 0, chance)
    short = with_short_wait(due, failure(Reason.UNREACHABLE), poll, 5, earliest)
    if earliest is not None and earliest <= SHORT_WAIT:
        assert short == due
    else:
        assert short <= SHORT_WAIT
        assert short == due or short >= SHORT_WAIT / 2


def test_with_short_wait_respects_the_interval_of_a_busy_cloud() -> None:
    poll = CompletedPoll(0, 0, 0.5)
    assert with_short_wait(3600, failure(Reason.SERVER_ERROR), poll, 900, None) == 900
    assert with_short_wait(3600, failure(Reason.UNREACHABLE), poll, 900, None) == 45


def test_can_recover_with_the_same_cause() -> None:
    unreachable, busy = failure(Reason.UNREACHABLE), failure(Reason.SERVER_ERROR)
    of_station = Failure(Reason.UNAUTHORIZED, attribution=Attribution.STATION)
    assert can_recover_with(unreachable, unreachable)
    assert not can_recover_with(unreachable, busy)
    assert can_recover_with(busy, None), "no station answered before"
    assert not can_recover_with(of_station, None), "its token is wrong"
    assert not can_recover_with(replace(of_station, attribution=Attribution.UNDECIDED), None)
    assert can_recover_with(replace(of_station, attribution=Attribution.CLOUD), None)


def test_recovery_window_uses_half_of_the_rate() -> None:
    assert recovery_window(1000, 50) == 40
    assert recovery_window(3, 50) == 5
    assert recovery_window(1000, 0) == 5
