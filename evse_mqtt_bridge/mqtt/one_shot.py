"""A short one_shot to the broker: connect, read what is retained, maybe clear some of it, and leave."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from evse_mqtt_bridge.config.schema import Mqtt
from evse_mqtt_bridge.domain.model import Message
from evse_mqtt_bridge.mqtt import connection as mqtt
from evse_mqtt_bridge.mqtt.session import tls_context
from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["OneShotClient", "one_shot"]

_QUIET = 1.0

ACKNOWLEDGE_LIMIT = 30.0
"""Seconds without any acknowledgement after which publishing is given up."""


@dataclass(slots=True)
class OneShotClient:
    """What can be done during a one_shot."""

    connection: mqtt.Connection | None = None
    refused: dict[str, str] = field(default_factory=dict)
    _retained: dict[str, bytes] = field(default_factory=dict)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: Iterator[Message] = field(default_factory=lambda: iter(()))
    _acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    _is_done: bool = False

    async def retained(self, filters: list[str], quiet: float = _QUIET) -> dict[str, bytes]:
        """What is retained under these filters, once nothing came for `quiet` seconds.

        Raises:
            UnavailableError: the broker refused a subscription, or the connection was lost.
        """
        refused = await self._there.subscribe(filters)
        self._must_stand()
        if refused:
            raise UnavailableError(f"the broker refused to let this user read {', '.join(refused)}")
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(quiet):
                    await self._heard.wait()
            except TimeoutError:
                self._must_stand()
                return dict(self._retained)

    def _must_stand(self) -> None:
        """A connection that was lost in the middle has not said all that there is."""
        if self._there.ended.done():
            raise UnavailableError(f"the broker was lost while it was read: {self._there.ended.result().detail}")

    async def publish(self, messages: Iterable[Message]) -> None:
        """Publish, and wait for the acknowledgements; what was refused is in `refused`.

        Raises:
            UnavailableError: the broker went away, or acknowledged nothing for ACKNOWLEDGE_LIMIT.
        """
        self._waiting = iter(messages)
        self._is_done = False
        self._pump()
        while not self._is_done:
            self._acknowledged.clear()
            heard = asyncio.create_task(self._acknowledged.wait(), name="one_shot-publish")
            parties = (heard, self._there.ended)
            done, _ = await asyncio.wait(parties, timeout=ACKNOWLEDGE_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()
            if heard not in done:
                raise UnavailableError("the broker did not acknowledge everything: try again")

    @property
    def _there(self) -> mqtt.Connection:
        if self.connection is None:
            raise RuntimeError("not connected")
        return self.connection

    def received(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001  # what MQTT delivers
        """A message came."""
        if retained:
            self._retained[topic] = payload
            self._heard.set()

    def refuse(self, topic: str, reason: str) -> None:
        """The broker will not have a publication."""
        self.refused[topic] = reason

    def drained(self) -> None:
        """There is room for another publication."""
        self._pump()
        self._acknowledged.set()

    def _pump(self) -> None:
        while self._there.has_room:
            message = next(self._waiting, None)
            if message is None:
                self._is_done = not self._there.in_flight
                return
            self._there.publish(message)


@asynccontextmanager
async def one_shot(settings: Mqtt, purpose: str) -> AsyncIterator[OneShotClient]:
    """Connect beside a running bridge, as client id `<client_id>-<purpose>`, with no will.

    Raises:
        ConfigError: a TLS file cannot be used.
        UnavailableError: there is no connection, and why.
    """
    guest = OneShotClient()
    handlers = mqtt.Handlers(guest.received, guest.refuse, guest.drained)
    # at QoS 2 paho does not tell of what is refused
    settings = settings.model_copy(update={"client_id": f"{settings.client_id}-{purpose}", "qos": min(1, settings.qos)})
    met = await mqtt.connect(settings, tls_context(settings.tls), None, handlers)
    if isinstance(met, mqtt.Disconnected):
        advice = _advice(met, tls=settings.tls is not None)
        raise UnavailableError(f"broker {settings.address}: {met.detail}{advice}")
    guest.connection = met
    tending = asyncio.create_task(met.tend(), name="one_shot-tend")
    try:
        yield guest
    finally:
        tending.cancel()
        met.disconnect()


def _advice(ended: mqtt.Disconnected, *, tls: bool) -> str:
    """What to look at first, where that can be told."""
    right_port = "; does it speak TLS on this port?" if tls else "; does it speak MQTT without TLS on this port?"
    match ended.trouble:
        case mqtt.DisconnectReason.LOGIN:
            return "; check user name, password and what the broker allows this user"
        case mqtt.DisconnectReason.TLS if "match" in ended.detail or "not valid for" in ended.detail:
            return "; name the broker as its certificate does"
        case mqtt.DisconnectReason.TLS if "certificate was refused" in ended.detail:
            return "; does mqtt.tls.ca_file name the CA that signed it?"
        case mqtt.DisconnectReason.TLS:
            return right_port
        case mqtt.DisconnectReason.UNREACHABLE if "closed the connection" in ended.detail or "reset" in ended.detail:
            return right_port
    return ""
