"""Renders messages: the full republish, and the changes of one station.

Both read the states when a message is rendered, not when it is queued. They share the set of stations that the full
republish has not completed. A change of such a station publishes the whole station, and the full republish then skips
it. Otherwise most stations would be published twice at the start, when they answer for the first time during the full
republish.
"""

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.metering import with_published_meters
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.plugs import restore_plugs
from evse_mqtt_bridge.domain.repeats import with_repeats
from evse_mqtt_bridge.domain.sessions import SessionChange
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.comparison import has_same_labels, is_published_alike
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, StationEntry, obsolete_topics
from evse_mqtt_bridge.publishing.manifest_payloads import LONGEST_LABEL, BridgeFacts, bridge_info, fits, station_info
from evse_mqtt_bridge.publishing.message import JSON, Message
from evse_mqtt_bridge.publishing.outputs.plain import bridge_availability
from evse_mqtt_bridge.publishing.outputs.protocol import AVAILABILITY, DISCOVERY, VALUES, Part
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.previous_entries import PreviousEntries
from evse_mqtt_bridge.publishing.session_payloads import session_event_payload

__all__ = ["ALL_OF_BRIDGE", "BRIDGE_KEY", "Renderer"]

BRIDGE_KEY = ""
"""The outbox key of the bridge's `info`; all other keys but `ALL_OF_BRIDGE` are station uuids."""

_NOTHING: Mapping[str, bytes] = MappingProxyType({})

_Uncompleted = dict[str, Mapping[str, str | None] | None]
"""The stations that the full republish has not completed: the labels of their plugs, with which it published discovery,
or `None` before that. A state would be kept in memory while newer ones replace it."""

_NO_PLUGS = StationState()

ALL_OF_BRIDGE = "/"
"""The outbox key of all topics of the bridge itself."""


