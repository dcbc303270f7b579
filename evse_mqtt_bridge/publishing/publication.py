"""The line for one station, and the set of stations: outcome -> state -> news -> messages -> broker.

Nothing here waits or looks at a clock. What comes in is an outcome, a configuration, or what the broker remembers of an
earlier life; what goes out are messages.
"""

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.domain.availability import (
    Moment,
    advance,
    age,
    forget_plugs_without_topics,
    remember,
    with_topics,
)
from evse_mqtt_bridge.domain.model import Message, Outcome, Station, StationState
from evse_mqtt_bridge.publishing import messages
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, StationEntry, read_bridge, read_station
from evse_mqtt_bridge.publishing.messages import BridgeInfo
from evse_mqtt_bridge.publishing.migration import Change, Transition, transition
from evse_mqtt_bridge.publishing.outputs import homeassistant
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.topics import Topics

__all__ = ["THE_BRIDGE", "Bridge", "Publisher"]

THE_BRIDGE = ""
"""The key of what the bridge says of itself, where others are uuids of stations."""


_Speak = Callable[[Station, StationState], Iterator[Message]]


class Publisher(Protocol):
    """Where news goes; what there is without a connection may be dropped, since the whole picture follows one."""

    def publish(self, key: str, told: StationState) -> None:
        """A station has news, for a broker that was told of this state; `Bridge.news` has the words."""

    def publish_last(self, messages: Iterable[Message]) -> None:
        """Say these after all that waits."""

    def publish_anew(self, keys: Iterable[str], last: Iterable[Message]) -> None:
        """Say all that there is of these stations, and `last` after all that waits, less what was said by then."""

    def change(self, transition: Transition) -> None:
        """Go through a transition's steps, then say the whole picture, what the transition has last, and late infos."""


