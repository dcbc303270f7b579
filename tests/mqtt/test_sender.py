"""How many messages a sender hands to a connection at once."""

from typing import TYPE_CHECKING, cast

import pytest

from evse_mqtt_bridge.mqtt.sender import Sender
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.suspects import Suspects

if TYPE_CHECKING:
    from evse_mqtt_bridge.mqtt.connection import Connection


class _Connection:
    """A connection with a window; `batches` has the number of messages of each write."""

    def __init__(self, window: int) -> None:
        self.in_flight = 0
        self.batches: list[int] = []
        self._window = window

    @property
    def room(self) -> int:
        return self._window - self.in_flight

    def publish_all(self, messages: list[Message]) -> int:
        assert len(messages) <= self.room
        self.in_flight += len(messages)
        self.batches.append(len(messages))
        return len(messages)


@pytest.mark.parametrize(
    ("window", "batches"), [(1, [1] * 10), (3, [3, 2, 2, 2, 1]), (4, [4, 2, 2, 2]), (20, [10])], ids=str
)
def test_sender_waits_until_half_of_the_window_is_free(window: int, batches: list[int]) -> None:
    pending = [Message(f"t/{number}", b"") for number in range(10)]
    sender = Sender(lambda _: [pending.pop()] if pending else [], Suspects(""))
    connection = _Connection(window)
    sender.use(cast("Connection", connection))
    sender.pump()
    while connection.in_flight:
        assert not sender.drained.is_set()
        connection.in_flight -= 1  # the broker acknowledges one by one
        sender.room_available()
    assert connection.batches == batches
    assert (sender.sent, sender.drained.is_set()) == (10, True)
