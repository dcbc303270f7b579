"""What the publication, the manifest, the migration, the orphans and the catalogue need from an output."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple, Protocol

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing.contract import TopicRow
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["Handover", "Location", "Output", "Stage"]


class Stage(Enum):
    """The order within a full republish, for all stations, and within the changes of one station."""

    DISCOVERY = 1
    VALUES = 2
    AVAILABILITY = 3


class Handover(NamedTuple):
    """Topics that are cleared before their successor is published.

    Attributes:
        stages: what has to be published before they are cleared, each stage when the one before it is acknowledged.
    """

    stages: tuple[tuple[Message, ...], ...] = ()


class Location(Protocol):
    """Where an output publishes. A hashable value, equal to that of any output that publishes at the same place."""

    @property
    def manifest_key(self) -> str:
        """The key of this location in a manifest entry; empty where the topic of the entry implies the location."""

    def manifest_value(self) -> Mapping[str, str]:
        """Return what a manifest entry records."""

    @property
    def prefix(self) -> str:
        """What every topic begins with."""

    @property
    def prefix_parameter(self) -> tuple[str, str]:
        """Name and description of the prefix, where it is a parameter of an address."""

    def with_prefix(self, prefix: str) -> "Location":
        """Return the same location below another prefix."""

    def bridge_topics(self, client_id: str) -> tuple[str, ...]:
        """Return the topics of the bridge itself, in the order of clearing."""

    def station_topics(self, uuid: str, topic_id: str, plugs: Mapping[str, str]) -> dict[str, str]:
        """Return the topics of a station, in the order of clearing.

        Args:
            uuid: the station's uuid.
            topic_id: its level in topics.
            plugs: topic ids by plug uuid.

        Returns:
            For each topic the uuid of the plug whose values it carries; empty for topics of no plug.
        """

    def handover(self, topics: tuple[str, ...], successor: "Location | None") -> "Handover | None":
        """Return how topics of a station that stays give way to `successor`, a location with the same manifest key.

        Returns:
            `None` where the topics are to be cleared after their successor is published.
        """

    def filters(self) -> tuple[str, ...]:
        """Return the subscriptions that find every topic of this output, also of bridges with another client id."""

    def recognized(self, retained: Mapping[str, bytes], topics: Topics) -> Iterator[str]:
        """Yield the topics whose retained payloads prove that a bridge with these topics published them."""

    def bridge_rows(self, client_id: str) -> Iterator[TopicRow]:
        """Yield a catalogue row for each topic of the bridge itself."""

    def station_rows(self, station: Station) -> Iterator[TopicRow]:
        """Yield a catalogue row for each topic of a station, without its plugs."""

    def plug_rows(self, station: Station, uuid: str, topic_id: str) -> Iterator[TopicRow]:
        """Yield a catalogue row for each topic of a plug."""


class Output(Protocol):
    """Renders the messages of one output."""

    @property
    def location(self) -> Location:
        """Where this output publishes."""

    def bridge(self, stage: Stage) -> Iterable[Message]:
        """Return the messages of the running bridge itself."""

    def station(self, stage: Stage, station: Station, old: StationState | None, new: StationState) -> Iterable[Message]:
        """Return the messages that turn a broker which shows `old` into one which shows `new`.

        Args:
            old: the state published last; `None` for everything.
            new: a state derived from `old` by `advance` or `age`, directly or by way of others.
        """