class Bridge:
    """The stations of a plan and what is known of them; `started` is when, in UTC."""

    def __init__(self, plan: Plan, started: datetime) -> None:
        self._plan = plan
        self._started = started
        self._states = {uuid: StationState() for uuid in plan.stations}
        # Topics of `info` that are said last on this connection; see Transition.records.
        self._late: set[str] = set()
        # The stations whose values the picture on its way has not come to, by uuid, each with the state in which it
        # told discovery.
        self._untold: dict[str, StationState | None] = {}

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self._plan

    @property
    def started(self) -> datetime:
        """When the bridge started, in UTC."""
        return self._started

    def state(self, uuid: str) -> StationState:
        """What is known of a station of the plan."""
        return self._states[uuid]

    # The line

    def take(self, uuid: str, outcome: Outcome, moment: Moment, publisher: Publisher) -> Outcome:
        """One poll's outcome for a station of the plan: what it changes is published.

        Returns the outcome as it was taken, without plugs that have no topic.
        """
        station, old = self._plan.stations[uuid], self._states[uuid]
        outcome = with_topics(outcome, station)
        new = self._states[uuid] = advance(old, outcome, self._plan.rules, moment)
        if messages.has_changes(old, new):
            self._tell_news(station, old, new, publisher)
        return outcome

    def _tell_news(self, station: Station, old: StationState, new: StationState, publisher: Publisher) -> None:
        if gone := self._topics_gone(station, old, new):
            # What the broker was told holds no more: a plug that comes back before its end was said must be told again.
            publisher.publish_anew([station.uuid], [*messages.clear(gone), self._info(station, new)])
            return
        if not _are_called_alike(old, new) and self._record_of(station) in self._late:
            publisher.publish_last([self._info(station, new)])
        publisher.publish(station.uuid, old)

    def age(self, moment: Moment, publisher: Publisher) -> Iterator[tuple[Station, StationState, StationState]]:
        """Time has passed without polls: what became too old is published; yields each station that this changed."""
        for uuid, station in self._plan.stations.items():
            old = self._states[uuid]
            new = age(old, self._plan.rules, moment)
            if new is not old:
                self._states[uuid] = new
                publisher.publish(uuid, old)
                yield station, old, new

    def _topics_gone(self, station: Station, old: StationState, new: StationState) -> list[str]:
        """What plugs that went leave; the station's `info` then has to follow its end."""
        if old.plugs.keys() <= new.plugs.keys():
            return []
        self._late.add(self._record_of(station))
        kept = self._entry(self._plan, station, new).all_topics()
        return [topic for topic in self._entry(self._plan, station, old).all_topics() if topic not in kept]

    # Another configuration

    def apply(self, plan: Plan, publisher: Publisher) -> None:
        """Go over to another plan: what stayed the same keeps its state and is not said again, what went is cleared."""
        old = self._plan
        same = {uuid for uuid, station in plan.stations.items() if _is_said_alike(old.stations.get(uuid), station)}
        is_moved = (plan.topics, plan.place) != (old.topics, old.place)
        before = [
            self._entry(old, station, self._states[uuid])
            for uuid, station in old.stations.items()
            if is_moved or uuid not in same
        ]
        told_late = set(self.late_infos())
        self._plan = plan
        self._states = {
            uuid: forget_plugs_without_topics(self._states.get(uuid, StationState()), station)
            for uuid, station in plan.stations.items()
        }
        way = self._retire(before, [BridgeEntry(old.topics, old.client_id, old.place)])
        self._late = set(way.records) if way.steps else self._late | way.records
        if way.steps or (plan.topics, plan.client_id, plan.discovery) != (old.topics, old.client_id, old.discovery):
            publisher.change(way)
            return
        infos = (info for info in self.late_infos() if info.topic in way.records or info not in told_late)
        publisher.publish_anew([THE_BRIDGE, *(uuid for uuid in plan.stations if uuid not in same)], [*way.last, *infos])

    # What the session asks: the picture

    @property
    def birth_topic(self) -> str:
        """Where a consumer says that it has started; empty: nowhere."""
        return self._plan.birth_topic

    @property
    def memory_filters(self) -> list[str]:
        """Each station's `info`, and every bridge's, since this one may have had another base topic."""
        return [self._plan.topics.ledger_filter, *Topics.bridge_info_filters()]

    def more_memory_filters(self, retained: Mapping[str, bytes]) -> list[str]:
        """The stations' `info` under base topics that this bridge had before."""
        entries = (read_bridge(topic, payload, self._plan.client_id) for topic, payload in retained.items())
        topics = {entry.topics.ledger_filter for entry in entries if entry is not None}
        return sorted(topics - {self._plan.topics.ledger_filter})

    def recall(self, retained: Mapping[str, bytes]) -> Transition:
        """What to say before the picture and after it, for what an earlier life left; its plugs are remembered."""
        client_id = self._plan.client_id
        bridges = [bridge for item in retained.items() if (bridge := read_bridge(*item, client_id))]
        bases = {self._plan.topics, *(bridge.topics for bridge in bridges)}
        stations = [
            station for base in bases for item in retained.items() if (station := read_station(base, *item, client_id))
        ]
        for entry in stations:
            if known := self._plan.stations.get(entry.uuid):
                state = remember(self._states[entry.uuid], entry.labels)
                self._states[entry.uuid] = forget_plugs_without_topics(state, known)
        way = self._retire(stations, bridges)
        self._late = set(way.records)
        return way

    def late_infos(self) -> Iterator[Message]:
        """Each `info` that is said last, after what went is cleared."""
        if not self._late:
            return
        for station in self._plan.stations.values():
            if self._record_of(station) in self._late:
                yield self._info(station, self._states[station.uuid])
        if self._plan.topics.info in self._late:
            yield self._bridge_info()

    def whole(self, waits: Callable[[str], bool] = lambda _: False) -> Iterator[Message]:
        """Begin a picture: everything that is known, read from the state as it is drawn.

        A station of which news `waits` (by uuid) is told by that; see `news`.
        """
        untold = self._untold = dict.fromkeys(self._plan.stations)
        return self._whole(untold, waits)

    def _whole(self, untold: dict[str, StationState | None], waits: Callable[[str], bool]) -> Iterator[Message]:
        yield from self._in_time(self._bridge_info())
        if self._plan.discovery:
            yield from homeassistant.bridge(self._plan.discovery)
        yield from self._picture(untold, waits)
        yield messages.bridge_availability(self._plan.topics, online=True)

    def will(self) -> Message:
        """What is said when the bridge ends, by itself or by the broker."""
        return messages.bridge_availability(self._plan.topics, online=False)

    def news(self, key: str, told: StationState | None) -> Iterator[Message]:
        """What a broker that was told this of a station does not know yet; with `None`, all that there is of it.

        It is all too where the picture on its way has not told the station, which it then leaves out: as stations that
        answer for the first time have news while the first picture is said, most would be said twice.

        The words are to the end those of the state in which they were begun, so that the broker then shows that very
        state, and what changed in the meantime is news after it.
        """
        if key == THE_BRIDGE:
            yield from self._in_time(self._bridge_info())
        elif station := self._plan.stations.get(key):
            discovered = told
            if key in self._untold:
                by_picture = self._untold.pop(key)
                discovered, told = by_picture if told else None, None
            yield from self._as_begun(station, discovered, told)

    # Within

    def _picture(self, untold: dict[str, StationState | None], waits: Callable[[str], bool]) -> Iterator[Message]:
        """All stations: discovery, then values, then availability; less those that go or have news in the meantime."""
        stations = list(self._plan.stations.values())
        for station in stations:
            state = self._states.get(station.uuid)
            if (yield from self._tell(station, partial(self._discovery, None), untold, waits)):
                untold[station.uuid] = state
        for station in stations:
            yield from self._tell(station, self._values, untold, waits)
        for station in stations:
            if (yield from self._tell(station, self._availability, untold, waits)):
                del untold[station.uuid]

    def _tell(
        self, station: Station, speak: _Speak, untold: Container[str], waits: Callable[[str], bool]
    ) -> Generator[Message, None, bool]:
        """What `speak` says of a station as it is now, unless news tells it; returns whether it came to its end."""
        uuid = station.uuid

        def is_due() -> bool:
            return uuid in untold and not waits(uuid) and _is_said_alike(self._plan.stations.get(uuid), station)

        if not is_due():
            return False
        for message in speak(station, self._states[uuid]):
            if not is_due():
                return False
            yield message
        return is_due()

    def _as_begun(
        self, station: Station, discovered: StationState | None, told: StationState | None
    ) -> Iterator[Message]:
        """The news of a station as it is now, less what must not be said any more when its turn comes."""
        uuid = station.uuid
        state = self._states[uuid]
        for message in self._news_of(discovered, told, station, state):
            if not _is_said_alike(self._plan.stations.get(uuid), station):
                return
            now = self._states[uuid]
            if now is not state and not state.plugs.keys() <= now.plugs.keys():
                return  # all of it waits to be told anew
            yield message

    def _news_of(
        self, discovered: StationState | None, told: StationState | None, station: Station, state: StationState
    ) -> Iterator[Message]:
        yield from self._discovery(discovered, station, state)
        yield from messages.changes(self._plan.topics, station, told or StationState(), state)

    def _discovery(self, told: StationState | None, station: Station, state: StationState) -> Iterator[Message]:
        """`info` and discovery, where they are news after `told`."""
        if told is None or not _are_called_alike(told, state):
            # `info` goes first: whatever interrupts the rest, a later run then knows what was begun.
            yield from self._in_time(self._info(station, state))
        if self._plan.discovery:
            if told is None:
                yield from homeassistant.station(self._plan.discovery, station)
            for uuid, plug in state.plugs.items():
                known = told.plugs.get(uuid) if told else None
                if known is None or known.label != plug.label:
                    yield from homeassistant.plug(self._plan.discovery, station, uuid, plug.label)

    def _values(self, station: Station, state: StationState) -> Iterator[Message]:
        return messages.values(self._plan.topics, station, state)

    def _availability(self, station: Station, state: StationState) -> Iterator[Message]:
        return messages.availability(self._plan.topics, station, state)

    def _in_time(self, info: Message) -> tuple[Message, ...]:
        """An `info`, where it may be said before what went is cleared."""
        return () if info.topic in self._late else (info,)

    def _bridge_info(self) -> Message:
        info = BridgeInfo(
            version=__version__,
            client_id=self._plan.client_id,
            started=self._started,
            stations=len(self._plan.stations),
            discovery=self._plan.place.as_dict() if self._plan.place else None,
        )
        return messages.bridge_info(self._plan.topics, info)

    def _record_of(self, station: Station) -> str:
        return self._plan.topics.station(station.topic_id, "info")

    def _info(self, station: Station, state: StationState) -> Message:
        place = self._plan.place.as_dict() if self._plan.place else None
        return messages.station_info(self._plan.topics, station, state, self._plan.client_id, place)

    @staticmethod
    def _entry(plan: Plan, station: Station, state: StationState) -> StationEntry:
        return StationEntry.of(plan.topics, station, state, plan.place)

    def _retire(self, stations: Iterable[StationEntry], bridges: Iterable[BridgeEntry]) -> Transition:
        """From entries of before to what the plan wants; the bridges' last, since they tell where stations' are."""
        heir = BridgeEntry(self._plan.topics, self._plan.client_id, self._plan.place)
        changes = []
        for entry in stations:
            station = self._plan.stations.get(entry.uuid)
            changes.append(Change(entry, self._entry_of(station) if station else None))
        return transition([*changes, *(Change(bridge, heir) for bridge in bridges)])

    def _entry_of(self, station: Station) -> StationEntry:
        return self._entry(self._plan, station, self._states[station.uuid])


def _are_called_alike(old: StationState, new: StationState) -> bool:
    """Whether two states of a station have the same plugs by the same labels."""
    if len(old.plugs) != len(new.plugs):
        return False
    for uuid, plug in new.plugs.items():  # a loop, since this is asked for each poll
        before = old.plugs.get(uuid)
        if before is None or before.label != plug.label:
            return False
    return True


def _is_said_alike(was: Station | None, station: Station) -> bool:
    """Whether what is published of a station is the same."""
    return was is station or (was is not None and _said_of(was) == _said_of(station))


def _said_of(station: Station) -> tuple[object, ...]:
    """What messages are made of: all but the interval."""
    return station.uuid, station.name, station.alias, station.plugs
