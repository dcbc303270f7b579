"""Hands messages to a connection while it has room, and reports when all of them are acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.publishing.message import Message

__all__ = ["Sender"]


@dataclass(slots=True)
class Sender:
    """Pulls messages when the connection has room for them.

    Attributes:
        next_message: Returns the next message; `None` if none is pending.
        connection: The current connection; `None` while there is none.
        sent: Number of messages sent, over all connections.
        drained: Set when nothing is pending or unacknowledged; the waiting caller clears it.
        progressed: Set on each acknowledgement; the waiting caller clears it.
    """

    next_message: Callable[[], Message | None]
    connection: Connection | None = None
    sent: int = 0
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    progressed: asyncio.Event = field(default_factory=asyncio.Event)

    def room_available(self) -> None:
        """Send further messages, because the broker acknowledged some."""
        self.pump()
        self.progressed.set()

    def pump(self) -> None:
        """Send as many messages as the connection has room for."""
        connection = self.connection
        if connection is None:
            return
        while connection.has_room:
            message = self.next_message()
            if message is None:
                if not connection.in_flight:
                    self.drained.set()
                return
            self.sent += connection.publish(message)
