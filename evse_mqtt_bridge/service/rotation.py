"""Notes which secrets were rejected, so that they are read again from their files: they may have been replaced."""

import asyncio
from functools import partial

from evse_mqtt_bridge.config.rotation import Reread, has_file, reread
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.events import BrokerDisconnected, DisconnectReason, Listener, TokenRejected
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["Rotation"]

_TIMEOUT = 30.0
"""Seconds to read the files."""


class Rotation(Listener):
    """Listener that notes rejected secrets.

    Attributes:
        requested: Set while there are rejected secrets to read again.
    """

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self._stations: set[str] = set()
        self._password = False

    def token_rejected(self, event: TokenRejected) -> None:
        """Note that the token of a station was rejected."""
        self._stations.add(event.uuid)
        self.requested.set()

    def broker_disconnected(self, event: BrokerDisconnected) -> None:
        """Note that the broker rejected the password."""
        if event.reason is DisconnectReason.LOGIN:
            self._password = True
            self.requested.set()

    async def reread(self, config: Config) -> Reread:
        """Read the rejected secrets again that are in files."""
        self.requested.clear()
        stations, self._stations = self._stations, set()
        password, self._password = self._password, False
        if not has_file(config, stations=stations, password=password):
            return Reread(config, (), ())
        read = partial(reread, config, stations=stations, password=password)
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await in_daemon_thread(read, "secrets")
        except TimeoutError:
            return Reread(config, (), (f"the files cannot be read within {_TIMEOUT:g} s",))