class Renderer:
    """Renders the states of stations through the outputs of a plan.

    Attributes:
        plan: The current plan.
        stations: The states, which are never changed here.
        started: When the bridge started, in UTC.
        previous: The previous entries that each `info` has to list.
        claimed_topics: Returns the topics of an entry that other bridges claim, so they must not be cleared.
        is_discovery_complete: Whether the broker has acknowledged all discovery of a shard that an engine assigned.
    """

    def __init__(self, plan: Plan, stations: Stations, started: datetime) -> None:
        self.plan = plan
        self.stations = stations
        self.started = started
        self.previous = PreviousEntries()
        self.claimed_topics: Callable[[StationEntry], frozenset[str]] = lambda _: frozenset()
        self.is_discovery_complete = False
        self._uncompleted: _Uncompleted = {}

    # Single messages

    def availability(self, *, online: bool) -> Message:
        """Return the message with the bridge's availability; `offline` is also its will."""
        return bridge_availability(self.plan.topics, online=online)

    def bridge_entry(self) -> BridgeEntry:
        """Return the manifest entry of the bridge."""
        plan = self.plan
        shards = 0 if plan.share.number else plan.share.shards
        return BridgeEntry(plan.topics, plan.client_id, plan.bridge_locations, shards)

    def station_entry(self, station: Station, state: StationState) -> StationEntry:
        """Return the manifest entry of a station in a state."""
        return StationEntry.of(self.plan.topics, station, state, self.plan.locations)

    def is_present(self, entry: StationEntry) -> bool:
        """Return whether a station publishes its present entry at the topic of this one."""
        owner = self._owner(entry.topic)
        return owner is not None and owner.uuid == entry.uuid

    def successor(self, entry: Entry) -> Entry | None:
        """Return the present entry of the same station, or of the bridge; `None` if the station is not configured."""
        if isinstance(entry, BridgeEntry):
            return self.bridge_entry()
        station = self.plan.stations.get(entry.uuid)
        return self.station_entry(station, self.stations.state(station.uuid)) if station else None

    def has_room(self, topic: str) -> bool:
        """Return whether the `info` of a station on this topic can list all previous entries."""
        previous = self.previous.at(topic)
        owner = self._owner(topic)
        if owner:
            return fits(self.station_entry(owner, self.stations.state(owner.uuid)), previous)
        return not previous or fits(previous[0], previous[1:])

    def topics_to_clear(self, topic: str) -> list[str]:
        """Return the topics of previous entries that are obsolete.

        Args:
            topic: The topic of the `info` that lists the entries, whose station has been published completely.
        """
        if topic == self.plan.topics.info:
            return self.obsolete(self.previous.bridges_to_clear)
        owner = self._owner(topic)
        published = self._published_topics(owner) if owner else frozenset()
        return self.obsolete(self.previous.at(topic), published | {topic})

    def info(self, topic: str) -> Message:
        """Return the `info` to publish on its topic; an empty message if there is no entry for the topic."""
        if topic == self.plan.topics.info:
            return self.bridge_info()
        if owner := self._owner(topic):
            return self.station_info(owner, self.stations.state(owner.uuid))
        match self.previous.at(topic):
            case (entry, *others):
                return station_info(entry, self.plan.client_id, others)
        return Message(topic, b"")

    def all_previous_infos(self) -> Iterator[Message]:
        """Yield every `info` that lists previous entries, and that of the bridge first: it names the base topic."""
        yield self.bridge_info()
        for topic in self.previous.station_topics:
            yield self.info(topic)

    def bridge_info(self) -> Message:
        """Return the `info` of the bridge."""
        current = self.bridge_entry()
        previous = [entry for entry in self.previous.bridges if not current.covers(entry)]
        digest = self.plan.discovery_digest if self.is_discovery_complete else ""
        facts = BridgeFacts(__version__, self.started, len(self.plan.stations), self.plan.claim, digest)
        return bridge_info(current, facts, previous)

    def station_info(self, station: Station, state: StationState) -> Message:
        """Return the `info` of a station."""
        entry = self.station_entry(station, state)
        return station_info(entry, self.plan.client_id, self.previous.at(entry.topic))

    def all_messages(self, key: str) -> Iterator[Message]:
        """Yield all messages of a station in its current state, or of the bridge itself (`ALL_OF_BRIDGE`)."""
        if key == ALL_OF_BRIDGE:
            yield self.bridge_info()
            for part in Part:
                for output in self.plan.outputs:
                    yield from output.bridge(part)
        elif station := self.plan.stations.get(key):
            state = self.stations.state(key)
            for part in Part:
                yield from self._part(part, station, None, state)

    def _owner(self, topic: str) -> Station | None:
        """Return the station whose `info` has this topic."""
        parsed = self.plan.topics.read(topic)
        return self.plan.by_topic_id.get(parsed.station) if parsed else None

    def _published_topics(self, station: Station) -> frozenset[str]:
        state = self.stations.state(station.uuid)
        messages = (
            message
            for output in self.plan.outputs
            for part in Part
            for message in output.station(part, station, None, state)
        )
        return frozenset(message.topic for message in messages)

    def claimed(self, entry: Entry) -> frozenset[str]:
        """Return the topics of an entry's station that other bridges claim."""
        return self.claimed_topics(entry) if isinstance(entry, StationEntry) else frozenset()

    def obsolete(self, entries: Iterable[Entry], published: Container[str] = ()) -> list[str]:
        """Return the obsolete topics of previous entries, except for published ones, and those of other bridges."""
        obsolete: dict[str, None] = {}
        for entry in entries:
            claimed = self.claimed(entry)
            topics = obsolete_topics(entry, self.successor(entry))
            obsolete.update(dict.fromkeys(topic for topic in topics if topic not in claimed))
        return [topic for topic in obsolete if topic not in published]

    def last_counts(self, queued: Container[str]) -> Iterator[Message]:
        """Yield the meters that have counted since they were published; call it before `offline`.

        Args:
            queued: The stations (by uuid) of which a change is pending that will not be published.
        """
        for station in self.plan.stations.values():
            old = self.stations.state(station.uuid)
            current = with_repeats(old)
            new = with_published_meters(current)
            if new is not current:
                if station.uuid in self._uncompleted or station.uuid in queued:
                    yield self.station_info(station, new)  # the broker may lack the entry, or a plug in it
                for output in self.plan.outputs:
                    yield from output.station(VALUES, station, old, new)

    def session_events(self, changes: Mapping[str, Mapping[str, Sequence[SessionChange]]]) -> Iterator[Message]:
        """Yield messages about what happened to sessions, by station and plug, beside the changes of states."""
        for uuid, of_plugs in changes.items():
            state = self.stations.find(uuid)
            if state is None or (station := self.plan.stations.get(uuid)) is None:
                continue
            for plug, some in of_plugs.items():
                topic = self.plan.topics.plug(station.topic_id, station.plug_topic_id(plug), "session_event")
                reading = state.plugs[plug].reading if plug in state.plugs else None
                for change in some:
                    payload = session_event_payload(plug, change, reading.time if reading else None)
                    yield Message(topic, payload, JSON, retain=False)

    # The full republish

    def everything(self, queued: Container[str] = (), unchanged: Mapping[str, bytes] = _NOTHING) -> Iterator[Message]:
        """Yield a full republish: discovery of all stations, then values, then availability, the bridge's own last.

        Args:
            queued: The stations (by uuid) of which a change is pending, which then publishes the station.
            unchanged: Entries on the broker, by topic. If the present entry of a station is the same, the broker has
                its discovery, and the values that were restored from the broker.
        """
        uncompleted = self._uncompleted = dict.fromkeys(self.plan.stations)
        return self._everything(uncompleted, queued, unchanged)

    def _everything(
        self,
        uncompleted: _Uncompleted,
        queued: Container[str],
        unchanged: Mapping[str, bytes],
    ) -> Iterator[Message]:
        left_out: dict[str, StationState | None] = {}
        yield self.bridge_info()
        for output in self.plan.outputs:
            yield from output.bridge(DISCOVERY)
        stations = list(self.plan.stations.values())
        for part in Part:
            for station in stations:
                state = self.stations.find(station.uuid)
                if part is DISCOVERY and state is not None and self._is_discovered(station, state, unchanged):
                    uncompleted[station.uuid] = _labels(state)
                    left_out[station.uuid] = state if state.is_new else None
                    continue
                if part is VALUES and state is not None and left_out.get(station.uuid) is state:
                    continue  # the broker has the values that were restored from there
                if not (yield from self._one_part(part, station, uncompleted, queued)):
                    continue
                if part is DISCOVERY:
                    uncompleted[station.uuid] = _labels(state)
                elif part is AVAILABILITY:
                    del uncompleted[station.uuid]
        for output in self.plan.outputs:
            yield from output.bridge(AVAILABILITY)

    def _is_discovered(self, station: Station, state: StationState, unchanged: Mapping[str, bytes]) -> bool:
        """Return whether the broker has the entry of a station, and its discovery. Long labels are cut in the entry."""
        entry = self.plan.topics.station(station.topic_id, "info")
        if entry not in unchanged or any(len(plug.label or "") > LONGEST_LABEL for plug in state.plugs.values()):
            return False
        return unchanged[entry] == self.station_info(station, state).payload

    def _one_part(
        self, part: Part, station: Station, uncompleted: Container[str], queued: Container[str]
    ) -> Generator[Message, None, bool]:
        """Yield one part of a station in its current state, and return whether it was completed.

        The part ends early if a change takes over the station, or if the station is removed or published differently.
        """
        uuid, plan = station.uuid, self.plan
        if uuid not in uncompleted or uuid in queued or not self._publishes(station):
            return False
        for message in self._part(part, station, None, self.stations.state(uuid)):
            yield message
            is_published = self.plan is plan or self._publishes(station)
            if uuid not in uncompleted or uuid in queued or not is_published:
                return False
        return True

    def _publishes(self, station: Station) -> bool:
        """Return whether the plan has this station, or one with the same messages."""
        return is_published_alike(self.plan.stations.get(station.uuid), station)

    # Changes

    def state_to_queue(self, uuid: str, last_published: StationState) -> StationState:
        """Return the state that `render_change` needs; any other would only be kept in memory until then."""
        return _NO_PLUGS if uuid in self._uncompleted else last_published

    def render_change(self, key: str, last_published: StationState | None) -> Iterator[Message]:
        """Return the messages that update a station from `last_published`; all its messages if that is `None`.

        All messages are rendered from the state at the time of the first one. So the broker then has exactly that
        state, and later changes can start from it.
        """
        if key == BRIDGE_KEY:
            return iter((self.bridge_info(),))
        if key == ALL_OF_BRIDGE:
            return self.all_messages(key)
        station = self.plan.stations.get(key)
        if station is None:
            return iter(())
        discovered = last_published
        if key in self._uncompleted:
            labels = self._uncompleted.pop(key)
            discovered = restore_plugs(_NO_PLUGS, labels) if last_published and labels is not None else None
            last_published = None
        return self._from_one_state(station, discovered, last_published)

    def _from_one_state(
        self, station: Station, discovered: StationState | None, last_published: StationState | None
    ) -> Iterator[Message]:
        uuid, plan = station.uuid, self.plan
        state = self.stations.state(uuid)
        for message in self._parts(station, discovered, last_published, state):
            if self.plan is not plan and not self._publishes(station):
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
    ) -> list[Message]:
        messages = self._part(VALUES, station, last_published, state)
        messages += self._part(AVAILABILITY, station, last_published, state)
        if discovered is None or not has_same_labels(discovered, state):
            messages = self._part(DISCOVERY, station, discovered, state) + messages
            if self.is_discovery_complete:
                self.is_discovery_complete = False
                messages.insert(0, self.bridge_info())
        return messages

    # Both

    def _part(self, part: Part, station: Station, old: StationState | None, new: StationState) -> list[Message]:
        # The entry goes first: if the rest is interrupted, a later run can clear what was published.
        messages = [self.station_info(station, new)] if part is DISCOVERY else []
        if old is None and part is VALUES:
            new = with_repeats(new)
        for output in self.plan.outputs:
            messages += output.station(part, station, old, new)
        return messages


def _labels(state: StationState | None) -> dict[str, str | None] | None:
    return {uuid: plug.label for uuid, plug in state.plugs.items()} if state else None
