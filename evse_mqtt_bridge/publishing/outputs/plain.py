"""The output of plain topics: one value per topic, `state` as JSON, and availability with its reason.

An unknown value is not published, and is `null` in `state`. An empty text is not published on its own topic either,
because an empty retained payload would clear the topic.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from evse_mqtt_bridge.domain.model import Reason, Station, StationState
from evse_mqtt_bridge.publishing.contract import (
    BRIDGE_FIELDS,
    METER_FIELDS,
    PLUG_FIELDS,
    READING_FIELDS,
    STATION_FIELDS,
    Field,
    Kind,
    Subject,
    TopicRow,
)
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.plug_values import online_or_offline, plug_values
from evse_mqtt_bridge.publishing.outputs.protocol import AVAILABILITY, VALUES, Handover, Location, Part
from evse_mqtt_bridge.publishing.payloads import json_object
from evse_mqtt_bridge.publishing.topics import PlugTopic, Topics

__all__ = ["PlainLocation", "PlainTopics", "bridge_availability"]

_MEASURED = frozenset(field.name for field in READING_FIELDS)
_RETAINED = tuple(field for field in PLUG_FIELDS if field.retained)
_METERED = frozenset(field.name for field in METER_FIELDS) | {"session"}
_STATE_KEYS = frozenset(field.name for field in _RETAINED) - {"state", "last_session"} | {"energy_time"}
_STATE_KEYS_OF_0_1 = _STATE_KEYS - _METERED - {"energy_time", "iec61851"}


@dataclass(frozen=True, slots=True)
class PlainLocation:
    """The plain topics below one base topic."""

    topics: Topics

    @property
    def manifest_key(self) -> str:
        """Empty: the topic of a manifest entry implies the base topic."""
        return ""

    def manifest_value(self, uuids: Iterable[str]) -> Mapping[str, str]:  # noqa: ARG002  # the protocol
        """Return an empty mapping, see `manifest_key`."""
        return {}

    @property
    def prefix(self) -> str:
        """The base topic."""
        return self.topics.base

    @property
    def prefix_parameter(self) -> tuple[str, str]:
        """Name and description of the address parameter for the base topic."""
        return "base_topic", "The prefix of every topic."

    def with_prefix(self, prefix: str) -> "PlainLocation":
        """Return the location below another base topic."""
        return PlainLocation(Topics(prefix))

    def of_shard(self, shard: int) -> "PlainLocation":
        """Return the location whose bridge topics are those of a shard."""
        return PlainLocation(self.topics.of_shard(shard))

    def bridge_topics(self, client_id: str) -> tuple[str, ...]:  # noqa: ARG002  # the protocol
        """Return the topics of the bridge itself, without its manifest entry."""
        return (self.topics.availability,)

    def station_topics(self, uuid: str, topic_id: str, plugs: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002
        """Return the topics of a station without its manifest entry, each with the uuid of its plug, or empty."""
        topics = {
            self.topics.plug(topic_id, plug_topic_id, field.name): plug_uuid
            for plug_uuid, plug_topic_id in plugs.items()
            for field in _RETAINED
        }
        names = (field.name for field in STATION_FIELDS if field.name != "info")
        return topics | {self.topics.station(topic_id, name): "" for name in names}

    def handover(self, topics: tuple[str, ...], successor: Location | None) -> Handover | None:  # noqa: ARG002
        """Return `None`: plain topics are cleared after their successors are published."""
        return None

    def filters(self) -> tuple[str, ...]:
        """Return the subscription to everything below the base topic."""
        return (f"{self.topics.base}/#",)

    def watched(self) -> tuple[str, ...]:
        """Return the subscription to everything below the base topic."""
        return self.filters()

    def subject(self, topic: str) -> tuple[str, str]:  # noqa: ARG002  # the protocol
        """Return empty texts, because the topics have aliases in place of uuids."""
        return "", ""

    def publisher(self, payload: bytes) -> Topics | None:  # noqa: ARG002  # the protocol
        """Return `None`, because values do not name their publisher."""
        return None

    def is_being_cleared(self, payload: bytes) -> bool:  # noqa: ARG002  # the protocol
        """Return false: plain topics are cleared in one step."""
        return False

    def recognized(self, retained: Mapping[str, bytes], topics: Topics) -> Iterator[str]:
        """Yield the topics of each plug whose `state` has exactly the keys of the contract, and of its station."""
        for topic, payload in retained.items():
            parsed = topics.read(topic)
            if isinstance(parsed, PlugTopic) and parsed.field == "state" and _is_state(payload):
                yield from (topics.plug(parsed.station, parsed.plug, field.name) for field in _RETAINED)
                yield from (topics.station(parsed.station, field.name) for field in STATION_FIELDS)

    def bridge_rows(self, client_id: str) -> Iterator[TopicRow]:  # noqa: ARG002  # the protocol
        """Yield the topics of the bridge itself."""
        prefix = self.topics.availability.removesuffix("availability")
        shard = self.topics.shard
        owner: Subject = "shard" if shard else "bridge"
        return (self._row(owner, prefix, field, f"shard {shard}" if shard else "bridge") for field in BRIDGE_FIELDS)

    def station_rows(self, station: Station) -> Iterator[TopicRow]:
        """Yield the topics of a station."""
        prefix = self.topics.station(station.topic_id)
        return (self._row("station", prefix, field, station.title) for field in STATION_FIELDS)

    def plug_rows(self, station: Station, uuid: str, topic_id: str) -> Iterator[TopicRow]:  # noqa: ARG002
        """Yield the topics of a plug."""
        prefix = self.topics.plug(station.topic_id, topic_id)
        return (self._row("plug", prefix, field, f"{station.title} {topic_id}") for field in PLUG_FIELDS)

    def _row(self, owner: Subject, prefix: str, field: Field, device: str) -> TopicRow:
        topic = prefix + field.name
        is_measured = owner == "plug" and field.name in _MEASURED
        quality = f"{prefix}availability" if is_measured else self.topics.availability
        return TopicRow(
            channel=f"{owner}.{field.name}",
            topic=topic,
            kind=field.kind,
            unit=field.unit,
            description=field.description,
            device=device,
            quality="" if topic == quality else quality,
            time=f"{prefix}time" if is_measured and field.kind is not Kind.TIME else "",
            retained=field.retained,
        )


@dataclass(frozen=True, slots=True)
class PlainTopics:
    """Renders values and availability below one base topic."""

    topics: Topics

    @property
    def location(self) -> PlainLocation:
        """The base topic."""
        return PlainLocation(self.topics)

    def bridge(self, part: Part) -> Iterable[Message]:
        """Return `online`, as the last message of a full republish."""
        return (bridge_availability(self.topics, online=True),) if part is AVAILABILITY else ()

    def station(self, part: Part, station: Station, old: StationState | None, new: StationState) -> Iterable[Message]:
        """Return the values, or the availability, that differ between two states; all if `old` is `None`."""
        if part is VALUES:
            return self._values(station, old, new)
        if part is AVAILABILITY:
            return self._availability(station, old, new)
        return ()

    def _values(self, station: Station, old: StationState | None, new: StationState) -> list[Message]:
        messages: list[Message] = []
        for uuid, plug in new.plugs.items():
            before = old.plugs.get(uuid) if old else None
            if before is not plug:
                prefix = self.topics.plug(station.topic_id, station.plug_topic_id(uuid))
                messages += plug_values(prefix, before, plug)
        return messages

    def _availability(self, station: Station, old: StationState | None, new: StationState) -> Iterator[Message]:
        for uuid, plug in new.plugs.items():
            before = old.plugs.get(uuid) if old else None
            if plug.reason is not None and (before is None or plug.reason is not before.reason):
                prefix = self.topics.plug(station.topic_id, station.plug_topic_id(uuid))
                yield from _availability(prefix, plug.reason)
        if new.reason is not None and (old is None or new.reason is not old.reason):
            yield from _availability(self.topics.station(station.topic_id), new.reason)


def bridge_availability(topics: Topics, *, online: bool) -> Message:
    """Return the message with the bridge's availability; `offline` is also its will."""
    return Message(topics.availability, b"online" if online else b"offline")


def _is_state(payload: bytes) -> bool:
    keys = json_object(payload).keys()
    return keys in (_STATE_KEYS, _STATE_KEYS_OF_0_1)


def _availability(prefix: str, reason: Reason) -> tuple[Message, Message]:
    return (
        Message(prefix + "availability_reason", reason.value.encode()),
        Message(prefix + "availability", online_or_offline(reason).encode()),
    )
