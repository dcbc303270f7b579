"""Publishing as a component: the publication, and the session with the broker."""

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain.events import BrokerChanged, Listener
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.mqtt.connect_options import tls_context
from evse_mqtt_bridge.mqtt.session import Session
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Publication
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent

__all__ = ["Publishing"]


class Publishing(WatchedComponent):
    """Keeps the topics on the broker up to date. The publication outlives every session.

    Args:
        plan: The publishing plan of `config`.
        stations: The states, which the publication changes only on a reload and to restore plugs.
        listener: Receives the events of the session.
    """

    def __init__(self, config: Config, plan: Plan, stations: Stations, clock: Clock, listener: Listener) -> None:
        self.task = BackgroundTask("session")
        self.publication = Publication(plan, stations, clock.utc())
        self.session = Session(config.mqtt, self.publication, listener, clock.chance)
        self._clock = clock
        self._listener = listener

    @property
    def settings(self) -> Mqtt:
        """The settings of the session in use."""
        return self.session.settings

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
        """Switch to other topics and stations. If `[mqtt]` changed, a new session replaces the stopped one."""
        plan = publishing_plan(new)
        if new.mqtt == self.settings and plan == self.publication.plan:
            return  # another port of the status page, which is in no message
        if new.mqtt == self.settings:
            self.session.reconfigure(plan)
            return
        if new.mqtt.address != self.settings.address:
            self.publication.broker_changed()
        self.publication.reconfigured(plan)
        published = self.session.published
        self.session = Session(new.mqtt, self.publication, self._listener, self._clock.chance)
        self.session.continue_count(published)
        self._listener.broker_changed(BrokerChanged(new.mqtt.address, new.mqtt.client_id))
