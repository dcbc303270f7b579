"""The publication: decides what to publish next, from the current states and what was published before.

A sans-I/O state machine: the session calls it for each event on the connection, pulls messages while the connection
has room, and does the waiting. The rules:

- While there is no connection, nothing is queued. On each connect the bridge republishes everything. Each message is
  rendered when the connection has room, so each topic gets one message with the newest value.
- Before that, the bridge reads the manifest: the retained `info` topics that a previous run, or this one, published.
  They determine a migration: stages that must be acknowledged one by one before anything else is published, and topics
  that are cleared after everything else.
- A changed configuration leads to a migration as well. If the migration has no stages and only stations changed, the
  bridge publishes those stations; otherwise, it republishes everything. Migrations queue up, and only the last one
  leads to the full republish.
- While an old manifest entry is the only record of topics to clear, its successor is deferred until they are cleared.
- When a consumer announces its start, the bridge republishes everything, including pending changes.
- When the bridge stops, `offline` is the last message.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.comparison import has_changes, has_same_labels, is_published_alike
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, read_bridge, read_station
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.migration import EntryChange, Migration, plan_migration
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.renderer import BRIDGE_KEY, Renderer
from evse_mqtt_bridge.publishing.topics import Topics, covers

__all__ = ["Phase", "Publication", "Subscriptions"]


class Phase(Enum):
    """The phase of a connection."""

    OFFLINE = "no connection"
    RESTORING = "the manifest is being read"
    MIGRATING = "the stages of a migration are being published"
    LIVE = "a full republish and changes are being published"
    CLOSING = "`offline` is being published"


_TRANSITIONS: Mapping[tuple[Phase, str], frozenset[Phase]] = {
    (Phase.OFFLINE, "connected"): frozenset({Phase.RESTORING}),
    (Phase.RESTORING, "restored"): frozenset({Phase.RESTORING, Phase.MIGRATING, Phase.LIVE}),
    (Phase.MIGRATING, "stage_acknowledged"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    (Phase.MIGRATING, "reconfigured"): frozenset({Phase.MIGRATING}),
    (Phase.LIVE, "reconfigured"): frozenset({Phase.MIGRATING, Phase.LIVE}),
    **{
        (phase, "closing"): frozenset({Phase.CLOSING})
        for phase in (Phase.RESTORING, Phase.MIGRATING, Phase.LIVE, Phase.CLOSING)
    },
    **{(phase, "disconnected"): frozenset({Phase.OFFLINE}) for phase in Phase},
}
"""The phases that each method may lead to. A missing combination is a bug in the session."""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Topic filters to subscribe to.

    Attributes:
        lasting: Filters of subscriptions that last as long as the connection.
        retained: Filters of subscriptions that end when the broker has delivered the retained messages.
    """

    lasting: tuple[str, ...]
    retained: tuple[str, ...]


