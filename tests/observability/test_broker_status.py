"""What is seen of the session and of reloads."""

from datetime import timedelta

import pytest

from evse_mqtt_bridge.domain.availability import Moment, Rules, advance
from evse_mqtt_bridge.domain.model import StationState
from evse_mqtt_bridge.mqtt.connection import Disconnected, DisconnectReason
from evse_mqtt_bridge.observability.broker_status import Both, Witness
from tests.harness import Clock
from tests.harness.samples import reading

_LOST = Disconnected(DisconnectReason.LOST, "the connection broke off")


@pytest.fixture
def witness(clock: Clock) -> Witness:
    return Witness(clock.now, last_poll=clock.monotonic)


def test_a_poll_reaches_the_journal_and_says_when_it_ended(witness: Witness, clock: Clock) -> None:
    moment = Moment(clock.advance(30), clock.now())
    old = StationState()
    witness.polled("s1", (old, advance(old, reading(), Rules(), moment)), reading(), moment)
    assert witness.last_poll == moment.monotonic
    assert witness.history.station("s1").polled == moment.utc


def test_the_broker_since_when_and_why_not(witness: Witness, clock: Clock) -> None:
    started = clock.now()
    assert (witness.broker("b:1").connected, witness.broker("b:1").since) == (False, started)
    clock.advance(5)
    witness.broker_ended(Disconnected(DisconnectReason.UNREACHABLE, "connection refused"), 1.0)
    first_attempt = clock.now()
    clock.advance(5)
    witness.broker_ended(Disconnected(DisconnectReason.UNREACHABLE, "no route to host"), 1.0)
    seen = witness.broker("b:1")
    assert (seen.connected, seen.since, seen.trouble) == (False, first_attempt, "no route to host")
    clock.advance(5)
    witness.broker_connected()
    seen = witness.broker("b:1")
    assert (seen.address, seen.connected, seen.since, seen.trouble) == ("b:1", True, clock.now(), "")
    clock.advance(5)
    witness.broker_ended(_LOST, 1.0)
    lost = clock.now()
    clock.advance(5)
    witness.broker_ended(_LOST, 1.0)
    assert (witness.broker("b:1").since, witness.broker("b:1").trouble) == (lost, "the connection broke off")
    assert witness.counters.connected == 1
    assert witness.counters.ended == {"unreachable": 2, "lost": 2}


def test_a_broker_that_was_left_is_not_connected_and_no_trouble(witness: Witness, clock: Clock) -> None:
    witness.broker_connected()
    clock.advance(5)
    witness.broker_left()
    seen = witness.broker("other:1")
    assert (seen.connected, seen.since, seen.trouble) == (False, clock.now(), "")
    assert witness.counters.ended == {}


def test_a_reload_counts_and_moves_the_time_where_it_is_taken_over(witness: Witness, clock: Clock) -> None:
    started = clock.now()
    assert (witness.accepted, witness.configured) == (True, started)
    clock.advance(10)
    witness.reloaded(accepted=False)
    assert (witness.accepted, witness.configured) == (False, started)
    witness.reloaded(accepted=True)
    assert (witness.accepted, witness.configured) == (True, started + timedelta(seconds=10))
    assert witness.counters.reloads == {"taken": 1, "refused": 1}


def test_refused_publications_are_counted(witness: Witness) -> None:
    witness.publish_refused("evse/x", "Not authorized")
    witness.publish_refused("evse/x", "Not authorized")
    assert witness.counters.refused == 2


class _Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        return lambda *words: self.told.append((name, *words))


def test_two_listeners_are_told_the_same(witness: Witness) -> None:
    first, second = _Listener(), _Listener()
    both = Both(first, second)  # type: ignore[arg-type]  # it has every method
    calls: list[tuple[object, ...]] = [
        ("broker_connected",),
        ("broker_ended", _LOST, 1.0),
        ("publish_refused", "topic", "reason"),
        ("subscription_refused", "filter"),
        ("birth_seen",),
        ("farewell_failed",),
    ]
    for name, *words in calls:
        getattr(both, str(name))(*words)
        getattr(witness, str(name))(*words)
    assert first.told == second.told == calls
