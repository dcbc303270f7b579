"""When a station is polled next: its grid, backoff, probes, and what a Retry-After asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.domain.model import Outcome, Reason
from evse_mqtt_bridge.polling.schedule import BACKOFF_LIMIT, PROBE_INTERVAL, DuePoll, next_due, phase
from tests.harness.samples import failure, reading

_chances = st.floats(0, 1, exclude_max=True)
_intervals = st.sampled_from([1.0, 2.5, 7.0, 30.0, 60.0, 86_400.0])
_starts = st.floats(0, 1e7)


def _next(
    outcome: Outcome, due: float, now: float, *, chance: float = 0.5, consecutive_failures: int = 1, place: float = 0.25
) -> float:
    return next_due(
        outcome, DuePoll(due, now, chance), consecutive_failures=consecutive_failures, interval=30, place=place
    )


# The grid


@pytest.mark.parametrize("count", [2, 3, 5, 10, 100, 1000])
def test_any_number_of_stations_is_spread_evenly(count: int) -> None:
    places = sorted(phase(index) for index in range(count))
    assert all(0 <= place < 1 for place in places)
    gaps = [after - before for before, after in zip(places, [*places[1:], places[0] + 1], strict=True)]
    assert max(gaps) < 2.7 / count
    assert min(gaps) > 0.3 / count


@given(_intervals, _starts, st.integers(0, 100), st.floats(0, 0.4))
def test_a_station_keeps_to_its_grid_for_ever(interval: float, start: float, index: int, share: float) -> None:
    """Whatever an answer takes, up to nearly half an interval, polls are a whole number of intervals apart."""
    place, due, dues = phase(index), start, []
    for _ in range(50):
        due = next_due(
            reading(), DuePoll(due, due + share * interval, 0.5), consecutive_failures=0, interval=interval, place=place
        )
        dues.append(due)
    assert dues == pytest.approx([dues[0] + turn * interval for turn in range(50)])
    off_grid = (dues[0] / interval - place) % 1.0
    assert min(off_grid, 1 - off_grid) < 1e-6


@given(_intervals, _starts, st.integers(0, 100), st.floats(0, 0.4))
def test_the_first_poll_is_not_followed_by_another_at_once(
    interval: float, start: float, index: int, share: float
) -> None:
    turn = DuePoll(start, start + share * interval, 0.5)
    wait = next_due(reading(), turn, consecutive_failures=0, interval=interval, place=phase(index)) - start
    assert 0.5 * interval - 1e-6 <= wait <= 1.5 * interval + 1e-6


@given(_intervals, _starts, st.floats(0, 20))
def test_turns_that_could_not_be_kept_are_left_out(interval: float, due: float, late: float) -> None:
    now = due + late * interval
    following = next_due(reading(), DuePoll(due, now, 0.5), consecutive_failures=0, interval=interval, place=0.25)
    assert following > now - 1e-6
    assert following - now <= 1.5 * interval + 1e-6


def test_an_answer_that_took_longer_than_an_interval_skips_whole_turns() -> None:
    assert _next(reading(), due=307.5, now=308) == 337.5
    assert _next(reading(), due=307.5, now=337) == 337.5
    assert _next(reading(), due=307.5, now=400) == 427.5


# Failures


@given(_chances, st.integers(1, 5000), _intervals, st.sampled_from([Reason.UNREACHABLE, Reason.SERVER_ERROR]))
def test_a_failing_station_waits_with_full_jitter_up_to_a_growing_bound(
    chance: float, consecutive_failures: int, interval: float, reason: Reason
) -> None:
    turn = DuePoll(1000, 1000, chance)
    wait = next_due(failure(reason), turn, consecutive_failures=consecutive_failures, interval=interval, place=0) - 1000
    limit = max(BACKOFF_LIMIT, interval)
    bound = limit if consecutive_failures > 9 else min(limit, interval * 2 ** (consecutive_failures - 1))
    shortest = interval if reason is Reason.SERVER_ERROR else 1
    assert shortest <= wait + 1e-9 <= max(shortest, bound) + 1e-9 <= limit + 2e-9
    assert wait == pytest.approx(max(shortest, bound * chance))


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.RATE_LIMITED, Reason.INVALID_RESPONSE])
def test_the_bound_doubles_with_each_miss_up_to_five_minutes(reason: Reason) -> None:
    latest = [
        round(_next(failure(reason), 0, 0, chance=0.999999, consecutive_failures=consecutive_failures))
        for consecutive_failures in range(1, 8)
    ]
    assert latest == [30, 60, 120, 240, 300, 300, 300]


def test_a_server_that_has_too_much_to_do_is_not_asked_sooner_than_if_all_were_well() -> None:
    for consecutive_failures, interval in ((1, 30), (4, 30), (1, 900), (20, 3600)):
        turn = DuePoll(0, 0, 0.01)
        for reason in (Reason.RATE_LIMITED, Reason.SERVER_ERROR):
            assert (
                next_due(failure(reason), turn, consecutive_failures=consecutive_failures, interval=interval, place=0)
                == interval
            )
    assert _next(failure(Reason.UNREACHABLE), 0, 0, chance=0, consecutive_failures=4) == 1


@given(_chances, st.integers(1, 100), st.sampled_from([Reason.UNAUTHORIZED, Reason.NOT_FOUND]))
def test_a_rejected_station_is_only_probed(chance: float, consecutive_failures: int, reason: Reason) -> None:
    wait = _next(failure(reason), 0, 10, chance=chance, consecutive_failures=consecutive_failures) - 10
    assert 0.9 * PROBE_INTERVAL <= wait <= 1.1 * PROBE_INTERVAL
    assert PROBE_INTERVAL == 15 * 60
