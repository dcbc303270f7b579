"""Hands messages to a connection while it has room, and reports when all of them are acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.suspects import Suspects

__all__ = ["Sender"]


@dataclass(slots=True)
class Sender:
    """Pulls messages when the connection has room for them.

    Attributes:
        next_messages: Returns the next messages, at most as many as its argument; none if none is pending.
        suspects: The topics to publish alone, or not at all.
        sent: Number of messages sent, over all connections.
        drained: Set when nothing is pending or unacknowledged; the waiting caller clears it.
        progressed: Set on each acknowledgement; the waiting caller clears it.
    """

    next_messages: Callable[[int], list[Message]]
    suspects: Suspects
    sent: int = 0
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    progressed: asyncio.Event = field(default_factory=asyncio.Event)
    _connection: Connection | None = None
    _held: Message | None = None
    """A suspect that waits until nothing is unacknowledged."""
    _alone: str = ""
    """The topic of the suspect that is in flight."""

    @property
    def connection(self) -> Connection | None:
        """The current connection; `None` while there is none."""
        return self._connection

    def use(self, connection: Connection | None) -> None:
        """Send over this connection from now on."""
        self._connection, self._held, self._alone = connection, None, ""

    def room_available(self) -> None:
        """Send further messages, because the broker acknowledged some; wait for more room unless half of it is free.

        A fast broker acknowledges messages one by one. To write one at a time as well would cost more than its message.
        """
        connection = self._connection
        if connection is not None and connection.room >= connection.in_flight:
            self.pump()
        self.progressed.set()

    def pump(self) -> None:
        """Send as many messages as the connection has room for."""
        connection = self._connection
        if connection is None:
            return
        while room := connection.room:
            if self._alone and not connection.in_flight:
                self.suspects.acknowledged(self._alone)
                self._alone = ""
            has_suspects = self.suspects.has_any
            most = 1 if has_suspects else room
            messages = self._pull(most)
            if messages:
                if not has_suspects:
                    self.sent += connection.publish_all(messages)
                elif not self._publish_unless_held(connection, messages[0]):
                    return
            if len(messages) < most:  # nothing else is pending
                if not connection.in_flight:
                    self.drained.set()
                return

    def _pull(self, most: int) -> list[Message]:
        """Return the next messages, at most this many; fewer if no more are pending."""
        messages, self._held = [self._held] if self._held else [], None
        while len(messages) < most and (further := self.next_messages(most - len(messages))):
            messages += further
        return messages

    def _publish_unless_held(self, connection: Connection, message: Message) -> bool:
        """Publish a message unless it is left out; return false if it has to wait, as a suspect that goes alone."""
        if self.suspects.is_left_out(message.topic):
            return True
        is_suspect = self.suspects.is_suspect(message.topic)
        if is_suspect and connection.in_flight:
            self._held = message
            return False
        is_sent = connection.publish(message, is_alone=is_suspect)
        self._alone = message.topic if is_sent and is_suspect else ""
        self.sent += is_sent
        return True
