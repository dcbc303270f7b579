"""Reads what a broker retains: MQTT does not mark the end of it, so a pause without a message counts as the end."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from evse_mqtt_bridge.mqtt.connection import Connection

__all__ = ["RetainedReader"]


@dataclass(slots=True)
class RetainedReader:
    """Subscribes and waits until everything retained has arrived.

    Attributes:
        connection: an accepted connection.
    """

    connection: Connection
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def message_arrived(self) -> None:
        """A retained message arrived on the connection."""
        self._arrived.set()

    async def read(self, filters: list[str], pause: float, limit: float | None = None) -> list[str]:
        """Subscribe, and wait until no retained message arrives for `pause` seconds, or for `limit` seconds at most.

        Returns the rejected filters; early where the connection ends.
        """
        rejected = await self.connection.subscribe(filters)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not self.connection.disconnected.done():
                    self._arrived.clear()
                    async with asyncio.timeout(pause):
                        await self._arrived.wait()
        return rejected
