"""Hands messages to a connection while it has room, and reports when all of them are acknowledged."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.publishing.message import Message

__all__ = ["Sender"]


@dataclass(slots=True)
class Sender:
    """Pulls messages when there is room for them.

    Attributes:
        next_message: returns the next message, or `None` while there is none.
        connection: where to; `None` while there is no connection.
        sent: messages handed over, over all connections.
        drained: set whenever nothing is pending or unacknowledged; cleared by whoever waits for it.
        progressed: set with each acknowledgement; cleared by whoever waits for it.
    """

    next_message: Callable[[], Message | None]
    connection: Connection | None = None
    sent: int = 0
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    progressed: asyncio.Event = field(default_factory=asyncio.Event)

    def room_available(self) -> None:
        """The connection acknowledged messages."""
        self.pump()
        self.progressed.set()

    def pump(self) -> None:
        """Hand over as many messages as the connection has room for."""
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
