"""Restores what previous runs published: reads the manifest and the meters, in steps, and hands on what they contain.

Plugs and meters are restored once per process, because what this run removed later must not come back. Entries whose
topics have to be cleared are read on each connection.
"""

from collections.abc import Iterable

from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry
from evse_mqtt_bridge.publishing.manifest_reader import ManifestReader
from evse_mqtt_bridge.publishing.previous_meters import MeterReader
from evse_mqtt_bridge.publishing.renderer import Renderer
from evse_mqtt_bridge.publishing.topic_transfer import is_concerned, part_to_clear
from evse_mqtt_bridge.publishing.unproven_entries import UnprovenEntries

__all__ = ["Restoration"]


class Restoration:
    """The steps of one connection after the other.

    Args:
        renderer: Has the publishing plan, and receives the previous entries.
        stations: The states; plugs and meters are restored into them.
        is_continued: Whether another member polled the stations until now.

    Attributes:
        is_restored: Whether plugs and meters were restored.
        may_read_again: Whether to read topics again that did not arrive; false if the broker closed a connection at a
            subscription, because it may limit their number.
    """

    def __init__(self, renderer: Renderer, stations: Stations, *, is_continued: bool) -> None:
        self._renderer = renderer
        self._stations = stations
        self._is_continued = is_continued
        self.is_restored = False
        self.may_read_again = True
        self.begin()

    def begin(self) -> None:
        """Begin again, on a new connection."""
        plan, previous = self._renderer.plan, self._renderer.previous
        self._meters: MeterReader | None = None
        self._reader = ManifestReader(plan, previous.bridges, lambda entry: is_concerned(self._renderer.plan, entry))

    @property
    def own_entries(self) -> tuple[BridgeEntry, ...] | None:
        """The entries in the bridge's own `info`; `None` before it is read."""
        return self._reader.own_entries(self._renderer.plan.topics)

    @property
    def unproven(self) -> UnprovenEntries:
        """The entries that anybody may have written."""
        return self._reader.unproven

    def received(self, topic: str, payload: bytes) -> None:
        """Read a retained message."""
        if self._meters is not None:
            self._meters.received(topic, payload)
        self._reader.received(topic, payload)

    def next_filters(self, *, may_search: bool = False) -> tuple[str, ...]:
        """Return the subscriptions of the next step; none if everything is read.

        Args:
            may_search: Whether the search for previous base topics is one of the steps.
        """
        filters = self._reader.next_filters(self._renderer.plan, may_search=may_search)
        if filters or self.is_restored:
            return filters
        if self._meters is not None:
            return self._meters.next_missing() if self.may_read_again else ()
        if self.may_read_again and (missing := self._reader.next_missing(self._renderer.plan)):
            return missing
        self._meters = self._new_meters()
        return self._meters.filters

    def next_search(self) -> tuple[str, ...]:
        """Return the next subscription of the search after everything is published; none if it is complete."""
        return self.next_filters() or tuple(filter(None, [self._reader.next_search()]))

    def next_late_meters(self) -> tuple[str, ...]:
        """Return the subscriptions to the meters that the last search found; restore them when they are read.

        Returns:
            The subscriptions; none if they are read, or if no station waits for them.
        """
        if not self._stations.are_meters_waiting:
            return ()
        if self._meters is None:
            self._meters = self._new_meters()
            if filters := self._meters.filters:
                return filters
        if self.may_read_again and (missing := self._meters.next_missing()):
            return missing
        meters, self._meters = self._meters.meters, None
        self._stations.broker_read(meters, self._renderer.plan.stations, is_complete=True, is_late=True)
        return ()

    def _new_meters(self) -> MeterReader:
        configured = self._renderer.plan.stations
        unproven = (entry for entry in self.unproven.station_entries if entry.uuid in configured)
        is_part = self._renderer.plan.share.shards > 1
        return MeterReader(self._reader.station_entries, unproven, is_part=is_part)

    def complete(self, *, has_searched: bool) -> None:
        """Restore plugs and meters, after the last step of the first connection.

        Args:
            has_searched: Whether the search for previous base topics was one of the steps.
        """
        if self.is_restored or self._meters is None:
            return
        stations = self._renderer.plan.stations
        for uuid, labels in self._reader.plugs(self._renderer.is_present):
            if uuid in stations:
                self._stations.restore_plugs(uuid, labels, is_continued=self._is_continued)
        self._stations.broker_read(self._meters.meters, stations, is_complete=has_searched)
        self._meters = None
        self.is_restored = True

    def stations_added(self, uuids: Iterable[str]) -> None:
        """Start the meters of stations that a reload added: the broker has none of a previous run."""
        if self.is_restored:
            self._stations.broker_read({}, list(uuids), is_complete=True)

    def add_read_entries(self) -> bool:
        """Add the entries that were read to the previous ones; return whether there are any."""
        entries = self._reader.pop_entries()
        self.add_previous(entries)
        return bool(entries)

    def add_proven_entries(self) -> None:
        """Add the entries that a change of the publishing plan proves."""
        self._reader.add_proven(self._renderer.plan)
        self.add_read_entries()

    def add_previous(self, entries: Iterable[Entry]) -> None:
        """Add entries to the previous ones, as far as this shard has to clear their topics."""
        plan, previous = self._renderer.plan, self._renderer.previous
        previous.release()
        for entry in entries:
            if part := part_to_clear(plan, entry):
                previous.add(part)
        previous.hold(self._reader.incomplete - {plan.topics})
