"""Reads retained messages. MQTT does not mark the last one, so a pause without a message counts as the end."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from evse_mqtt_bridge.mqtt.connection import Connection

__all__ = ["RetainedReader"]


@dataclass(slots=True)
class RetainedReader:
    """Subscribes and waits until all retained messages have arrived.

    Attributes:
        connection: An accepted connection.
    """

    connection: Connection
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def message_arrived(self) -> None:
        """Note that a retained message arrived on the connection."""
        self._arrived.set()

    async def read(self, filters: list[str], pause: float, limit: float | None = None) -> list[str]:
        """Subscribe, and wait until no retained message arrives for `pause` seconds, or at most `limit` seconds.

        Return the rejected filters; return early if the connection ends.
        """
        rejected = await self.connection.subscribe(filters)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not self.connection.disconnected.done():
                    self._arrived.clear()
                    async with asyncio.timeout(pause):
                        await self._arrived.wait()
        return rejected
