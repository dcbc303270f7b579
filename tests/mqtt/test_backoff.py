"""Pauses before reactions: they double, have a limit, and are short again after a quiet time."""

import itertools

from evse_mqtt_bridge.mqtt.backoff import Backoff


def _reactions(backoff: Backoff, until: int, every: int = 1) -> list[int]:
    """Return when a reaction is due if there is a cause every so many seconds."""
    reactions = []
    for now in range(until):
        if now % every == 0:
            backoff.noticed(now)
        if backoff.wait(now) == 0:
            backoff.reacted(now)
            reactions.append(now)
    return reactions


def test_pauses_double_up_to_the_limit() -> None:
    times = _reactions(Backoff(shortest=2, longest=600), 4000)
    assert times[:4] == [2, 7, 16, 33]
    assert {later - earlier for earlier, later in itertools.pairwise(times[9:])} == {601}


def test_pause_is_short_again_after_a_quiet_time() -> None:
    backoff = Backoff(shortest=2, longest=600)
    _reactions(backoff, 100)
    backoff.dropped()
    assert backoff.wait(300) is None
    backoff.noticed(300)
    assert backoff.wait(300) == 2


def test_rare_causes_do_not_lengthen_the_pause() -> None:
    assert _reactions(Backoff(shortest=2, longest=600), 1000, every=70)[:4] == [2, 72, 142, 212]


def test_dropped_cause_does_not_lengthen_the_pause() -> None:
    backoff = Backoff(shortest=2, longest=600)
    for now in range(0, 100, 10):
        backoff.noticed(now)
        assert backoff.wait(now) == 2
        backoff.dropped()
        assert not backoff.is_due
