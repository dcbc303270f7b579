"""Previous manifest entries: what was published before, as long as its topics are not yet cleared."""

from collections.abc import Container, Iterator

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import MAX_PREVIOUS
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["PreviousEntries"]


class PreviousEntries:
    """The previous entries of stations, by the topic of the entry, and those of the bridge, under any base topic.

    Entries that describe the same topics are joined, so their number is bounded by the differences between them.

    An entry of the bridge can be held: it stays in the manifest, because other shards have to find its base topic.
    """

    def __init__(self) -> None:
        self._stations: dict[str, tuple[StationEntry, ...]] = {}
        self._bridges: tuple[BridgeEntry, ...] = ()
        self._held: tuple[BridgeEntry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._stations or self._bridges)

    def __iter__(self) -> Iterator[Entry]:
        yield from self.stations
        yield from self._bridges

    @property
    def stations(self) -> Iterator[StationEntry]:
        """The previous entries of stations."""
        for entries in self._stations.values():
            yield from entries

    @property
    def bridges(self) -> tuple[BridgeEntry, ...]:
        """The previous entries of the bridge, including held ones."""
        return (*self._bridges, *self._held)

    @property
    def bridges_to_clear(self) -> tuple[BridgeEntry, ...]:
        """The previous entries of the bridge that are not held."""
        return self._bridges

    @property
    def held(self) -> tuple[BridgeEntry, ...]:
        """The held entries."""
        return self._held

    def hold(self, bases: Container[Topics]) -> None:
        """Hold the entries of the bridge below these base topics."""
        self._held = (*self._held, *(each for each in self._bridges if each.topics in bases))
        self._bridges = tuple(each for each in self._bridges if each.topics not in bases)

    def release(self) -> None:
        """Hold no entries any more."""
        held, self._held = self._held, ()
        for entry in held:
            self.add(entry)

    @property
    def station_topics(self) -> tuple[str, ...]:
        """The topics of stations' entries that have previous entries, in the order in which they got the first one."""
        return tuple(self._stations)

    def at(self, topic: str) -> tuple[StationEntry, ...]:
        """Return the previous entries of stations at the topic of an entry."""
        return self._stations.get(topic, ())

    def last_station_topic(self) -> str | None:
        """Return the last of `station_topics`, if there is any."""
        return next(reversed(self._stations), None)

    def add(self, entry: Entry) -> None:
        """Add an entry; it replaces those that it covers, and is joined with one that it differs from by plugs."""
        if isinstance(entry, BridgeEntry):
            if not any(each.covers(entry) for each in self.bridges):
                kept = [each for each in self._bridges if not entry.covers(each)]
                self._bridges = (*kept[-MAX_PREVIOUS + 1 :], entry)
            return
        entries = self._stations.get(entry.topic, ())
        if any(each.covers(entry) for each in entries):
            return
        others: list[StationEntry] = []
        for each in entries:
            if joined := entry.joined(each):
                entry = joined
            elif not entry.covers(each):
                others.append(each)
        self._stations[entry.topic] = (*others, entry)

    def drop(self, topic: str) -> None:
        """Drop the entries of stations at the topic of an entry."""
        self._stations.pop(topic, None)

    def drop_stations(self) -> None:
        """Drop all entries of stations."""
        self._stations = {}

    def drop_bridges(self) -> None:
        """Drop all entries of the bridge that are not held."""
        self._bridges = ()
