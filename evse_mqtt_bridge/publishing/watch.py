"""Notices what others do to the retained topics of the bridge: clear them, or overwrite them.

Sans-I/O. The broker delivers the messages of others on `filters`, and none of the bridge's own (MQTT 5, No Local). The
rules:

- A topic that somebody cleared, or on which somebody published something else, is published again with everything of
  its station. An overwritten topic is compared when `evaluate` is called, because values may change meanwhile.
- Exception: if another bridge published discovery of the same station, both would go on overwriting each other. That
  alone is no reason to publish the station again, until that bridge is offline.
- If another bridge with the same base topic publishes there, nothing is published again: nobody can know when it stops.
- If the bridge's own messages come back, because the broker does not know No Local or another one forwards them in
  a loop, nothing can be found out: `is_echo`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from evse_mqtt_bridge.publishing.manifest import StationEntry
from evse_mqtt_bridge.publishing.manifest_payloads import read_bridge
from evse_mqtt_bridge.publishing.other_bridges import AllBut, OtherBridges
from evse_mqtt_bridge.publishing.renderer import ALL_OF_BRIDGE, Renderer
from evse_mqtt_bridge.publishing.subscriptions import Subscriptions
from evse_mqtt_bridge.publishing.topics import PlugTopic, Topics

__all__ = ["Disturbance", "Watch"]

_MOST_TOPICS = 1000
"""Maximum number of overwritten topics to compare. If there are more, and one of these is wrong, all may be wrong."""

_MOST_STATIONS = 20
"""Maximum number of stations to render in one call, which takes about 1 ms each. The others wait for the next call."""

_MOST_KEYS = 200
"""Number of disturbed stations above which everything is republished, so that the order of publishing is kept."""

_FEWEST_ECHOES, _ECHO_SHARE = 20, 0.8
"""An echo: at least so many compared messages, and this share of them, are equal to the own ones of the bridge."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What others did since the last evaluation.

    Attributes:
        keys: The outbox keys of the stations, or of the bridge, to publish again.
        topics: Number of messages that cleared a topic, and of overwritten topics, without those of other bridges.
        example: One of these topics; empty: none.
        is_cleared: Whether the example was cleared.
        stopped: The base topics of bridges with the same stations that are offline now.
        rival: The MQTT client id of another bridge with the same base topic; empty: none.
        is_echo: Whether the bridge's own messages come back.
        is_everything: Whether more may have happened than `keys` names.
    """

    keys: tuple[str, ...] = ()
    topics: int = 0
    example: str = ""
    is_cleared: bool = False
    stopped: tuple[Topics, ...] = ()
    rival: str = ""
    is_echo: bool = False
    is_everything: bool = False

    @property
    def is_large(self) -> bool:
        """Whether to republish everything."""
        return self.is_everything or len(self.keys) > _MOST_KEYS


class Watch:
    """Collects the messages of others on the bridge's own topics.

    Args:
        renderer: Renders what the broker should retain.

    Attributes:
        others: The other bridges.
        are_others_read: Whether it is known what they claim; only then, the clean-up begins.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self.others = OtherBridges(None, (), lambda _: False)
        self.are_others_read = False
        self._former: frozenset[str] = frozenset()
        self._cleared: dict[str, str] = {}
        self._overwritten: dict[str, bytes] = {}
        self._count = 0
        self._is_overflowing = False
        self._equal, self._compared = 0, 0
        self._overwriters: dict[Topics, set[str]] = {}
        """Base topics of live bridges with the same stations, and the outbox keys of the topics that they overwrote."""

    @property
    def filters(self) -> tuple[str, ...]:
        """The subscriptions, by the current plan. A shard has none: it would receive what all other shards publish."""
        if self._renderer.plan.share.shards > 1:
            return ()
        return tuple(each for location in self._renderer.plan.locations for each in location.watched())

    @property
    def is_pending(self) -> bool:
        """Whether there is something to evaluate."""
        return bool(self._cleared or self._overwritten or any(map(self.others.is_offline, self._overwriters)))

    def begin(self) -> None:
        """Begin a connection. Nothing is known about other bridges."""
        plan, previous = self._renderer.plan, self._renderer.previous
        client_ids = {plan.client_id, *(entry.client_id for entry in previous.bridges)}
        self.others = OtherBridges(plan.topics, client_ids, self._is_relevant)
        self._renderer.claimed_topics = self.others.claimed_of
        self._overwriters = {}
        self._equal = self._compared = 0
        self.are_others_read = False
        self.reset()

    def reconfigured(self) -> None:
        """Read again what others claim, because other stations are relevant now; until then, nothing is cleared."""
        self.others.read_again()
        if self.others.is_outdated:
            self.are_others_read = False

    def next_subscriptions(self, entries: Iterable[StationEntry]) -> Subscriptions | None:
        """Return the subscriptions to what other bridges claim, if there is anything to read.

        Args:
            entries: Entries whose topics may have to be cleared, in addition to the previous ones.
        """
        bases = self.others.pop_unread()
        if not bases:
            return None
        self._former = frozenset(entry.uuid for entry in chain(self._renderer.previous.stations, entries))
        return Subscriptions(tuple(base.availability for base in bases), tuple(base.manifest_filter for base in bases))

    def _is_relevant(self, uuid: str) -> bool:
        """Return whether this bridge has, or may have to clear, topics of a station."""
        return uuid in self._renderer.plan.stations or uuid in self._former

    def note_others_read(self) -> None:
        """Note that the entries of the other bridges are read."""
        self.are_others_read = True
        for base in self.others.with_same_stations():
            self._overwriters.setdefault(base, set())

    def received(self, topic: str, payload: bytes, *, is_own_published: bool = True) -> None:
        """Note a message, not retained, that is not the bridge's.

        Args:
            topic: The topic: one of the bridge, or of the manifest of another one. Any other is ignored.
            payload: The payload.
            is_own_published: Whether this bridge has begun to publish; otherwise it will overwrite the topic.
        """
        self.others.received(topic, payload)
        key = self._owner(topic) if is_own_published else None
        if key is None:
            return
        if not payload:
            self._overwritten.pop(topic, None)
            self._cleared.setdefault(key, topic)
            self._count += 1
        elif topic in self._overwritten or len(self._overwritten) < _MOST_TOPICS:
            self._overwritten[topic] = payload
        else:
            self._is_overflowing = True

    def reset(self) -> None:
        """Forget the messages, because the connection ended, or they are being evaluated."""
        self._cleared, self._overwritten, self._count, self._is_overflowing = {}, {}, 0, False

    def evaluate(self) -> Disturbance:
        """Return what happened since the last call. Call it when no full republish is under way.

        Overwritten topics of further stations than `_MOST_STATIONS` wait for the next call.
        """
        cleared, overwritten, count, is_overflowing = (
            self._cleared,
            self._overwritten,
            self._count,
            self._is_overflowing,
        )
        self.reset()
        if rival := self._rival(overwritten):
            return Disturbance(rival=rival)
        wrong = self._compare(overwritten)
        # The topics that were not noted may be of any station. They matter if one that waits turns out wrong.
        self._is_overflowing = is_overflowing and bool(self._overwritten)
        if self._equal >= _FEWEST_ECHOES and self._equal >= _ECHO_SHARE * self._compared:
            return Disturbance(is_echo=True)
        stopped = tuple(filter(self.others.is_offline, self._overwriters))
        left = (key for base in stopped for key in (*self._overwriters.pop(base), *self.others.stations_of(base)))
        keys = dict.fromkeys((*cleared, *wrong.values(), *left))
        example = next(iter((*cleared.values(), *wrong)), "")
        is_everything = is_overflowing and bool(wrong)
        return Disturbance(
            tuple(keys), count + len(wrong), example, bool(cleared), stopped, is_everything=is_everything
        )

    def _rival(self, overwritten: Mapping[str, bytes]) -> str:
        """Return the MQTT client id of another bridge that published on this bridge's `info`; empty: none did."""
        plan = self._renderer.plan
        payload = overwritten.get(plan.topics.info, b"")
        return next((entry.client_id for entry in read_bridge(plan.topics.info, payload, AllBut({plan.client_id}))), "")

    def _compare(self, overwritten: Mapping[str, bytes]) -> dict[str, str]:
        """Return the overwritten topics to publish again, each with its outbox key.

        On the way, count the messages that are equal to the bridge's own, and note which other bridges overwrote what.
        """
        wrong: dict[str, str] = {}
        expected: dict[str, Mapping[str, bytes]] = {}
        own = self._renderer.plan.topics
        for topic, payload in overwritten.items():
            key = self._owner(topic)
            if key is None:
                continue
            if key not in expected:
                if len(expected) >= _MOST_STATIONS:
                    self._overwritten[topic] = payload
                    continue
                expected[key] = {message.topic: message.payload for message in self._renderer.all_messages(key)}
            self._compared += 1
            if expected[key].get(topic, payload) == payload:
                self._equal += topic in expected[key]
            elif (base := self._publisher(payload)) is not None and base != own:
                self.others.expect(base)
                self._overwriters.setdefault(base, set()).add(key)
            else:
                wrong[topic] = key
        return wrong

    def _publisher(self, payload: bytes) -> Topics | None:
        """Return the base topic of the bridge that published a payload, if it names one."""
        found = (location.publisher(payload) for location in self._renderer.plan.locations)
        return next((base for base in found if base is not None), None)

    def _owner(self, topic: str) -> str | None:
        """Return the outbox key under which a topic is published; `None` if it is none of the bridge's."""
        plan = self._renderer.plan
        own = (plan.topics.info, plan.topics.availability)
        if topic in own or any(topic in location.bridge_topics(plan.client_id) for location in plan.locations):
            return ALL_OF_BRIDGE
        uuid, plug = self._plain_subject(topic)
        if not uuid:
            subjects = (location.subject(topic) for location in plan.locations)
            uuid, plug = next((subject for subject in subjects if subject[0] in plan.stations), ("", ""))
        return uuid if uuid and (not plug or plug in self._renderer.stations.state(uuid).plugs) else None

    def _plain_subject(self, topic: str) -> tuple[str, str]:
        """Return the uuids of the station and plug of a plain topic; empty texts for what does not exist."""
        parsed = self._renderer.plan.topics.read(topic)
        station = self._renderer.plan.by_topic_id.get(parsed.station) if parsed else None
        if station is None or not isinstance(parsed, PlugTopic):
            return (station.uuid if station else ""), ""
        plugs = self._renderer.stations.state(station.uuid).plugs
        plug = next((uuid for uuid in plugs if station.plug_topic_id(uuid) == parsed.plug), "")
        return (station.uuid if plug else ""), plug
