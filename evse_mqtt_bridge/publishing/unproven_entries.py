"""Collects manifest entries below base topics that only the search found; any client may have written them.

The search finds the `info` of every bridge with this client id, or a former one, under any base topic. A base topic is
proven if something names it that only this bridge can have written: its own `info`, or a discovery message of an entry
below that base topic, on a discovery prefix of the configuration. Entries below any other base topic have this effect
only:

- The topics that they describe below that base topic are cleared.
- Discovery topics that they describe are cleared where the retained message names that base topic, or is the rest of an
  interrupted clearing.
- Meters continue from there, if no proven entry has the plug.

If the bridge below the base topic is online, its topics are not cleared at all: it may be another one, with a former
client id of this bridge.
"""

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["UnprovenEntries", "has_room"]

_MOST_PREFIXES = 4
"""Maximum number of first levels of base topics. Access rules mostly allow a client to write below one of them."""

_MOST_BASES, _MOST_LOCATIONS = 4, 4
"""Maximum number of base topics with the same first level, and of locations of discovery in their entries."""

_FEWEST_PLUGS, _PLUGS_PER_STATION = 512, 8
"""Maximum number of plugs below base topics with the same first level: the larger one of the first, and of the second
for each station of the configuration."""

_MOST_DISCOVERY = 32
"""Maximum number of discovery topics to note, for each plug that may be read."""


