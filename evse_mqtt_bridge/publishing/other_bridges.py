"""Other bridges on the same broker, and the stations that they have in common with this one.

Discovery topics consist of the uuids of stations and plugs, so bridges with the same stations publish on the same ones,
whatever their client ids and base topics are. The manifest of a bridge claims its topics. While that bridge is live, no
other one clears them.

A bridge is live unless its availability is `offline`: it may be about to publish its first `online`, or this client may
not be allowed to read it.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["AllBut", "OtherBridges"]

_MOST_BRIDGES = 16
"""Maximum number of other bridges, because anybody can forge their entries."""

_MOST_PLUGS = 200_000
"""Maximum number of plugs and stations in the entries of their stations in common with this bridge."""

_UUID = re.compile(rb'\{"uuid":"([A-Za-z0-9_-]{1,64})"')
"""The beginning of each station's `info`. Parsing the whole entries of 20,000 stations of others would be slow."""


class OtherBridges:
    """Collects the entries of other bridges.

    Args:
        own: The base topic of this bridge, below which there is no other; `None`: another bridge may have it as well.
        client_ids: The MQTT client ids of this bridge.
        is_relevant: Returns whether a station, by uuid, is or was one of this bridge.
    """

    def __init__(self, own: Topics | None, client_ids: Collection[object], is_relevant: Callable[[str], bool]) -> None:
        self._own = own
        self._others = AllBut(client_ids)
        self._is_relevant = is_relevant
        self._left: set[tuple[Topics, str]] = set()
        self._infos: dict[Topics, bytes] = {}
        self._bridges: dict[Topics, BridgeEntry] = {}
        self._unread: dict[Topics, None] = {}
        self._offline: set[Topics] = set()
        self._stations: dict[str, dict[Topics, StationEntry]] = {}
        self._count = 0

    def received(self, topic: str, payload: bytes) -> None:
        """Read a message, retained or not; one that is not about another bridge is ignored."""
        base = Topics(topic.rsplit("/", 2)[0])
        if base == self._own:
            return
        if topic == base.info:
            self._bridge_received(base, payload)
        elif topic == base.availability:
            self._availability_received(base, payload)
        elif base in self._bridges and topic.endswith("/info"):
            self._station_received(base, topic, payload)

    def _bridge_received(self, base: Topics, payload: bytes) -> None:
        if self._infos.get(base) == payload or (base not in self._infos and len(self._infos) >= _MOST_BRIDGES):
            return
        entries = read_bridge(base.info, payload, self._others)
        if entries and (base, entries[0].client_id) not in self._left:
            self._infos[base], self._bridges[base] = payload, entries[0]
            self._unread[base] = None
        elif base in self._infos and not payload:
            self._offline.add(base)

    def _availability_received(self, base: Topics, payload: bytes) -> None:
        if payload in (b"offline", b""):
            self._offline.add(base)
        elif base in self._offline:
            self._offline.discard(base)
            self._unread[base] = None

    def _station_received(self, base: Topics, topic: str, payload: bytes) -> None:
        uuid = _UUID.match(payload)
        if uuid and not self._is_relevant(uuid[1].decode()):
            return
        entries = read_station(base, topic, payload, {self._bridges[base].client_id})
        if entries and self._is_relevant(entries[0].uuid) and self._count < _MOST_PLUGS:
            by_base = self._stations.setdefault(entries[0].uuid, {})
            self._count += _size(entries[0]) - _size(by_base.get(base))
            by_base[base] = entries[0]

    def note_own(self, entries: Iterable[BridgeEntry]) -> None:
        """Note entries of this bridge: what it has left under another base topic or client id is not another bridge."""
        self._left.update((entry.topics, entry.client_id) for entry in entries)

    def expect(self, base: Topics) -> None:
        """Note that a bridge with this base topic exists, whose entry this bridge has not received."""
        if base not in self._infos and len(self._infos) < _MOST_BRIDGES:
            self._infos[base], self._unread[base] = b"", None

    def read_again(self) -> None:
        """Note that other stations are relevant now."""
        self._unread = dict.fromkeys(self._infos)

    @property
    def is_outdated(self) -> bool:
        """Whether there is something to read: `pop_unread` is not empty."""
        return bool(self._unread)

    def pop_unread(self) -> tuple[Topics, ...]:
        """Return the base topics below which availability and stations are to be read, and forget the latter."""
        bases, self._unread = tuple(self._unread), {}
        for by_base in self._stations.values():
            for base in bases:
                self._count -= _size(by_base.pop(base, None))
        return bases

    def is_offline(self, base: Topics) -> bool:
        """Return whether the bridge with this base topic is certainly not live."""
        return base in self._offline

    def client_id(self, base: Topics) -> str:
        """Return the MQTT client id of the bridge with this base topic; empty if it is unknown."""
        return self._bridges[base].client_id if base in self._bridges else ""

    def claimed_topics(self, uuid: str) -> frozenset[str]:
        """Return the discovery topics of a station that live bridges claim."""
        return frozenset(topic for entry in self._live(uuid) for topic in _shared_topics(entry))

    def claimed_of(self, entry: StationEntry) -> frozenset[str]:
        """Return the discovery topics of an entry that live bridges claim, however many plugs they name."""
        prefixes = {location.prefix for location in entry.locations if location.manifest_key}
        claimed: set[str] = set()
        for other in self._live(entry.uuid):
            plugs = {plug: topic_id for plug, topic_id in entry.plugs.items() if plug in other.plugs}
            for location in other.locations:
                if location.manifest_key and location.prefix in prefixes:
                    claimed.update(location.station_topics(entry.uuid, entry.topic_id, plugs))
        return frozenset(claimed)

    def all_claimed_topics(self) -> frozenset[str]:
        """Return the discovery topics of all relevant stations that live bridges claim."""
        return frozenset(topic for uuid in self._stations for topic in self.claimed_topics(uuid))

    def stations_of(self, base: Topics) -> frozenset[str]:
        """Return the stations, by uuid, that this bridge and the one with this base topic have."""
        return frozenset(uuid for uuid, by_base in self._stations.items() if base in by_base)

    def with_same_stations(self) -> Mapping[Topics, int]:
        """Return the base topics of live bridges with stations that this one has, too, and the number of these."""
        return Counter(entry.topics for uuid in self._stations for entry in self._live(uuid))

    def _live(self, uuid: str) -> Iterator[StationEntry]:
        for base, entry in self._stations.get(uuid, {}).items():
            bridge = self._bridges.get(base)
            # One shard of several may be offline while the others, which this client does not read, are live.
            if base not in self._offline or (bridge is not None and bridge.shards > 1):
                yield entry


class AllBut:
    """A container of every MQTT client id but those of this bridge."""

    def __init__(self, client_ids: Collection[object]) -> None:
        self._client_ids = client_ids

    def __contains__(self, client_id: object) -> bool:
        return client_id not in self._client_ids


def _size(entry: StationEntry | None) -> int:
    return 1 + len(entry.plugs) if entry else 0


def _shared_topics(entry: StationEntry) -> Iterator[str]:
    """Yield the topics of an entry that another bridge may have as well: those that do not depend on the base topic."""
    for location in entry.locations:
        if location.manifest_key:
            yield from entry.topics_at(location)
