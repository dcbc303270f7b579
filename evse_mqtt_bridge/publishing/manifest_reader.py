"""Reads the manifest from the broker, in steps: each yields the base topics of the next.

1. The bridge's own `info`. Only when it is read, it may be written without losing previous entries.
2. The `info` of the stations below the known base topics.
3. The search: the `info` of bridges with this client id, or a former one, under any base topic. It is part of the
   second step, unless the broker closed a connection at it. Then it follows when everything is published, with one
   filter after the other.
4. The `info` of the stations below the base topics that the search found; see unproven_entries.py.
5. The discovery messages of these stations, which can prove that a base topic is the bridge's.
6. The `info` of the stations below base topics that the entry of a proven one lists.
7. The `info` of the stations below a proven base topic once more, if the limits for unproven entries left some out.
8. The `info` of configured stations that has not arrived, a few at a time: a broker may drop some of thousands of
   retained messages that it delivers at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge, read_station
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.subscriptions import TOPICS_AT_ONCE
from evse_mqtt_bridge.publishing.topics import BRIDGE, Topics
from evse_mqtt_bridge.publishing.unproven_entries import UnprovenEntries

__all__ = ["ManifestReader"]

_MOST_BASES = 32
"""Maximum number of proven base topics."""


class ManifestReader:
    """Collects the entries of this bridge from retained `info` messages.

    Args:
        plan: The publishing plan.
        bridges: Further entries of this bridge, whose base topics and client ids count as well.
        is_concerned: Returns whether this shard of the bridge has to read the entry of a station.

    Attributes:
        unproven: The entries below base topics that only the search found.
    """

    def __init__(
        self, plan: Plan, bridges: Iterable[BridgeEntry], is_concerned: Callable[[StationEntry], bool]
    ) -> None:
        self._own = plan.topics
        self._is_concerned = is_concerned
        self._filters: list[str] = []
        self._bases: dict[Topics, None] = {}
        self._client_ids: set[str] = set()
        self._stations: dict[str, tuple[StationEntry, ...]] = {}
        self._bridges: dict[str, tuple[BridgeEntry, ...]] = {}
        self.unproven = UnprovenEntries(len(plan.stations), is_concerned)
        self._of_other_shards: set[Topics] = set()
        """The proven base topics below which only other shards have to read some entries."""
        self._left_out: set[Topics] = set()
        """The base topics below which entries were left out before the proof, and have to be read again."""
        self._known: frozenset[Topics] = frozenset()
        """The base topics that were read before the search began."""
        self._has_previous_run: bool | None = None
        """Whether the first step found an `info` of the bridge itself; `None` before it."""
        self._missing: Iterator[str] | None = None
        """The `info` of configured stations that has not arrived, as far as it has not been read again."""
        self._add_base(plan.topics, plan.client_id)
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

    @property
    def incomplete(self) -> set[Topics]:
        """The proven base topics below which entries of stations are not read: of other shards, or those left out."""
        return self._of_other_shards | {each for each in self._left_out if each.manifest_filter not in self._filters}

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

    def next_filters(self, plan: Plan, *, may_search: bool = False) -> tuple[str, ...]:
        """Return the subscriptions of the next step; none if everything below the known base topics is read.

        Args:
            plan: The publishing plan, which may have changed since the last step.
            may_search: Whether the search is part of the second step.
        """
        self._own = plan.topics
        self._add_base(plan.topics, plan.client_id)
        if plan.topics.info not in self._filters:
            return self._not_yet_read([plan.topics.info])
        if self._has_previous_run is None:  # later, the bridge's own message arrives
            self._has_previous_run = bool(self.own_entries(plan.topics))
        self.add_proven(plan)
        search = Topics.bridge_info_filters() if may_search else []
        manifest = [*(base.manifest_filter for base in self._bases), *search, *self.unproven.manifest_filters]
        return self._not_yet_read(manifest) or self._not_yet_read(self.unproven.discovery_filters)

    def _not_yet_read(self, filters: Iterable[str]) -> tuple[str, ...]:
        new = tuple(dict.fromkeys(each for each in filters if each not in self._filters))
        self._filters += new
        return new

    def next_missing(self, plan: Plan) -> tuple[str, ...]:
        """Return the next topics of step 8, each once; none if there are no others, or if no entry has arrived."""
        if self._missing is None and self._has_previous_run and self._stations:
            topics = [plan.topics.station(station.topic_id, "info") for station in plan.stations.values()]
            self._missing = iter([topic for topic in topics if topic not in self._stations])
        return tuple(islice(self._missing, TOPICS_AT_ONCE)) if self._missing else ()

    def add_proven(self, plan: Plan) -> None:
        """Add the entries that are proven by now, with the discovery prefixes of the publishing plan."""
        prefixes = [location.prefix for location in plan.locations if location.manifest_key]
        is_complete = False
        while not is_complete:
            is_complete = True
            for topics, entries in list(self.unproven.pop_proven(self._bases, prefixes)):
                self._add_bridges(topics, entries.bridges)
                self._stations.update(entries.stations)
                if topics in self._bases and entries.has_other_shards:
                    self._of_other_shards.add(topics)
                if topics in self._bases and entries.is_incomplete:
                    self._left_out.add(topics)
                    self._filters = [each for each in self._filters if each != topics.manifest_filter]
                is_complete = False

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
        if base not in self._bases:
            self.unproven.received(base, topic, payload, self._client_ids)
        elif is_own_info or topic.endswith(f"/{BRIDGE}/info"):
            self._add_bridges(base, read_bridge(topic, payload, self._client_ids), topic)
        else:
            read = read_station(base, topic, payload, self._client_ids)
            if stations := tuple(entry for entry in read if self._is_concerned(entry)):
                self._stations[topic] = stations
            if len(stations) < len(read):
                self._of_other_shards.add(base)

    def _add_bridges(self, base: Topics, entries: Iterable[BridgeEntry], topic: str = "") -> None:
        """Add the entries in the `info` of a bridge under a proven base topic; each proves another base topic."""
        # Only this bridge may write its own `info`, so only that one counts for further client ids.
        known = tuple(each for each in entries if base == self._own or each.client_id in self._client_ids)
        for bridge in known:
            self._add_base(bridge.topics, bridge.client_id)
        if topic == self._own.info or not self._own.shard:  # shard 0 alone clears what it published
            self._bridges[topic or base.info] = known

    def _add_base(self, base: Topics, client_id: str) -> None:
        if base != self._own and base not in self._bases and len(self._bases) >= _MOST_BASES:
            return
        self._bases[base] = None
        self._client_ids.add(client_id)