class Publication:
    """The state machine that the module describes. Every method returns at once, and none has a callback.

    Args:
        plan: The publishing plan.
        stations: The states; the plugs of a previous run are restored into them.
        started: When the bridge started, in UTC.
    """

    def __init__(self, plan: Plan, stations: Stations, started: datetime) -> None:
        self._renderer = Renderer(plan, stations, started)
        self._stations = stations
        self._phase = Phase.OFFLINE
        self._outbox: Outbox[StationState] = Outbox(self._renderer.render_change)
        self._retained: dict[str, bytes] = {}
        self._manifest_filters: tuple[str, ...] = ()
        self._current_migration: Migration | None = None
        self._stages: deque[tuple[Message, ...]] = deque()
        self._queued_migrations: deque[Migration] = deque()
        self._is_restored = False
        """Whether the plugs of a previous run are known. What this run removed later must not come back."""

    @property
    def phase(self) -> Phase:
        """The phase of the connection."""
        return self._phase

    @property
    def plan(self) -> Plan:
        """The current plan."""
        return self._renderer.plan

    @property
    def started(self) -> datetime:
        """When the bridge started, in UTC."""
        return self._renderer.started

    def clock_changed(self, shift: timedelta) -> None:
        """Correct the start time, and republish the entry of the bridge, which contains it."""
        self._renderer.started += shift
        self._put_again([BRIDGE_KEY], [])

    @property
    def deferred_entry_topics(self) -> frozenset[str]:
        """Topics of manifest entries that follow a clean-up which is not yet complete."""
        return frozenset(self._renderer.deferred_entry_topics)

    def will(self) -> Message:
        """Return the message `offline`: the broker publishes it as the will, or the bridge itself when it stops."""
        return self._renderer.availability(online=False)

    # The connection

    def connected(self) -> Subscriptions:
        """Begin a connection that the broker accepted; return the subscriptions to read the manifest."""
        self._enter(Phase.RESTORING, "connected")
        self._outbox.drop_all()
        birth = (self.plan.birth_topic,) if self.plan.birth_topic else ()
        self._manifest_filters = (self.plan.topics.manifest_filter, *Topics.bridge_info_filters())
        return Subscriptions(birth, self._manifest_filters)

    def received(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Handle a message from the broker.

        Returns:
            Whether it is a birth message. Then the caller calls `republish` after a random pause.
        """
        if retained:
            if self._phase is Phase.RESTORING:
                self._retained[topic] = payload
            return False
        return payload == b"online" and self._phase is Phase.LIVE and covers(self.plan.birth_topic, topic)

    def restored(self) -> Subscriptions | None:
        """Go on when the broker has delivered the retained messages of the last subscriptions.

        Returns:
            Further subscriptions, for base topics that only the manifest names; `None` if there are none and
            publishing begins.
        """
        client_id = self.plan.client_id
        bridges = [bridge for item in self._retained.items() if (bridge := read_bridge(*item, client_id))]
        bases = dict.fromkeys((self.plan.topics, *(bridge.topics for bridge in bridges)))
        missing = tuple(sorted({base.manifest_filter for base in bases} - set(self._manifest_filters)))
        if missing:
            self._enter(Phase.RESTORING, "restored")
            self._manifest_filters += missing
            return Subscriptions((), missing)
        stations = [
            station
            for base in bases
            for item in self._retained.items()
            if (station := read_station(base, *item, client_id))
        ]
        self._retained = {}
        if not self._is_restored:
            for entry in stations:
                self._stations.restore_plugs(entry.uuid, entry.labels)
            self._is_restored = True
        first = self._migration_from([*stations, *bridges])
        self._renderer.deferred_entry_topics = set(first.deferred_entry_topics)
        self._enter(Phase.MIGRATING if first.stages else Phase.LIVE, "restored")
        self._begin(first)
        return None

    @property
    def manifest_filters(self) -> tuple[str, ...]:
        """The subscriptions for reading the manifest, which are no longer needed after that."""
        return self._manifest_filters

    def closing(self) -> None:
        """Stop publishing; `offline` is the last message."""
        self._enter(Phase.CLOSING, "closing")
        self._outbox.drop_all()
        self._outbox.put_first([self.will()])

    def disconnected(self) -> None:
        """Drop everything that is pending, because the connection ended."""
        self._enter(Phase.OFFLINE, "disconnected")
        self._outbox.drop_all()
        self._retained = {}
        self._stages.clear()
        self._queued_migrations.clear()

    # Messages

    def next_message(self) -> Message | None:
        """Return the next message to publish; `None` if none is pending."""
        message = self._outbox.next_message()
        if message and self._phase is Phase.LIVE:
            # A deferred entry goes after all clearing, so it is the first one for its topic, and ends the deferral.
            self._renderer.deferred_entry_topics.discard(message.topic)
        return message

    def stage_acknowledged(self) -> None:
        """Go on to the next stage: the current one is acknowledged, and consumers had time to process it."""
        if self._phase is not Phase.MIGRATING:
            return
        if self._stages:
            self._outbox.put_first(self._stages.popleft())
            return
        self._finish()

    def station_changed(self, station: Station, old: StationState, new: StationState) -> bool:
        """Queue the changes of a station after a poll or the passing of time; return whether there are any."""
        if not has_changes(old, new):
            return False
        if removed := self._removed_topics(station, old, new):
            self._renderer.deferred_entry_topics.add(self._renderer.station_entry_topic(station))
            # The state published last no longer counts: a plug that returns before its topics are cleared has to be
            # republished completely.
            self._put_again([station.uuid], [*clear(removed), self._renderer.station_info(station, new)])
        elif self._phase is Phase.LIVE:
            is_deferred = self._renderer.station_entry_topic(station) in self._renderer.deferred_entry_topics
            if is_deferred and not has_same_labels(old, new):
                self._outbox.put_last([self._renderer.station_info(station, new)])
            self._outbox.put_change(station.uuid, old)
        return True

    def _removed_topics(self, station: Station, old: StationState, new: StationState) -> list[str]:
        """Return the topics of removed plugs."""
        if old.plugs.keys() <= new.plugs.keys():
            return []
        kept = self._renderer.station_entry(station, new).all_topics()
        return [topic for topic in self._renderer.station_entry(station, old).all_topics() if topic not in kept]

    def republish(self) -> None:
        """Republish everything."""
        if self._phase is Phase.LIVE:
            self._outbox.put_republish(self._renderer.everything(self._outbox.is_queued))

    # Another configuration

    def reconfigured(self, plan: Plan) -> None:
        """Switch to another plan: clear removed topics, and publish only what differs.

        Without a connection, or before the manifest is read, only plan and states change: `restored` then finds in the
        manifest what has to be cleared.
        """
        if self._phase not in (Phase.MIGRATING, Phase.LIVE):
            self._switch_to(plan)
            return
        renderer, old = self._renderer, self.plan
        unchanged = {
            uuid for uuid, station in plan.stations.items() if is_published_alike(old.stations.get(uuid), station)
        }
        is_moved = (plan.topics, plan.locations) != (old.topics, old.locations)
        entries: list[Entry] = [
            renderer.station_entry(station, self._stations.state(uuid))
            for uuid, station in old.stations.items()
            if is_moved or uuid not in unchanged
        ]
        entries.append(renderer.bridge_entry())
        deferred_before = set(renderer.deferred_entry_messages())
        missing_entries = tuple(renderer.missing_entry_messages())
        self._switch_to(plan)
        new = self._migration_from(entries)
        deferred = renderer.deferred_entry_topics
        renderer.deferred_entry_topics = (
            set(new.deferred_entry_topics) if new.stages else deferred | new.deferred_entry_topics
        )
        if new.stages or (plan.topics, plan.client_id, plan.outputs) != (old.topics, old.client_id, old.outputs):
            # Before a stage changes discovery, the broker must have the entry that records it.
            stages = (missing_entries, *new.stages) if missing_entries and new.stages else new.stages
            self._put_migration(replace(new, stages=stages))
            return
        deferred_now = [
            message
            for message in renderer.deferred_entry_messages()
            if message.topic in new.deferred_entry_topics or message not in deferred_before
        ]
        changed = [uuid for uuid in plan.stations if uuid not in unchanged]
        renderer.stations_without_entry.update(changed)
        self._put_again([BRIDGE_KEY, *changed], [*new.last, *deferred_now])

    def _switch_to(self, plan: Plan) -> None:
        self._renderer.plan = plan
        self._stations.reconfigure(plan.stations, plan.rules)

    def _migration_from(self, entries: Iterable[Entry]) -> Migration:
        """Return the migration from these entries to the plan, the bridge's entries last: they name the base topics."""
        changes = []
        for entry in entries:
            if isinstance(entry, BridgeEntry):
                changes.append(EntryChange(entry, self._renderer.bridge_entry()))
            else:
                station = self.plan.stations.get(entry.uuid)
                state = self._stations.state(entry.uuid) if station else None
                successor = self._renderer.station_entry(station, state) if station and state else None
                changes.append(EntryChange(entry, successor))
        return plan_migration(changes)

    def _put_again(self, keys: Iterable[str], last: Iterable[Message]) -> None:
        """Republish stations, or the bridge's entry, completely, and publish `last` after everything that is pending.

        While migrating, the keys need no entry in the outbox, because the full republish follows, and `last` follows
        the last migration in the queue.
        """
        if self._phase is Phase.LIVE:
            for key in keys:
                self._outbox.put_change(key, None)
            self._outbox.put_last(last)
        elif self._queued_migrations:
            queued = self._queued_migrations.pop()
            self._queued_migrations.append(replace(queued, last=(*queued.last, *last)))
        elif current := self._current_migration:
            self._current_migration = replace(current, last=(*current.last, *last))

    def _put_migration(self, new: Migration) -> None:
        """Begin a migration, or queue it if one is under way."""
        if self._phase is Phase.MIGRATING:
            self._enter(Phase.MIGRATING, "reconfigured")
            self._queued_migrations.append(new)
            self._outbox.drop_changes()  # they would be rendered with the new plan
        elif self._phase is Phase.LIVE:
            self._enter(Phase.MIGRATING if new.stages else Phase.LIVE, "reconfigured")
            self._begin(new)

    def _begin(self, new: Migration) -> None:
        self._outbox.drop_changes()
        self._current_migration = new
        self._stages = deque(new.stages)
        if self._stages:
            self._outbox.put_first(self._stages.popleft())
        else:
            self._finish()

    def _finish(self) -> None:
        """Republish everything, clear topics, publish deferred entries; or begin the next migration in the queue."""
        finished, self._current_migration = self._current_migration, None
        following = self._queued_migrations.popleft() if self._queued_migrations else None
        if following is None:
            self._enter_live()
        self._outbox.put_last(finished.last if finished else ())
        if following is None:
            self._outbox.put_last(self._renderer.deferred_entry_messages())
        else:
            self._begin(following)  # the deferred entries are those of its plan, so they follow its clearing

    def _enter_live(self) -> None:
        if self._phase is Phase.MIGRATING:
            self._enter(Phase.LIVE, "stage_acknowledged")
        self._renderer.stations_without_entry = set(self.plan.stations)
        self._outbox.put_republish(self._renderer.everything(self._outbox.is_queued))

    def _enter(self, phase: Phase, by: str) -> None:
        """Enter a phase. Raises RuntimeError if the table lacks the transition, which is a bug in the caller."""
        if phase not in _TRANSITIONS.get((self._phase, by), frozenset()):
            raise RuntimeError(f"{by}() in phase {self._phase.name}")
        self._phase = phase
