"""Collects manifest entries below base topics that only the search found; any client may have written them.

The search finds the `info` of every bridge with this client id, or a former one, under any base topic. A base topic is
proven if something names it that only this bridge can have written: its own `info`, or a discovery message of an entry
below that base topic, on a discovery prefix of the configuration. Entries below any other base topic have this effect
only:

- The topics that they describe below that base topic are cleared.
- Discovery topics that they describe are cleared where the retained message names that base topic, or where it is the
  last message of an interrupted clearing.
- Meters continue from there, if no proven entry has the plug.

If the bridge below the base topic is online, its topics are not cleared at all: it may be another one, with a former
client id of this bridge.
"""

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.outputs.protocol import Location
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["BaseEntries", "UnprovenEntries", "has_room"]

_MOST_FIRST_LEVELS = 4
"""Maximum number of first levels of base topics. Access rules mostly allow a client to write below one of them."""

_MOST_BASES, _MOST_LOCATIONS = 4, 4
"""Maximum number of base topics with the same first level, and of locations of discovery in their entries."""

_FEWEST_PLUGS, _PLUGS_PER_STATION = 512, 8
"""Maximum number of entries below base topics with the same first level, where a station and each of its plugs count as
one: the larger one of the first number, and of the second for each station of the configuration."""

_MOST_DISCOVERY = 32
"""Maximum number of discovery topics to note, for each entry that may be read."""


@dataclass(slots=True)
class BaseEntries:
    """What was read below one base topic.

    Attributes:
        bridges: The entries in the `info` of the bridge, the present one first.
        stations: The entries of stations, by the topic of their `info`.
        is_incomplete: Whether entries of stations were left out, because there were too many.
        has_other_shards: Whether there are entries of stations that only other shards have to read.
        is_online: Whether the bridge is online.
        naming: The discovery topics whose retained message names the base topic, by discovery prefix.
        being_cleared: The discovery topics whose retained message is the last one of an interrupted clearing.
    """

    bridges: tuple[BridgeEntry, ...]
    stations: dict[str, tuple[StationEntry, ...]] = field(default_factory=dict)
    is_incomplete: bool = False
    has_other_shards: bool = False
    is_online: bool = False
    naming: dict[str, set[str]] = field(default_factory=dict)
    being_cleared: set[str] = field(default_factory=set)
    _uuids: set[str] = field(default_factory=set)
    """The stations of all entries, including those whose topics are cleared by now."""

    def add_stations(self, topic: str, entries: tuple[StationEntry, ...]) -> None:
        """Add the entries in the `info` of a station."""
        self.stations[topic] = entries
        self._uuids.update(entry.uuid for entry in entries)

    def describes(self, location: Location, topic: str) -> bool:
        """Return whether the entries describe a discovery topic at a location."""
        uuid, _ = location.subject(topic)
        return uuid in self._uuids or topic in location.bridge_topics(self.bridges[0].client_id)

    def may_clear(self, topic: str) -> bool:
        """Return whether a discovery topic may be cleared, by what its retained message contains."""
        return topic in self.being_cleared or any(topic in topics for topics in self.naming.values())


