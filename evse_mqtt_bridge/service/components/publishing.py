"""Publishing as a component: the states of the stations, what is published of them, and the session with the broker."""

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain.events import BrokerChanged, Listener
from evse_mqtt_bridge.domain.model import StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.mqtt.connection import tls_context
from evse_mqtt_bridge.mqtt.session import Session
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Publication
from evse_mqtt_bridge.service.components.component import BackgroundTask

__all__ = ["Publishing"]


class Publishing:
    """Keeps the topics on the broker up to date."""

    def __init__(self, config: Config, clock: Clock, listener: Listener) -> None:
        plan = publishing_plan(config)
        self.task = BackgroundTask("session")
        self.stations = Stations(plan.stations, plan.rules)
        self.publication = Publication(plan, self.stations, clock.utc())
        self._settings = config.mqtt
        self._clock = clock
        self._listener = listener
        self.session = self._new_session()

    @property
    def settings(self) -> Mqtt:
        """The settings of the session in use."""
        return self._settings

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self.publication.plan

    def state(self, uuid: str) -> StationState:
        """What is known of a configured station."""
        return self.stations.state(uuid)

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
        """Go over to other topics and stations; a session that was stopped is replaced. The states stay."""
        self.session.reconfigure(publishing_plan(new))
        if new.mqtt == self._settings:
            return
        self._settings = new.mqtt
        published = self.session.published
        self.session = self._new_session()
        self.session.continue_count(published)
        self._listener.broker_changed(BrokerChanged(new.mqtt.address, new.mqtt.client_id))

    def _new_session(self) -> Session:
        return Session(self._settings, self.publication, self._listener, self._clock.chance)
