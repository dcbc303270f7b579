"""Reconnects: soon if the broker was unreachable, later after short connections, at most six times a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evse_mqtt_bridge.mqtt.reconnect import CONNECTIONS_PER_MINUTE, Reconnect

_chances = st.floats(0, 1, exclude_max=True)


def _failed(times: int) -> Reconnect:
    state = Reconnect()
    for _ in range(times):
        state = state.failed()
    return state


@pytest.mark.parametrize(("attempts", "bound"), [(1, 1), (2, 2), (3, 4), (4, 5), (5, 5), (100, 5)])
def test_absent_broker_is_retried_every_few_seconds(attempts: int, bound: float) -> None:
    state = _failed(attempts)
    assert state.wait(0, 0) == bound / 2
    assert state.wait(0, 0.999999) == pytest.approx(bound)


def test_rejecting_broker_is_retried_less_and_less() -> None:
    state, waits = Reconnect(), []
    for _ in range(7):
        state = state.failed(refused=True)
        waits.append(state.wait(0, 0.999999))
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30], rel=1e-3)
    assert state.failed().wait(0, 0.999999) == pytest.approx(1), "an unreachable one is retried soon"


def test_broker_absent_for_weeks_is_still_retried() -> None:
    assert 2.5 <= Reconnect(absent_attempts=10**6).wait(0, 0.5) <= 5
    assert 15 <= Reconnect(short_lived=10**6).wait(0, 0.5) <= 30
    assert 15 <= Reconnect(refused_attempts=10**6).wait(0, 0.5) <= 30
    assert _failed(2000).wait(0, 0.5) <= 5


def test_short_connections_make_the_next_wait_longer() -> None:
    state, now, waits = Reconnect(), 0.0, []
    for _ in range(7):
        state = state.connected(now).lost(now + 1)
        waits.append(state.wait(now + 1, 0.999999))
        now += 100
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30], rel=1e-3)


def test_connection_of_a_minute_resets_the_wait() -> None:
    state = Reconnect()
    for number in range(5):
        state = state.connected(number * 100).lost(number * 100 + 1)
    assert state.wait(401, 0.999999) == pytest.approx(16, rel=1e-3)
    state = state.connected(500).lost(560)
    assert state.wait(560, 0.999999) == pytest.approx(1)


def test_absence_does_not_reset_short_connections() -> None:
    state = Reconnect()
    for number in range(4):
        state = state.connected(number * 100).lost(number * 100 + 1)
    state = state.failed().connected(400).lost(401)
    assert state.wait(401, 0.999999) == pytest.approx(16, rel=1e-3)


def test_connection_resets_failed_attempts() -> None:
    state = _failed(20).connected(0).lost(100)
    assert state.wait(100, 0.999999) == pytest.approx(1)


@given(st.lists(st.tuples(st.floats(0, 70), _chances, st.booleans()), min_size=20, max_size=60))
def test_at_most_six_connections_a_minute(connections: list[tuple[float, float, bool]]) -> None:
    """However long connections last, and whichever attempts fail in between."""
    state, now, connected = Reconnect(), 0.0, []
    for lasted, chance, accepted in connections:
        if accepted:
            connected.append(now)
            state = state.connected(now)
            now += lasted
            state = state.lost(now)
        else:
            state = state.failed()
        wait = state.wait(now, chance)
        assert wait >= 0.5
        now += wait
    for first, seventh in zip(connected, connected[CONNECTIONS_PER_MINUTE:], strict=False):
        assert seventh - first >= 60 - 1e-6
