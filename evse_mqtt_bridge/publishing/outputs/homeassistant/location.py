"""The location of discovery: a prefix and a form, the topics there, and the handover to another location."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from evse_mqtt_bridge.domain.model import Station
from evse_mqtt_bridge.publishing.contract import Kind, Subject, TopicRow
from evse_mqtt_bridge.publishing.outputs.homeassistant import discovery
from evse_mqtt_bridge.publishing.outputs.homeassistant.device_ids import is_escaped, uuids
from evse_mqtt_bridge.publishing.outputs.homeassistant.discovery import ORIGIN, Form
from evse_mqtt_bridge.publishing.outputs.homeassistant.migration import is_migration, placeholder, unload
from evse_mqtt_bridge.publishing.outputs.protocol import Handover, Location
from evse_mqtt_bridge.publishing.payloads import json_object
from evse_mqtt_bridge.publishing.topics import Topics, is_prefix

__all__ = ["DiscoveryLocation"]

_ORIGIN = json.dumps({"origin": {"name": ORIGIN}}, separators=(",", ":"))[1:-2].encode()
_AVAILABILITY = re.compile(rb'/bridge(?:/[1-9]\d?)?/availability"')
_LONGEST_BASE = 2000
"""Maximum number of bytes of a base topic in JSON."""

_IDS = "escaped"
"""The mark of an entry whose topics have escaped uuids: see device_ids.py."""


@dataclass(frozen=True, slots=True)
class DiscoveryLocation:
    """A discovery prefix and a form.

    Attributes:
        prefix: The discovery prefix.
        form: One message per entity, or one per device.
        is_legacy: Whether the topics have the ids of version 0.1; only if they differ.
    """

    prefix: str
    form: Form
    is_legacy: bool = False

    @classmethod
    def from_manifest(cls, content: Mapping[str, object], uuids: Iterable[str] = ()) -> Self | None:
        """Return the location that a manifest entry records; `None` if there is none, or if it is invalid.

        Args:
            content: The entry.
            uuids: The uuids of its station and plugs.
        """
        match content.get("discovery"):
            case {"prefix": str(prefix), "form": "entity" | "device" as form, **others} if is_prefix(prefix):
                return cls(prefix, form, others.get("ids") != _IDS and any(map(is_escaped, uuids)))
        return None

    @property
    def manifest_key(self) -> str:
        """The key in a manifest entry."""
        return "discovery"

    def manifest_value(self, uuids: Iterable[str]) -> Mapping[str, str]:
        """Return the value in a manifest entry; `ids` marks the few entries of uuids that are escaped."""
        mark = {"ids": _IDS} if not self.is_legacy and any(map(is_escaped, uuids)) else {}
        return {"prefix": self.prefix, "form": self.form, **mark}

    @property
    def prefix_parameter(self) -> tuple[str, str]:
        """Name and description of the address parameter for the prefix."""
        return "discovery_prefix", "The prefix of every discovery topic."

    def with_prefix(self, prefix: str) -> "DiscoveryLocation":
        """Return the location below another prefix."""
        return replace(self, prefix=prefix)

    def of_shard(self, shard: int) -> "DiscoveryLocation":  # noqa: ARG002  # the protocol
        """Return this location, which is that of all shards."""
        return self

    def bridge_topics(self, client_id: str) -> tuple[str, ...]:
        """Return the discovery topics of a bridge."""
        return discovery.bridge_topics(self.prefix, self.form, client_id)

    def station_topics(self, uuid: str, topic_id: str, plugs: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002
        """Return the discovery topics of a station, those of its plugs first. None of them carries values."""
        topics = [
            topic
            for plug in plugs
            for topic in discovery.plug_topics(self.prefix, self.form, uuid, plug, is_legacy=self.is_legacy)
        ]
        topics += discovery.station_topics(self.prefix, self.form, uuid, is_legacy=self.is_legacy)
        return dict.fromkeys(topics, "")

    def handover(self, topics: tuple[str, ...], successor: Location | None) -> Handover:
        """Return how discovery moves. Home Assistant keeps entities and history only if prefix and ids are the same."""
        is_same = isinstance(successor, DiscoveryLocation) and successor.prefix == self.prefix
        if is_same and not self.is_legacy:
            return Handover((unload(topics), placeholder(topics)))
        return Handover()

    def filters(self) -> tuple[str, ...]:
        """Return the subscriptions to all discovery topics below the prefix."""
        return (f"{self.prefix}/+/+/config", f"{self.prefix}/+/+/+/config")

    def watched(self) -> tuple[str, ...]:
        """Return the subscription to the discovery topics of this form."""
        return (f"{self.prefix}/device/+/config",) if self.form == "device" else (f"{self.prefix}/+/+/+/config",)

    def subject(self, topic: str) -> tuple[str, str]:
        """Return the uuids in a discovery topic of this form."""
        match topic.removeprefix(f"{self.prefix}/").split("/"):
            case ["device", device_id, "config"] if self.form == "device":
                return uuids(device_id)
            case [_, device_id, _, "config"] if self.form == "entity":
                return uuids(device_id)
        return "", ""

    def publisher(self, payload: bytes) -> Topics | None:
        """Return the base topic of the bridge whose availability a discovery payload of this program names."""
        if _ORIGIN not in payload or not (match := _AVAILABILITY.search(payload)):
            return None
        text = _end_of_json_text(payload[: match.start()][-_LONGEST_BASE:])
        base = json_object(b'{"base":"' + text + b'"}').get("base")
        return Topics(base) if isinstance(base, str) and is_prefix(base) else None

    def is_being_cleared(self, payload: bytes) -> bool:
        """Return whether a payload is one of a change of the form, which names no bridge and precedes the clearing."""
        return is_migration(payload)

    def recognized(self, retained: Mapping[str, bytes], topics: Topics) -> Iterator[str]:
        """Yield the discovery topics of this program whose entities depend on the bridge's availability topic."""
        prefix = re.escape(json.dumps(topics.of_shard(0).own_prefix, ensure_ascii=False)[:-1])
        availability = re.compile(rf'{prefix}(/[1-9]\d?)?/availability"'.encode())
        for topic, payload in retained.items():
            if topic.endswith("/config") and availability.search(payload):
                match json_object(payload):
                    case {"origin": {"name": str(name)}} if name == ORIGIN:
                        yield topic

    def bridge_rows(self, client_id: str) -> Iterator[TopicRow]:
        """Yield the discovery topics of the bridge itself."""
        return (self._row("bridge", topic, "bridge") for topic in self.bridge_topics(client_id))

    def station_rows(self, station: Station) -> Iterator[TopicRow]:
        """Yield the discovery topics of a station, without its plugs."""
        topics = discovery.station_topics(self.prefix, self.form, station.uuid)
        return (self._row("station", topic, station.title) for topic in topics)

    def plug_rows(self, station: Station, uuid: str, topic_id: str) -> Iterator[TopicRow]:
        """Yield the discovery topics of a plug."""
        topics = discovery.plug_topics(self.prefix, self.form, station.uuid, uuid)
        return (self._row("plug", topic, f"{station.title} {topic_id}") for topic in topics)

    def _row(self, owner: Subject, topic: str, device: str) -> TopicRow:
        """Return a row, with the channel `discovery.plug.power` (entity form) or `discovery.plug` (device form)."""
        name = topic.split("/")[-2] if self.form == "entity" else ""
        return TopicRow(
            channel=f"discovery.{owner}.{name}" if name else f"discovery.{owner}",
            topic=topic,
            kind=Kind.JSON,
            unit="",
            description=f"Home Assistant discovery of `{name}`" if name else f"Home Assistant discovery of the {owner}",
            device=device,
            quality="",
            time="",
        )


def _end_of_json_text(payload: bytes) -> bytes:
    """Return what follows the last quotation mark that is not escaped; a regular expression takes quadratic time."""
    end = len(payload)
    while (end := payload.rfind(b'"', 0, end)) >= 0:
        before = payload[:end]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return payload[end + 1 :]
    return b""
