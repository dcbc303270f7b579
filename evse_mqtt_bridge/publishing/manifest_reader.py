"""Reads the manifest from the broker, in steps: each yields the base topics of the next.

1. The bridge's own `info`. Only when it is read, it may be written without losing previous entries.
2. The `info` of the stations below the known base topics.
3. The search: the `info` of bridges with this client id under any base topic. It is part of the second step, unless the
   broker closed a connection at it. Then it follows when everything is published, with one filter after the other.
4. The `info` of the stations below the base topics that the search found.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics

__all__ = ["ManifestReader"]

_MOST_BASES = 32
"""Maximum number of base topics, so that forged entries cannot make the bridge search everywhere."""


class ManifestReader:
    """Collects the entries of this bridge from retained `info` messages.

    Args:
        client_id: The bridge's MQTT client id.
        own: The bridge's base topic.
        bridges: Further entries of this bridge, whose base topics and client ids count as well.
        is_concerned: Returns whether this shard of the bridge has to read the entry of a station.
    """

    def __init__(
        self,
        client_id: str,
        own: Topics,
        bridges: Iterable[BridgeEntry],
        is_concerned: Callable[[StationEntry], bool] = lambda _: True,
    ) -> None:
        self._client_id = client_id
        self._own = own
        self._is_concerned = is_concerned
        self._filters: list[str] = []
        self._bases: dict[Topics, None] = {}
        self._client_ids: set[str] = set()
        self._stations: dict[str, tuple[StationEntry, ...]] = {}
        self._bridges: dict[str, tuple[BridgeEntry, ...]] = {}
        self.of_other_shards: set[Topics] = set()
        """The base topics below which only other shards have to read some entries."""
        self._known: frozenset[Topics] = frozenset()
        """The base topics that were read before the search began."""
        self._add_base(own, client_id)
        for bridge in bridges:
            self._add_base(bridge.topics, bridge.client_id)

    @property
    def filters(self) -> tuple[str, ...]:
        """All subscriptions so far."""
        return tuple(self._filters)

    @property
    def entries(self) -> Iterator[Entry]:
        """All entries, including previous ones."""
        yield from self.station_entries
        for bridges in self._bridges.values():
            yield from bridges

    @property
    def station_entries(self) -> Iterator[StationEntry]:
        """All entries of stations, including previous ones."""
        for entries in self._stations.values():
            yield from entries

    def plugs(self, is_present: Callable[[StationEntry], bool]) -> Iterator[tuple[str, Mapping[str, str | None]]]:
        """Yield stations by uuid, with labels by plug: from their present entry, or else from all other entries."""
        present: set[str] = set()
        others: list[StationEntry] = []
        for entry, *previous in self._stations.values():
            if is_present(entry):
                present.add(entry.uuid)
                yield entry.uuid, entry.labels
            else:
                others.append(entry)
            others += previous
        for entry in others:
            if entry.uuid not in present:
                yield entry.uuid, entry.labels

    def pop_entries(self) -> list[Entry]:
        """Return all entries, and forget them."""
        entries = list(self.entries)
        self._stations.clear()
        self._bridges.clear()
        return entries

    def own_entries(self, own: Topics) -> tuple[BridgeEntry, ...] | None:
        """Return the entries in the bridge's own `info`; `None` before it is read."""
        return self._bridges.get(own.info, ()) if own.info in self._filters else None

    def next_filters(self, client_id: str, own: Topics, *, may_search: bool = False) -> tuple[str, ...]:
        """Return the subscriptions of the next step; none if everything below the known base topics is read.

        Args:
            client_id: The bridge's MQTT client id, which may have changed since the last step.
            own: The bridge's base topic, which may have changed since the last step.
            may_search: Whether the search is part of the second step.
        """
        self._client_id, self._own = client_id, own
        self._add_base(own, client_id)
        wanted = [own.info]
        if own.info in self._filters:
            search = Topics.bridge_info_filters() if may_search else []
            wanted = [*(base.manifest_filter for base in self._bases), *search]
        new = tuple(dict.fromkeys(each for each in wanted if each not in self._filters))
        self._filters += new
        return new

    def next_search(self) -> str:
        """Return the next filter of the search; empty if there is none."""
        if not self._known:
            self._known = frozenset(self._bases)
        topic_filter = next((each for each in Topics.bridge_info_filters() if each not in self._filters), "")
        self._filters += [topic_filter] if topic_filter else []
        return topic_filter

    def received(self, topic: str, payload: bytes) -> None:
        """Read a retained message; one that this bridge did not publish, or that was read before, is ignored."""
        is_own_info = topic == self._own.info
        base = self._own if is_own_info else Topics(topic.rsplit("/", 2)[0])
        if base in self._known:
            return
        client_ids = self._client_ids if base in self._bases else {self._client_id}
        if is_own_info or topic.endswith(f"/{BRIDGE}/info"):
            bridges = read_bridge(topic, payload, client_ids)
            # Only this bridge may write its own `info`, so only that one counts for other client ids.
            is_own = base == self._own
            known = tuple(each for each in bridges if is_own or each.client_id == self._client_id)
            for bridge in known:
                self._add_base(bridge.topics, bridge.client_id)
            if is_own_info or not self._own.shard:  # shard 0 alone clears what it published
                self._bridges[topic] = known
        elif base in self._bases:
            read = read_station(base, topic, payload, client_ids)
            if stations := tuple(entry for entry in read if self._is_concerned(entry)):
                self._stations[topic] = stations
            if len(stations) < len(read):
                self.of_other_shards.add(base)

    def _add_base(self, base: Topics, client_id: str) -> None:
        if base != self._own and base not in self._bases and len(self._bases) >= _MOST_BASES:
            return
        self._bases[base] = None
        self._client_ids.add(client_id)
