"""Closes the connection of a session, in the way that leads to the right availability on the broker."""

import asyncio
from enum import Enum

from evse_mqtt_bridge.domain.events import Listener, OfflineNotAcknowledged
from evse_mqtt_bridge.mqtt.connection import Connection
from evse_mqtt_bridge.mqtt.sender import Sender
from evse_mqtt_bridge.publishing.publication import Publication

__all__ = ["Ending", "close"]


class Ending(Enum):
    """How a session ends."""

    OFFLINE = "publish `offline`, because the bridge stops"
    HAND_OVER = "publish what is pending, and let the broker delay the will until another member continues the session"
    ABANDON = "send nothing, because another member continues the session, and let the broker delay the will until then"


async def close(  # noqa: PLR0913, PLR0917  # the parts of a session
    ending: Ending, connection: Connection, publication: Publication, sender: Sender, listener: Listener, limit: float
) -> None:
    """Publish the last messages of an ending, and end the connection.

    Args:
        ending: How the session ends.
        connection: The connection.
        publication: Yields the last messages.
        sender: Sends them.
        listener: Is notified if `offline` is not acknowledged; the broker is then left to publish the will.
        limit: Maximum number of seconds to wait for the acknowledgements.
    """
    if ending is Ending.ABANDON:
        connection.abort()
        return
    if ending is Ending.OFFLINE:
        publication.closing()
    sender.drained.clear()
    sender.pump()
    drained = asyncio.create_task(sender.drained.wait(), name="mqtt-close")
    await asyncio.wait((drained, connection.disconnected), return_when=asyncio.FIRST_COMPLETED, timeout=limit)
    drained.cancel()
    if ending is Ending.HAND_OVER:
        connection.disconnect(with_will=True)
    elif sender.drained.is_set():
        connection.disconnect()
    else:
        listener.offline_not_acknowledged(OfflineNotAcknowledged())
