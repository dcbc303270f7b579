"""The publishing plan: which stations are published, by which rules, and by which outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from evse_mqtt_bridge.domain.availability import Rules
from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.outputs.protocol import Location, Output
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """The publishing part of a configuration.

    Attributes:
        topics: The base topic.
        client_id: The bridge's MQTT client id, which owns the manifest entries.
        stations: The stations, by uuid.
        rules: The rules for availability.
        outputs: The outputs, in the order of publishing.
        birth_topic: The topic on which consumers announce their start; empty: none.
    """

    topics: Topics
    client_id: str
    stations: Mapping[str, Station]
    rules: Rules
    outputs: tuple[Output, ...]
    birth_topic: str = ""

    @property
    def locations(self) -> tuple[Location, ...]:
        """The locations of the outputs."""
        return tuple(output.location for output in self.outputs)

    @cached_property
    def by_topic_id(self) -> Mapping[str, Station]:
        """The stations, by their level in topics."""
        return {station.topic_id: station for station in self.stations.values()}
