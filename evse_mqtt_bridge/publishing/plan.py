"""The publishing plan: which stations are published, by which rules, and by which outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.outputs.protocol import Location, Output
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration asks of the bridge.

    Attributes:
        topics: the base topic.
        client_id: the bridge's MQTT client id, which owns the manifest entries.
        stations: by station uuid.
        rules: when a station or plug counts as unavailable.
        outputs: in the order of publishing.
        birth_topic: where consumers announce their start; empty for nowhere.
    """

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    rules: Rules
    outputs: tuple[Output, ...]
    birth_topic: str = ""

    @property
    def locations(self) -> tuple[Location, ...]:
        """Where the outputs publish."""
        return tuple(output.location for output in self.outputs)
