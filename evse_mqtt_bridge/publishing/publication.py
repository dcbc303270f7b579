"""The publication: what the broker shows, and what has to be published so that it shows the current state.

A sans-I/O state machine: the session feeds it with what happens on the connection, pulls messages while the connection
has room, and does the waiting. The rules:

- While there is no connection, nothing is queued. After each connect, everything is published, read from the states as
  the broker takes it: one message per topic, with the newest value.
- Before that, the manifest is read: the retained `info` topics that a previous run, or this one, published. From them
  follows a migration: stages that have to be acknowledged one by one before anything else is published, and topics that
  are cleared after everything else.
- A changed configuration leads to a migration as well. If it has no stages and changes nothing but stations, only those
  are published; if it does, the full republish follows. Migrations queue up; only the last one leads to the republish.
- A manifest entry that alone describes what has to be cleared is published after that was cleared.
- When a consumer announces its start, everything is published again, and pending changes with it.
- When the bridge stops, `offline` is the last message.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.comparison import has_changes, has_same_labels, is_published_alike
from evse_mqtt_bridge.publishing.manifest import BridgeEntry, Entry, read_bridge, read_station
from evse_mqtt_bridge.publishing.message import Message, clear
from evse_mqtt_bridge.publishing.migration import Change, Migration, migration
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.renderer import BRIDGE_KEY, Renderer
from evse_mqtt_bridge.publishing.topics import Topics, covers

__all__ = ["Phase", "Publication", "Subscriptions"]


class Phase(Enum):
    """Where a connection stands."""

    OFFLINE = "no connection"
    RESTORING = "the manifest is being read"
    MIGRATING = "the stages of a migration are being published"
    LIVE = "everything, then changes, are being published"
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
"""The phases that each method may lead to. A combination that is missing is an error in the session."""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Topic filters to subscribe to.

    Attributes:
        lasting: for as long as the connection lasts.
        retained: only until the broker has delivered what is retained there.
    """

    lasting: tuple[str, ...]
    retained: tuple[str, ...]