class UnprovenEntries:
    """Collects entries from retained messages, and yields the topics to clear.

    Args:
        stations: Number of configured stations.
        is_concerned: Returns whether this shard of the bridge has to read the entry of a station.

    Attributes:
        of_other_shards: The base topics below which only other shards have to read some entries.
    """

    def __init__(self, stations: int, is_concerned: Callable[[StationEntry], bool]) -> None:
        self._most_plugs = max(_FEWEST_PLUGS, _PLUGS_PER_STATION * stations)
        self._is_concerned = is_concerned
        self._bridges: dict[Topics, tuple[BridgeEntry, ...]] = {}
        self._stations: dict[Topics, dict[str, tuple[StationEntry, ...]]] = {}
        self._uuids: dict[Topics, set[str]] = {}
        self._plugs: Counter[str] = Counter()
        self._locations: dict[str, dict[Location, None]] = {}
        self._online: set[Topics] = set()
        self._incomplete: set[Topics] = set()
        self._discovery: dict[Topics, dict[str, set[str]]] = {}
        """By base topic and discovery prefix: the topics whose retained message names the base topic; without a prefix:
        those whose message is the rest of an interrupted clearing."""
        self._discovery_count = 0
        self.of_other_shards: set[Topics] = set()

    @property
    def station_entries(self) -> Iterator[StationEntry]:
        """All entries of stations, including previous ones."""
        for stations in self._stations.values():
            for entries in stations.values():
                yield from entries

    @property
    def manifest_filters(self) -> list[str]:
        """The subscriptions to the entries of stations, and to the availability of their bridge."""
        return [each for base in self._bridges for each in (base.manifest_filter, base.availability)]

    @property
    def discovery_filters(self) -> list[str]:
        """The subscriptions to the discovery messages in the entries."""
        return [each for locations in self._locations.values() for location in locations for each in location.watched()]

    # Reading

    def received(self, base: Topics, topic: str, payload: bytes, client_ids: Container[object]) -> None:
        """Read a retained message.

        Args:
            base: The topic without its last two levels.
            topic: The topic; any other than those of the filters and of the search is ignored.
            payload: The payload.
            client_ids: The MQTT client ids that this bridge has and had.
        """
        if topic == base.info:
            if base in self._bridges or has_room(base, self._bridges):
                self._bridge_received(base, read_bridge(topic, payload, client_ids))
        elif base not in self._bridges:
            self._discovery_received(topic, payload)
        elif topic == base.availability:
            self._online |= {base} if payload == b"online" else set()
        elif topic.endswith("/info"):
            self._station_received(base, topic, payload, client_ids)

    def _bridge_received(self, base: Topics, entries: tuple[BridgeEntry, ...]) -> None:
        if entries:
            self._bridges[base] = entries
            self._note_locations(base, (each for each in entries if each.topics == base))

    def _station_received(self, base: Topics, topic: str, payload: bytes, client_ids: Container[object]) -> None:
        stations, level = self._stations.setdefault(base, {}), _first_level(base)
        if topic in stations:
            return
        is_full = self._plugs[level] >= self._most_plugs
        entries = () if is_full else read_station(base, topic, payload, client_ids)
        concerned = tuple(filter(self._is_concerned, entries))
        if len(concerned) < len(entries):
            self.of_other_shards.add(base)
        size = sum(1 + len(entry.plugs) for entry in concerned)
        if is_full or self._plugs[level] + size > self._most_plugs:
            self._incomplete.add(base)
        elif concerned:
            self._plugs[level] += size
            stations[topic] = concerned
            self._uuids.setdefault(base, set()).update(entry.uuid for entry in concerned)
            self._note_locations(base, concerned)

    def _note_locations(self, base: Topics, entries: Iterable[Entry]) -> None:
        noted = self._locations.setdefault(_first_level(base), {})
        for location in (each for entry in entries for each in entry.locations if each.manifest_key):
            if len(noted) < _MOST_LOCATIONS:
                noted[location] = None

    def _discovery_received(self, topic: str, payload: bytes) -> None:
        if not self._bridges or self._discovery_count >= _MOST_DISCOVERY * self._most_plugs:
            return
        for location in {each: None for locations in self._locations.values() for each in locations}:
            if not topic.startswith(f"{location.prefix}/"):
                continue
            is_rest = location.is_being_cleared(payload)
            publisher = location.publisher(payload)
            for base in self._bridges:
                if (base == publisher or is_rest) and self._describes(base, location, topic):
                    prefix = "" if is_rest else location.prefix
                    self._discovery.setdefault(base, {}).setdefault(prefix, set()).add(topic)
                    self._discovery_count += 1

    def _describes(self, base: Topics, location: Location, topic: str) -> bool:
        """Return whether the entries below a base topic describe a discovery topic."""
        uuid, _ = location.subject(topic)
        return uuid in self._uuids.get(base, ()) or topic in location.bridge_topics(self._bridges[base][0].client_id)

    # Proven base topics

    def pop_proven(
        self, bases: Collection[Topics], prefixes: Collection[str]
    ) -> Iterator[tuple[tuple[BridgeEntry, ...], dict[str, tuple[StationEntry, ...]]]]:
        """Remove and yield the entries below proven base topics: those of the bridge, and those of stations by topic.

        Args:
            bases: The base topics that are proven otherwise.
            prefixes: The discovery prefixes on which only this bridge, and others like it, publish.
        """
        for base in list(self._bridges):
            if base in bases or not self._discovery.get(base, {}).keys().isdisjoint(prefixes):
                self._discovery.pop(base, None)
                yield self._bridges.pop(base), self._stations.pop(base, {})

    # Clearing

    @property
    def has_topics(self) -> bool:
        """Whether there are topics to clear."""
        return not self._bridges.keys() <= self._online

    def next_entries(self, *, may_clear_bridges: bool) -> tuple[tuple[Entry, ...], list[str]]:
        """Return entries, and their topics that may be cleared, in the order of clearing.

        The entries of stations come before those of the bridge under the same base topic. The latter stay if entries of
        stations were left out, or belong to other shards: whoever clears their topics has to find them. Call this
        method only if `has_topics`.

        Args:
            may_clear_bridges: Whether the topics of bridges may be cleared.
        """
        base = self._next_base()
        if stations := self._stations.get(base):
            topic, (*others, entry) = next(reversed(stations.items()))
            return (entry,), [each for each in self._clearable(base, entry) if each != topic or not others]
        bridges = tuple(each for each in self._bridges[base] if each.topics == base)
        if base in self._incomplete or base in self.of_other_shards or not may_clear_bridges:
            return bridges, []
        topics = dict.fromkeys(topic for each in bridges for topic in self._clearable(base, each) if topic != base.info)
        return bridges, [*topics, base.info]

    def drop_next(self) -> None:
        """Forget what `next_entries` returned, because its topics are cleared."""
        base = self._next_base()
        stations = self._stations.get(base)
        if not stations:
            del self._bridges[base]
            return
        topic, (*others, _) = stations.popitem()
        if others:
            stations[topic] = tuple(others)

    def _next_base(self) -> Topics:
        return next(each for each in self._bridges if each not in self._online)

    def _clearable(self, base: Topics, entry: Entry) -> Iterator[str]:
        named = self._discovery.get(base, {})
        discovery = {
            topic for location in entry.locations if location.manifest_key for topic in entry.topics_at(location)
        }
        discovery.difference_update(*named.values())
        return (topic for topic in entry.all_topics() if topic not in discovery)


def has_room(base: Topics, others: Collection[Topics]) -> bool:
    """Return whether an unproven base topic may be read beside others."""
    bases = Counter(map(_first_level, others))
    number = bases[_first_level(base)]
    return number < _MOST_BASES and (number > 0 or len(bases) < _MOST_PREFIXES)


def _first_level(base: Topics) -> str:
    return base.base.split("/", 1)[0]
