"""The pure core of a running bridge: stations and publication, connected as in the supervisor."""

from datetime import datetime
from typing import TYPE_CHECKING

from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.events import PollCompleted
from evse_mqtt_bridge.domain.model import Outcome, Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import Discovery, Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.output import HomeAssistant
from evse_mqtt_bridge.publishing.outputs.plain import PlainTopics
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Publication
from evse_mqtt_bridge.publishing.renderer import Renderer
from evse_mqtt_bridge.publishing.topics import Topics
from tests.harness.samples import NOW

if TYPE_CHECKING:
    from evse_mqtt_bridge.publishing.outputs.protocol import Output

__all__ = ["Bridge", "plan"]

_RULES = Rules()


def plan(
    *stations: Station,
    form: Form | None = None,
    prefix: str = "ha",
    base: str = "evse",
    client_id: str = "me",
    rules: Rules = _RULES,
) -> Plan:
    """Return a plan with these stations; with `form` also with discovery."""
    topics = Topics(base)
    outputs: tuple[Output, ...] = (PlainTopics(topics),)
    if form:
        outputs += (HomeAssistant(Discovery(topics, prefix, form, 1, client_id, "1")),)
    return Plan(topics, client_id, {station.uuid: station for station in stations}, rules, outputs)


class Bridge:
    """Stations and their publication."""

    def __init__(self, plan: Plan, started: datetime = NOW) -> None:
        self.stations = Stations(plan.stations, plan.rules, started=0.0)
        self.publication = Publication(plan, self.stations, started)

    @property
    def plan(self) -> Plan:
        return self.publication.plan

    def state(self, uuid: str) -> StationState:
        return self.stations.state(uuid)

    def next_poll(self, _uuid: str) -> datetime | None:
        return None

    def poll(self, uuid: str, outcome: Outcome, moment: Moment) -> PollCompleted:
        """Complete a poll of a station with this outcome."""
        event = self.stations.apply_outcome(uuid, outcome, moment, 0.1)
        self.publication.station_changed(event.station, event.old, event.new)
        return event

    def everything(self) -> dict[str, bytes]:
        """Return the retained topics once nothing is pending."""
        renderer = Renderer(self.plan, self.stations, NOW)
        messages = list(renderer.everything())
        topics = {message.topic: message.payload for message in messages}
        assert len(topics) == len(messages), "each topic once"
        return topics