class Publication:
    """See the module. Every method returns at once; none of them calls back.

    Args:
        plan: what the configuration asks for.
        stations: the states; a previous run's plugs are restored into them.
        started: when the bridge started, in UTC.
    """

    def __init__(self, plan: Plan, stations: Stations, started: datetime) -> None:
        self._renderer = Renderer(plan, stations, started)
        self._stations = stations
        self._phase = Phase.OFFLINE
        self._outbox: Outbox[StationState] = Outbox(self._renderer.change)
        self._retained: dict[str, bytes] = {}
        self._manifest_filters: tuple[str, ...] = ()
        self._migration: Migration | None = None
        self._stages: deque[tuple[Message, ...]] = deque()
        self._migrations: deque[Migration] = deque()

    @property
    def phase(self) -> Phase:
        """Where the connection stands."""
        return self._phase

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self._renderer.plan

    @property
    def started(self) -> datetime:
        """When the bridge started, in UTC."""
        return self._renderer.started

    @property
    def deferred_entries(self) -> frozenset[str]:
        """Topics of manifest entries that are published only after a clean-up that is still pending."""
        return frozenset(self._renderer.deferred_entries)

    def will(self) -> Message:
        """Return what the broker publishes when the bridge is lost, and the bridge when it stops."""
        return self._renderer.availability(online=False)

    # The connection

    def connected(self) -> Subscriptions:
        """The broker accepted a connection; its retained manifest has to be read first."""
        self._enter(Phase.RESTORING, "connected")
        self._outbox.drop_all()
        birth = (self.plan.birth_topic,) if self.plan.birth_topic else ()
        self._manifest_filters = (self.plan.topics.manifest_filter, *Topics.bridge_info_filters())
        return Subscriptions(birth, self._manifest_filters)

    def received(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Take a message from the broker; returns whether it is a birth message: `republish` after a random pause."""
        if retained:
            if self._phase is Phase.RESTORING:
                self._retained[topic] = payload
            return False
        return payload == b"online" and self._phase is Phase.LIVE and covers(self.plan.birth_topic, topic)

    def restored(self) -> Subscriptions | None:
        """The broker has delivered what is retained under the last subscriptions.

        Returns:
            Further subscriptions, for base topics that only the manifest names; `None` when there are none, and
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
        for entry in stations:
            self._stations.restore_plugs(entry.uuid, entry.labels)
        first = self._migration_from([*stations, *bridges])
        self._renderer.deferred_entries = set(first.deferred_entries)
        self._enter(Phase.MIGRATING if first.stages else Phase.LIVE, "restored")
        self._begin(first)
        return None

    @property
    def manifest_filters(self) -> tuple[str, ...]:
        """The subscriptions that were needed to read the manifest, and are not needed any more."""
        return self._manifest_filters

    def closing(self) -> None:
        """The bridge stops: only `offline` is published any more."""
        self._enter(Phase.CLOSING, "closing")
        self._outbox.drop_all()
        self._outbox.put_first([self.will()])

    def disconnected(self) -> None:
        """The connection ended."""
        self._enter(Phase.OFFLINE, "disconnected")
        self._outbox.drop_all()
        self._retained = {}
        self._stages.clear()
        self._migrations.clear()

    # Messages

    def next_message(self) -> Message | None:
        """Return the next message to publish; `None` while there is none."""
        return self._outbox.next_message()

    def stage_acknowledged(self) -> None:
        """Everything is acknowledged while migrating, and consumers had time to process it: go on to the next stage."""
        if self._phase is not Phase.MIGRATING:
            return
        if self._stages:
            self._outbox.put_first(self._stages.popleft())
            return
        self._finish()

    def station_changed(self, station: Station, old: StationState, new: StationState) -> bool:
        """Queue what a poll, or the passing of time, changed; returns whether it changed anything."""
        if not has_changes(old, new):
            return False
        if removed := self._removed_topics(station, old, new):
            # The state published last no longer counts: a plug that comes back before its topics are cleared has to be
            # published again as a whole.
            self._put_again([station.uuid], [*clear(removed), self._renderer.station_info(station, new)])
        elif self._phase is Phase.LIVE:
            is_deferred = self._renderer.station_entry_topic(station) in self._renderer.deferred_entries
            if is_deferred and not has_same_labels(old, new):
                self._outbox.put_last([self._renderer.station_info(station, new)])
            self._outbox.put_change(station.uuid, old)
        return True

    def _removed_topics(self, station: Station, old: StationState, new: StationState) -> list[str]:
        """Return the topics of removed plugs; the station's manifest entry then has to follow their clearing."""
        if old.plugs.keys() <= new.plugs.keys():
            return []
        self._renderer.deferred_entries.add(self._renderer.station_entry_topic(station))
        kept = self._renderer.station_entry(station, new).all_topics()
        return [topic for topic in self._renderer.station_entry(station, old).all_topics() if topic not in kept]

    def republish(self) -> None:
        """Publish everything again."""
        if self._phase is Phase.LIVE:
            self._outbox.put_republish(self._renderer.everything(self._outbox.is_queued))

    # Another configuration

    def reconfigured(self, plan: Plan) -> None:
        """Go over to another plan: what stays the same is not published again, what is removed is cleared."""
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
        infos_before = set(renderer.deferred_infos())
        unrecorded = tuple(renderer.unrecorded_infos())
        renderer.plan = plan
        self._stations.reconfigure(plan.stations, plan.rules)
        new = self._migration_from(entries)
        deferred = renderer.deferred_entries
        renderer.deferred_entries = set(new.deferred_entries) if new.stages else deferred | new.deferred_entries
        if new.stages or (plan.topics, plan.client_id, plan.outputs) != (old.topics, old.client_id, old.outputs):
            # Before a stage touches discovery, the broker must have the entry that records it.
            stages = (unrecorded, *new.stages) if unrecorded and new.stages else new.stages
            self._put_migration(replace(new, stages=stages))
            return
        infos = [
            info for info in renderer.deferred_infos() if info.topic in new.deferred_entries or info not in infos_before
        ]
        changed = [uuid for uuid in plan.stations if uuid not in unchanged]
        renderer.unrecorded.update(changed)
        self._put_again([BRIDGE_KEY, *changed], [*new.last, *infos])

    def _migration_from(self, entries: Iterable[Entry]) -> Migration:
        """Return the way from these entries to the plan. The bridge's entries come last: they name the base topics."""
        changes = []
        for entry in entries:
            if isinstance(entry, BridgeEntry):
                changes.append(Change(entry, self._renderer.bridge_entry()))
            else:
                station = self.plan.stations.get(entry.uuid)
                state = self._stations.state(entry.uuid) if station else None
                successor = self._renderer.station_entry(station, state) if station and state else None
                changes.append(Change(entry, successor))
        return migration(changes)

    def _put_again(self, keys: Iterable[str], last: Iterable[Message]) -> None:
        """Publish everything of these stations, and `last` after whatever is pending."""
        if self._phase is Phase.LIVE:
            for key in keys:
                self._outbox.put_change(key, None)
        if self._phase in (Phase.LIVE, Phase.MIGRATING):
            self._outbox.put_last(last)

    def _put_migration(self, new: Migration) -> None:
        """Begin a migration, or queue it behind the one under way."""
        if self._phase is Phase.MIGRATING:
            self._enter(Phase.MIGRATING, "reconfigured")
            self._migrations.append(new)
            self._outbox.drop_changes()  # they would be rendered by the plan that the migration leads to
        elif self._phase is Phase.LIVE:
            self._enter(Phase.MIGRATING if new.stages else Phase.LIVE, "reconfigured")
            self._begin(new)

    def _begin(self, new: Migration) -> None:
        self._outbox.drop_changes()
        self._migration = new
        self._stages = deque(new.stages)
        if self._stages:
            self._outbox.put_first(self._stages.popleft())
        else:
            self._finish()

    def _finish(self) -> None:
        """Publish everything, then what the migration clears, then deferred entries; or begin the next migration."""
        finished, self._migration = self._migration, None
        following = self._migrations.popleft() if self._migrations else None
        if following is None:
            self._enter_live()
        self._outbox.put_last([*(finished.last if finished else ()), *self._renderer.deferred_infos()])
        if following is not None:
            self._begin(following)

    def _enter_live(self) -> None:
        if self._phase is Phase.MIGRATING:
            self._enter(Phase.LIVE, "stage_acknowledged")
        self._renderer.unrecorded = set(self.plan.stations)
        self._outbox.put_republish(self._renderer.everything(self._outbox.is_queued))

    def _enter(self, phase: Phase, by: str) -> None:
        """Go over to a phase. Raises RuntimeError where the table does not have the transition: a bug in the caller."""
        if phase not in _TRANSITIONS.get((self._phase, by), frozenset()):
            raise RuntimeError(f"{by}() in phase {self._phase.name}")
        self._phase = phase
