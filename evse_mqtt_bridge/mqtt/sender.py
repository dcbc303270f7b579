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
        next_message: Returns the next message; `None` if none is pending.
        suspects: The topics to publish alone, or not at all.
        sent: Number of messages sent, over all connections.
        drained: Set when nothing is pending or unacknowledged; the waiting caller clears it.
        progressed: Set on each acknowledgement; the waiting caller clears it.
    """

    next_message: Callable[[], Message | None]
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
        """Send further messages, because the broker acknowledged some."""
        self.pump()
        self.progressed.set()

    def pump(self) -> None:
        """Send as many messages as the connection has room for."""
        connection = self._connection
        if connection is None:
            return
        while connection.has_room:
            if self._alone and not connection.in_flight:
                self.suspects.acknowledged(self._alone)
                self._alone = ""
            message = self._held or self.next_message()
            self._held = None
            if message is None:
                if not connection.in_flight:
                    self.drained.set()
                return
            is_suspect = False
            if self.suspects.has_any:
                if self.suspects.is_left_out(message.topic):
                    continue
                is_suspect = self.suspects.is_suspect(message.topic)
                if is_suspect and connection.in_flight:
                    self._held = message
                    return
            is_sent = connection.publish(message, is_alone=is_suspect)
            self._alone = message.topic if is_sent and is_suspect else ""
            self.sent += is_sent
