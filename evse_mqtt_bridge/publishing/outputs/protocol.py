"""The protocol of an output, for the publication, the manifest, the migration, the orphans and the catalogue."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, NamedTuple, Protocol

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.publishing.contract import TopicRow
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["AVAILABILITY", "DISCOVERY", "VALUES", "Handover", "Location", "Output", "Part", "Stages"]


class Part(Enum):
    """The parts of a full republish, and of the changes of one station, in the order of publishing."""

    DISCOVERY = 1
    VALUES = 2
    AVAILABILITY = 3


DISCOVERY: Final = Part.DISCOVERY
VALUES: Final = Part.VALUES
AVAILABILITY: Final = Part.AVAILABILITY
"""The same parts: an attribute of an enum takes as long as a call, and each change of a station needs several."""

Stages = tuple[tuple[Message, ...], ...]
"""Messages to publish in stages, each stage when the previous one is acknowledged."""


class Handover(NamedTuple):
    """How topics are cleared before their successor is published.

    Attributes:
        stages: The messages to publish before the clearing; empty: clear at once.
    """

    stages: Stages = ()


class Location(Protocol):
    """Where an output publishes: a hashable value, equal for all outputs that publish at the same location."""

    @property
    def manifest_key(self) -> str:
        """The key of this location in a manifest entry; empty if the topic of the entry implies the location."""

    def manifest_value(self, uuids: Iterable[str]) -> Mapping[str, str]:
        """Return the value in the manifest entry of a station, and of its plugs, with these uuids."""

    @property
    def prefix(self) -> str:
        """The prefix of every topic."""

    @property
    def prefix_parameter(self) -> tuple[str, str]:
        """Name and description of the address parameter for the prefix."""

    def with_prefix(self, prefix: str) -> "Location":
        """Return the same location below another prefix."""

    def of_shard(self, shard: int) -> "Location":
        """Return the same location for another shard of the bridge."""

    def bridge_topics(self, client_id: str) -> tuple[str, ...]:
        """Return the topics of the bridge itself, in the order of clearing."""

    def station_topics(self, uuid: str, topic_id: str, plugs: Mapping[str, str]) -> dict[str, str]:
        """Return the topics of a station, in the order of clearing.

        Args:
            uuid: The station's uuid.
            topic_id: Its level in topics.
            plugs: Topic ids by plug uuid.

        Returns:
            The topics, each with the uuid of its plug; empty for topics of no plug.
        """

    def handover(self, topics: tuple[str, ...], successor: "Location | None") -> "Handover | None":
        """Return how topics of a remaining station are handed over to `successor`, which has the same manifest key.

        Returns:
            The handover; `None` if the topics are cleared after their successor is published.
        """

    def filters(self) -> tuple[str, ...]:
        """Return subscriptions to every topic of this output, including those of bridges with another client id."""

    def recognized(self, retained: Mapping[str, bytes], topics: Topics) -> Iterator[str]:
        """Yield the topics whose retained payloads prove that a bridge with this base topic published them."""

    def watched(self) -> tuple[str, ...]:
        """Return the subscriptions to what others publish on the topics of this location."""

    def subject(self, topic: str) -> tuple[str, str]:
        """Return the uuids of the station and plug that a topic names; empty texts for what it does not name."""

    def publisher(self, payload: bytes) -> Topics | None:
        """Return the base topic of the bridge that published a payload; `None` if it names none."""

    def is_being_cleared(self, payload: bytes) -> bool:
        """Return whether a retained payload is only published before its topic is cleared, and names no bridge."""

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
        """The location at which this output publishes."""

    def bridge(self, part: Part) -> Iterable[Message]:
        """Return the messages of the running bridge itself."""

    def station(self, part: Part, station: Station, old: StationState | None, new: StationState) -> Iterable[Message]:
        """Return the messages that update the topics of a station from `old` to `new`.

        Args:
            old: The state published last; `None` to publish everything.
            new: The new state, derived from `old` by one or more calls of `advance` or `age`.
        """