class UnprovenEntries:
    """Collects entries from retained messages, and yields the topics to clear.

    Args:
        stations: Number of configured stations.
        is_concerned: Returns whether this shard of the bridge has to read the entry of a station.
    """

    def __init__(self, stations: int, is_concerned: Callable[[StationEntry], bool]) -> None:
        self._most_entries = max(_FEWEST_PLUGS, _PLUGS_PER_STATION * stations)
        self._is_concerned = is_concerned
        self._bases: dict[Topics, BaseEntries] = {}
        self._sizes: Counter[str] = Counter()
        """The number of stations and plugs that were read, by first level."""
        self._locations: dict[str, dict[Location, None]] = {}
        """The locations of discovery in the entries, by first level."""
        self._discovery_count = 0
        """The number of discovery topics that were noted, each for each base topic."""

    @property
    def station_entries(self) -> Iterator[StationEntry]:
        """All entries of stations, including previous ones."""
        for base in self._bases.values():
            for entries in base.stations.values():
                yield from entries

    @property
    def manifest_filters(self) -> list[str]:
        """The subscriptions to the entries of stations, and to the availability of their bridge."""
        return [each for topics in self._bases for each in (topics.manifest_filter, topics.availability)]

    @property
    def discovery_filters(self) -> list[str]:
        """The subscriptions to the discovery messages in the entries."""
        return [each for locations in self._locations.values() for location in locations for each in location.watched()]

    # Reading

    def received(self, topics: Topics, topic: str, payload: bytes, client_ids: Container[object]) -> None:
        """Read a retained message.

        Args:
            topics: The base topic, if `topic` is an `info` or an availability: `topic` without its last two levels.
            topic: The topic; any other than those of the filters and of the search is ignored.
            payload: The payload.
            client_ids: The MQTT client ids that this bridge has and had.
        """
        base = self._bases.get(topics)
        if topic == topics.info:
            if base is not None or has_room(topics, self._bases):
                self._bridge_received(topics, read_bridge(topic, payload, client_ids))
        elif base is None:
            self._discovery_received(topic, payload)
        elif topic == topics.availability:
            base.is_online = base.is_online or payload == b"online"
        elif topic.endswith("/info") and topic not in base.stations:
            if self._sizes[_first_level(topics)] < self._most_entries:
                self._station_received(topics, base, topic, read_station(topics, topic, payload, client_ids))
            else:
                base.is_incomplete = True

    def _bridge_received(self, topics: Topics, entries: tuple[BridgeEntry, ...]) -> None:
        if entries:
            self._bases.setdefault(topics, BaseEntries(entries)).bridges = entries
            self._note_locations(topics, (each for each in entries if each.topics == topics))

    def _station_received(
        self, topics: Topics, base: BaseEntries, topic: str, entries: tuple[StationEntry, ...]
    ) -> None:
        level = _first_level(topics)
        concerned = tuple(filter(self._is_concerned, entries))
        base.has_other_shards |= len(concerned) < len(entries)
        size = sum(1 + len(entry.plugs) for entry in concerned)
        if self._sizes[level] + size > self._most_entries:
            base.is_incomplete = True
        elif concerned:
            self._sizes[level] += size
            base.add_stations(topic, concerned)
            self._note_locations(topics, concerned)

    def _note_locations(self, topics: Topics, entries: Iterable[Entry]) -> None:
        noted = self._locations.setdefault(_first_level(topics), {})
        for location in (each for entry in entries for each in entry.locations if each.manifest_key):
            if len(noted) < _MOST_LOCATIONS:
                noted[location] = None

    def _discovery_received(self, topic: str, payload: bytes) -> None:
        if not self._bases or self._discovery_count >= _MOST_DISCOVERY * self._most_entries:
            return
        for location in {each: None for locations in self._locations.values() for each in locations}:
            if not topic.startswith(f"{location.prefix}/"):
                continue
            is_being_cleared = location.is_being_cleared(payload)
            publisher = location.publisher(payload)
            for topics, base in self._bases.items():
                if (topics == publisher or is_being_cleared) and base.describes(location, topic):
                    noted = base.being_cleared if is_being_cleared else base.naming.setdefault(location.prefix, set())
                    self._discovery_count += topic not in noted
                    noted.add(topic)

    # Proven base topics

    def pop_proven(self, proven: Collection[Topics], prefixes: Collection[str]) -> Iterator[tuple[Topics, BaseEntries]]:
        """Remove and yield what was read below base topics that are proven by now.

        Args:
            proven: The base topics that are proven otherwise.
            prefixes: The discovery prefixes on which only this bridge, and others like it, publish.
        """
        for topics, base in list(self._bases.items()):
            if topics in proven or any(base.naming.get(prefix) for prefix in prefixes):
                yield topics, self._bases.pop(topics)

    # Clearing

    @property
    def has_topics(self) -> bool:
        """Whether there are topics to clear."""
        return not all(base.is_online for base in self._bases.values())

    def next_entries(self, *, may_clear_bridges: bool) -> tuple[tuple[Entry, ...], list[str]]:
        """Return the entries whose topics are cleared next, and those of their topics that may be cleared, in order.

        The entries of stations come before those of the bridge under the same base topic. The topics of the bridge stay
        if entries of stations were left out, or belong to other shards, because these are found by its `info`. Call
        this method only if `has_topics`.

        Args:
            may_clear_bridges: Whether the topics of bridges may be cleared.
        """
        topics, base = self._next_base()
        if base.stations:
            topic, (*others, entry) = next(reversed(base.stations.items()))
            return (entry,), [each for each in _clearable(base, entry) if each != topic or not others]
        bridges = tuple(each for each in base.bridges if each.topics == topics)
        if base.is_incomplete or base.has_other_shards or not may_clear_bridges:
            return bridges, []
        cleared = dict.fromkeys(each for bridge in bridges for each in _clearable(base, bridge) if each != topics.info)
        return bridges, [*cleared, topics.info]

    def drop_next(self) -> None:
        """Forget the entries of `next_entries`, because their topics are cleared."""
        topics, base = self._next_base()
        if not base.stations:
            del self._bases[topics]
            return
        topic, (*others, _) = base.stations.popitem()
        if others:
            base.stations[topic] = tuple(others)

    def _next_base(self) -> tuple[Topics, BaseEntries]:
        return next(each for each in self._bases.items() if not each[1].is_online)


def _clearable(base: BaseEntries, entry: Entry) -> Iterator[str]:
    """Yield the topics of an entry, without the discovery topics on which others publish."""
    discovery = {topic for location in entry.locations if location.manifest_key for topic in entry.topics_at(location)}
    return (topic for topic in entry.all_topics() if topic not in discovery or base.may_clear(topic))


def has_room(topics: Topics, others: Collection[Topics]) -> bool:
    """Return whether an unproven base topic may be read in addition to others."""
    numbers = Counter(map(_first_level, others))
    number = numbers[_first_level(topics)]
    return number < _MOST_BASES and (number > 0 or len(numbers) < _MOST_FIRST_LEVELS)


def _first_level(topics: Topics) -> str:
    return topics.base.split("/", 1)[0]
