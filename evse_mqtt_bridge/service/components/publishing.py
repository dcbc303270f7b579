"""Publishing as a component: what is published, and the session with the broker."""

from collections.abc import Callable

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.mqtt.session import Session, SessionLog, tls_context
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.service.components.component import BackgroundTask

__all__ = ["Publishing"]


class Publishing:
    """Keeps the topics on the broker up to date."""

    def __init__(self, config: Config, clock: Clock, log: SessionLog, broker_changed: Callable[[], None]) -> None:
        self.task = BackgroundTask("session")
        self.bridge = Bridge(publishing_plan(config), clock.utc())
        self._settings = config.mqtt
        self._clock = clock
        self._log = log
        self._broker_changed = broker_changed
        self.session = Session(config.mqtt, self.bridge, log, clock.chance)

    @property
    def settings(self) -> Mqtt:
        """The settings of the session in use."""
        return self._settings

    async def prepare(self, new: Config) -> None:
        """Read the certificates; each connection reads them again. See `Component`."""
        tls_context(new.mqtt.tls)

    async def start(self) -> None:
        """Connect, and stay connected."""
        self.task.start(self.session.run())

    async def stop(self) -> None:
        """Publish `offline`, and disconnect."""
        await self.task.stop()

    def reconfigure(self, new: Config) -> None:
        """Go over to other topics and stations; a session that was stopped is replaced. Its states stay."""
        self.bridge.apply(publishing_plan(new), self.session)
        self.session.listen()
        if new.mqtt == self._settings:
            return
        self._settings = new.mqtt
        published = self.session.published
        self.session = Session(new.mqtt, self.bridge, self._log, self._clock.chance)
        self.session.published = published
        self._broker_changed()
