"""Renders messages: the full republish, and the changes of one station.

Both read the states when a message is rendered, not when it is queued. They share the set of stations that the full
republish has not completed. A change of such a station publishes the whole station, and the full republish then skips
it. Otherwise most stations would be published twice at the start, when they answer for the first time during the full
republish.
"""

from collections.abc import Callable, Container, Generator, Iterable, Iterator
from datetime import datetime

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.comparison import has_same_labels, is_published_alike
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, BridgeInfo, StationEntry, bridge_info, station_info
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.outputs.plain import bridge_availability
from evse_mqtt_bridge.publishing.outputs.protocol import Part
from evse_mqtt_bridge.publishing.plan import Plan

__all__ = ["BRIDGE_KEY", "Renderer"]

BRIDGE_KEY = ""
"""The outbox key of the bridge itself; all other keys are station uuids."""


class Renderer:
    """Renders the states of stations through the outputs of a plan.

    Attributes:
        plan: The current plan.
        stations: The states, which are never changed here.
        started: When the bridge started, in UTC.
        deferred_entry_topics: Topics of manifest entries that are published last on this connection, because until then
            they are the only record of the topics to clear.
        stations_without_entry: Uuids of stations whose manifest entry has not been published on this connection.
    """

    def __init__(self, plan: Plan, stations: Stations, started: datetime) -> None:
        self.plan = plan
        self.stations = stations
        self.started = started
        self.deferred_entry_topics: set[str] = set()
        self.stations_without_entry: set[str] = set()
        self._uncompleted: dict[str, StationState | None] = {}
        """Stations that the full republish has not completed, each with the state in which it published discovery."""

    # Single messages

    def availability(self, *, online: bool) -> Message:
        """Return the message with the bridge's availability; `offline` is also its will."""
        return bridge_availability(self.plan.topics, online=online)

    def bridge_entry(self) -> BridgeEntry:
        """Return the manifest entry of the bridge."""
        return BridgeEntry(self.plan.topics, self.plan.client_id, self.plan.locations)

    def station_entry(self, station: Station, state: StationState) -> StationEntry:
        """Return the manifest entry of a station in a state."""
        return StationEntry.of(self.plan.topics, station, state, self.plan.locations)

    def station_entry_topic(self, station: Station) -> str:
        """Return the topic of a station's manifest entry."""
        return self.plan.topics.station(station.topic_id, "info")

    def bridge_info(self) -> Message:
        """Return the bridge's manifest entry as a message."""
        plan = self.plan
        info = BridgeInfo(__version__, plan.client_id, self.started, len(plan.stations), plan.locations)
        return bridge_info(plan.topics, info)

    def station_info(self, station: Station, state: StationState) -> Message:
        """Return a station's manifest entry as a message."""
        return station_info(self.plan.topics, station, state, self.plan.client_id, self.plan.locations)

    def deferred_entry_messages(self) -> Iterator[Message]:
        """Yield the messages of the deferred manifest entries, to publish at the end."""
        if not self.deferred_entry_topics:
            return
        for station in self.plan.stations.values():
            if self.station_entry_topic(station) in self.deferred_entry_topics:
                yield self.station_info(station, self.stations.state(station.uuid))
        if self.plan.topics.info in self.deferred_entry_topics:
            yield self.bridge_info()

    def missing_entry_messages(self) -> Iterator[Message]:
        """Yield the manifest entries that were not yet published on this connection, except for deferred ones.

        The bridge's entry, which names the base topic, comes before those of stations.
        """
        if self.stations_without_entry:
            yield from self._unless_deferred(self.bridge_info())
        for uuid in self.stations_without_entry:
            if station := self.plan.stations.get(uuid):
                yield from self._unless_deferred(self.station_info(station, self.stations.state(uuid)))

    # The full republish

    def everything(self, is_queued: Callable[[str], bool] = lambda _: False) -> Iterator[Message]:
        """Yield a full republish: discovery of all stations, then values, then availability, the bridge's own last.

        Args:
            is_queued: Returns whether a change of a station (by uuid) is pending, which then publishes the station.
        """
        uncompleted = self._uncompleted = dict.fromkeys(self.plan.stations)
        return self._everything(uncompleted, is_queued)

    def _everything(
        self, uncompleted: dict[str, StationState | None], is_queued: Callable[[str], bool]
    ) -> Iterator[Message]:
        yield from self._unless_deferred(self.bridge_info())
        for output in self.plan.outputs:
            yield from output.bridge(Part.DISCOVERY)
        stations = list(self.plan.stations.values())
        for part in Part:
            for station in stations:
                state = self.stations.find(station.uuid)
                if not (yield from self._one_part(part, station, uncompleted, is_queued)):
                    continue
                if part is Part.DISCOVERY:
                    uncompleted[station.uuid] = state
                elif part is Part.AVAILABILITY:
                    del uncompleted[station.uuid]
        for output in self.plan.outputs:
            yield from output.bridge(Part.AVAILABILITY)

    def _one_part(
        self, part: Part, station: Station, uncompleted: Container[str], is_queued: Callable[[str], bool]
    ) -> Generator[Message, None, bool]:
        """Yield one part of a station in its current state, and return whether it was completed.

        The part ends early if a change takes over the station, or if the station is removed or published differently.
        """
        uuid = station.uuid

        def is_due() -> bool:
            is_current = is_published_alike(self.plan.stations.get(uuid), station)
            return uuid in uncompleted and not is_queued(uuid) and is_current

        if not is_due():
            return False
        for message in self._part(part, station, None, self.stations.state(uuid)):
            if not is_due():
                return False
            yield message
        return is_due()

    # Changes

    def render_change(self, key: str, last_published: StationState | None) -> Iterator[Message]:
        """Yield the messages that update a station from `last_published`; all its messages if that is `None`.

        All messages are rendered from the state at the time of the first one. So the broker then has exactly that
        state, and later changes can start from it.
        """
        if key == BRIDGE_KEY:
            yield from self._unless_deferred(self.bridge_info())
        elif station := self.plan.stations.get(key):
            discovered = last_published
            if key in self._uncompleted:
                discovered_by_republish = self._uncompleted.pop(key)
                discovered = discovered_by_republish if last_published else None
                last_published = None
            yield from self._from_one_state(station, discovered, last_published)

    def _from_one_state(
        self, station: Station, discovered: StationState | None, last_published: StationState | None
    ) -> Iterator[Message]:
        uuid = station.uuid
        state = self.stations.state(uuid)
        for message in self._parts(station, discovered, last_published, state):
            if not is_published_alike(self.plan.stations.get(uuid), station):
                return
            current = self.stations.state(uuid)
            if current is not state and not state.plugs.keys() <= current.plugs.keys():
                return  # a plug was removed, and the whole station is queued again
            yield message

    def _parts(
        self,
        station: Station,
        discovered: StationState | None,
        last_published: StationState | None,
        state: StationState,
    ) -> Iterator[Message]:
        if discovered is None or not has_same_labels(discovered, state):
            yield from self._part(Part.DISCOVERY, station, discovered, state)
        yield from self._part(Part.VALUES, station, last_published, state)
        yield from self._part(Part.AVAILABILITY, station, last_published, state)

    # Both

    def _part(self, part: Part, station: Station, old: StationState | None, new: StationState) -> Iterator[Message]:
        if part is Part.DISCOVERY:
            # The entry goes first: if the rest is interrupted, a later run can clear what was published.
            yield from self._unless_deferred(self.station_info(station, new))
            self._entry_published(station.uuid)
        for output in self.plan.outputs:
            yield from output.station(part, station, old, new)

    def _entry_published(self, uuid: str) -> None:
        self.stations_without_entry.discard(uuid)
        if not self.stations_without_entry:
            self.stations_without_entry.clear()  # which frees the memory of an emptied set

    def _unless_deferred(self, info: Message) -> Iterable[Message]:
        return () if info.topic in self.deferred_entry_topics else (info,)
