"""Publishing as a component: what is published, and the session with the broker."""

from dataclasses import dataclass

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain import events
from evse_mqtt_bridge.mqtt.connection import Disconnected
from evse_mqtt_bridge.mqtt.session import Session, tls_context
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.service.components.component import BackgroundTask

__all__ = ["Publishing"]


class Publishing:
    """Keeps the topics on the broker up to date."""

    def __init__(self, config: Config, clock: Clock, listener: events.Listener) -> None:
        self.task = BackgroundTask("session")
        self.bridge = Bridge(publishing_plan(config), clock.utc())
        self._settings = config.mqtt
        self._clock = clock
        self._listener = listener
        self.session = Session(config.mqtt, self.bridge, _SessionEvents(listener), clock.chance)

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
        self.session = Session(new.mqtt, self.bridge, _SessionEvents(self._listener), self._clock.chance)
        self.session.published = published
        self._listener.broker_changed(events.BrokerChanged(new.mqtt.address, new.mqtt.client_id))


@dataclass(frozen=True, slots=True)
class _SessionEvents:
    """Turns what the session reports into events."""

    listener: events.Listener

    def broker_connected(self) -> None:
        self.listener.broker_connected(events.BrokerConnected())

    def broker_ended(self, ended: Disconnected, wait: float) -> None:
        self.listener.broker_disconnected(events.BrokerDisconnected(ended.trouble, ended.detail, wait))

    def publish_refused(self, topic: str, reason: str) -> None:
        self.listener.publish_rejected(events.PublishRejected(topic, reason))

    def subscription_refused(self, topic_filter: str) -> None:
        self.listener.subscription_rejected(events.SubscriptionRejected(topic_filter))

    def birth_seen(self) -> None:
        self.listener.consumer_started(events.ConsumerStarted())

    def farewell_failed(self) -> None:
        self.listener.offline_not_acknowledged(events.OfflineNotAcknowledged())
