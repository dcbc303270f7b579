"""Other bridges on the same broker, and the stations that they have in common with this one.

Discovery topics consist of the uuids of stations and plugs, so bridges with the same stations publish on the same ones,
whatever their client ids and base topics are. The manifest of a bridge claims its topics. While that bridge is live, no
other one clears them.

A bridge is live unless its availability is `offline`: it may be about to publish its first `online`, or this client may
not be allowed to read it.
"""

import re
from collections.abc import Callable, Collection, Iterator

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics

__all__ = ["OtherBridges"]

_MOST_BRIDGES = 16
"""Maximum number of other bridges, because anybody can forge their entries."""

_MOST_STATIONS = 100_000
"""Maximum number of their stations in common with this bridge."""

_UUID = re.compile(rb'\{"uuid":"([A-Za-z0-9_-]{1,64})"')
"""The beginning of each station's `info`. Parsing the whole entries of 20,000 stations of others would be slow."""


class OtherBridges:
    """Collects the entries of other bridges.

    Args:
        client_ids: The MQTT client ids of this bridge.
        is_relevant: Returns whether a station, by uuid, is or was one of this bridge.
    """

    def __init__(self, client_ids: Collection[object], is_relevant: Callable[[str], bool]) -> None:
        self._others = _AllBut(client_ids)
        self._is_relevant = is_relevant
        self._bridges: dict[Topics, BridgeEntry] = {}
        self._offline: set[Topics] = set()
        self._stations: dict[str, dict[Topics, StationEntry]] = {}
        self._count = 0

    def received(self, topic: str, payload: bytes) -> None:
        """Read a retained message; one that is not from another bridge is ignored."""
        base = Topics(topic.rsplit("/", 2)[0])
        if topic.endswith(f"/{BRIDGE}/info"):
            self._bridge_received(base, topic, payload)
        elif topic == base.availability:
            if payload == b"offline":
                self._offline.add(base)
            else:
                self._offline.discard(base)
        elif base in self._bridges and topic.endswith("/info"):
            self._station_received(base, topic, payload)

    def _bridge_received(self, base: Topics, topic: str, payload: bytes) -> None:
        if entries := read_bridge(topic, payload, self._others):
            if base in self._bridges or len(self._bridges) < _MOST_BRIDGES:
                self._bridges[base] = entries[0]
        elif not payload:
            self._bridges.pop(base, None)

    def _station_received(self, base: Topics, topic: str, payload: bytes) -> None:
        uuid = _UUID.match(payload)
        if uuid and not self._is_relevant(uuid[1].decode()):
            return
        entries = read_station(base, topic, payload, {self._bridges[base].client_id})
        if entries and self._is_relevant(entries[0].uuid) and self._count < _MOST_STATIONS:
            by_base = self._stations.setdefault(entries[0].uuid, {})
            self._count += base not in by_base
            by_base[base] = entries[0]

    @property
    def filters(self) -> list[str]:
        """The subscriptions that yield availability and stations of the bridges found so far."""
        return [each for base in self._bridges for each in (base.availability, base.manifest_filter)]

    def claimed_topics(self, uuid: str) -> frozenset[str]:
        """Return the discovery topics of a station that live bridges claim."""
        return frozenset(topic for entry in self._live(uuid) for topic in _shared_topics(entry))

    def all_claimed_topics(self) -> frozenset[str]:
        """Return the discovery topics of all relevant stations that live bridges claim."""
        return frozenset(topic for uuid in self._stations for topic in self.claimed_topics(uuid))

    def with_same_stations(self) -> dict[Topics, tuple[str, int]]:
        """Return the live bridges that have stations in common with this one: client id, and number of stations."""
        counts: dict[Topics, int] = {}
        for uuid in self._stations:
            for entry in self._live(uuid):
                counts[entry.topics] = counts.get(entry.topics, 0) + 1
        return {base: (self._bridges[base].client_id, count) for base, count in counts.items()}

    def _live(self, uuid: str) -> Iterator[StationEntry]:
        for base, entry in self._stations.get(uuid, {}).items():
            if base in self._bridges and base not in self._offline:
                yield entry


class _AllBut:
    """A container of every MQTT client id but those of this bridge."""

    def __init__(self, client_ids: Collection[object]) -> None:
        self._client_ids = client_ids

    def __contains__(self, client_id: object) -> bool:
        return client_id not in self._client_ids


def _shared_topics(entry: StationEntry) -> Iterator[str]:
    """Yield the topics of an entry that another bridge may have as well: those that do not depend on the base topic."""
    for location in entry.locations:
        if location.manifest_key:
            yield from entry.topics_at(location)
