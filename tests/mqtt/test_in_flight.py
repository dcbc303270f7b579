"""Unacknowledged messages: room, suspects, and the message that is sent alone."""

from evse_mqtt_bridge.mqtt.in_flight import ACKNOWLEDGE_LIMIT, RECENT, InFlight
from evse_mqtt_bridge.mqtt.limits import Limits


def in_flight(*, qos: int = 1, window: int = 2) -> InFlight:
    return InFlight(Limits(qos, window, None), 0.0)


def test_full_window_has_no_room_until_an_acknowledgement() -> None:
    messages = in_flight()
    messages.add({1: "a"}, 0.0)
    assert messages.room == 1
    messages.add({2: "b"}, 0.0)
    assert messages.room == 0
    assert messages.acknowledge(1) == "a"
    assert messages.room == 1
    assert messages.acknowledge(1) is None
    assert messages.topics(0.0) == ["b"]


def test_accepted_messages_make_room() -> None:
    messages = in_flight(window=3)
    messages.add({1: "a", 2: "b", 3: "c"}, 0.0)
    messages.accept([1, 3, 9])
    assert messages.room == 2
    assert messages.topics(0.0) == ["b"]


def test_message_alone_leaves_no_room_until_it_is_handled() -> None:
    messages = in_flight(window=20)
    messages.add_alone(7, "a", None, 0.0)
    assert messages.room == 0
    assert not messages.written()
    messages.accept([8])
    assert messages.room == 0
    messages.accept([7])
    assert messages.room == 20


def test_barrier_at_qos_0_shows_that_a_message_is_handled() -> None:
    messages = in_flight(qos=0)
    messages.add({1: "earlier"}, 0.0)
    assert messages.written()
    messages.add_alone(2, "a", 9, 0.1)
    assert not messages.written(), "the socket has taken it, which shows nothing"
    assert messages.topics(0.1) == ["a"]
    assert not messages.pass_barrier(8)
    assert messages.pass_barrier(9)
    assert messages.room > 0
    assert not messages.pass_barrier(9)


def test_recent_messages_at_qos_0_are_suspects() -> None:
    messages = in_flight(qos=0, window=500)
    messages.add({1: "a"}, 0.0)
    messages.add({2: "b"}, 1.5)
    messages.written()
    assert messages.topics(1.5) == ["a", "b"]
    assert messages.topics(RECENT + 1) == ["b"]
    assert not messages.written(), "nothing was sent since"


def test_acknowledgements_at_qos_1_are_awaited_with_a_limit() -> None:
    messages = in_flight()
    assert not messages.is_stalled(ACKNOWLEDGE_LIMIT * 2), "nothing is in flight"
    messages.add({1: "a"}, 100.0)
    assert not messages.is_stalled(100 + ACKNOWLEDGE_LIMIT)
    assert messages.is_stalled(101 + ACKNOWLEDGE_LIMIT)
    messages.made_progress(101.0)
    assert not messages.is_stalled(101 + ACKNOWLEDGE_LIMIT)
