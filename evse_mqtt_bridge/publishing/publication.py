"""The publication: decides what to publish next, from the current states and what was published before.

A sans-I/O state machine: the session calls it for each event on the connection, pulls messages while the connection
has room, and does the waiting. The rules:

- While there is no connection, nothing is queued. On each connect the bridge republishes everything. Each message is
  rendered when the connection has room, so each topic gets one message with the newest value.
- Before that, the bridge reads the manifest: the retained `info` topics that a previous run, or this one, published.
- The broker retains an entry for every topic before the topic is published, and until it is cleared. So the `info` of a
  station, or of the bridge, lists the present entry and the previous ones whose topics are not yet cleared.
- The manifest includes entries under other base topics, which a previous run had. Some brokers close the connection at
  the search for them. Then it follows after everything is published, and can be given up, because it is only needed to
  clear topics. Any client can forge such entries, so what they cause is limited: see unproven_entries.py.
- Previous entries lead to a migration: stages that must be acknowledged one by one before anything else is published,
  and topics that are cleared when nothing else is pending. Each `info` without them follows the clearing.
- If only stations changed and the migration has no stages, the bridge publishes those stations; otherwise, it
  republishes everything. A change of the configuration during a migration begins a new migration.
- When a consumer announces its start, the bridge republishes everything, including pending changes.
- When the bridge stops, `offline` is the last message.

One gap remains. The broker publishes the will, or the bridge `offline`, even if the connection ends before the bridge
has read its own `info`, one or two round trips after CONNACK. If the process ends as well, a later one finds that topic
only under the same base topic, and what was published under a previous client id only with that client id.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import chain

from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.publishing.clean_up import CleanUp
from evse_mqtt_bridge.publishing.comparison import is_published_alike
from evse_mqtt_bridge.publishing.known_manifest import NOTHING_KNOWN, KnownManifest
from evse_mqtt_bridge.publishing.manifest_payloads import read_discovery_digest
from evse_mqtt_bridge.publishing.message import Message
from evse_mqtt_bridge.publishing.migration import Migration, plan_migration
from evse_mqtt_bridge.publishing.outbox import Outbox
from evse_mqtt_bridge.publishing.own_entry import OwnEntry
from evse_mqtt_bridge.publishing.phases import TRANSITIONS, Phase
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.renderer import BRIDGE_KEY, Renderer
from evse_mqtt_bridge.publishing.restoration import Restoration
from evse_mqtt_bridge.publishing.subscriptions import Subscriptions
from evse_mqtt_bridge.publishing.topics import covers
from evse_mqtt_bridge.publishing.watch import Disturbance, Watch

__all__ = ["Phase", "Publication", "Subscriptions"]


class Publication:
    """The state machine that the module describes. Every method returns at once, and none has a callback.

    Args:
        plan: The publishing plan.
        stations: The states; the plugs of a previous run are restored into them.
        started: When the bridge started, in UTC.
        is_continued: Whether another member polled the stations until now.
    """

    def __init__(self, plan: Plan, stations: Stations, started: datetime, *, is_continued: bool = False) -> None:
        self._renderer = Renderer(plan, stations, started)
        self._stations = stations
        self._phase = Phase.OFFLINE
        self._outbox: Outbox[StationState] = Outbox(self._renderer.render_change)
        self.watch = Watch(self._renderer)
        self._clean_up = CleanUp(self._renderer, self._outbox)
        self._restoration = Restoration(self._renderer, stations, is_continued=is_continued)
        self._own_entry = OwnEntry(self._renderer)
        self._migration: Migration | None = None
        self._stages: deque[tuple[Message, ...]] = deque()
        self._is_searching = False
        self._may_search_first = True
        self._may_clear = True
        self._unchanged: Mapping[str, bytes] = {}
        """Entries of stations whose discovery the broker has completely; it is not published again."""
        self._has_published = False
        """Whether this process has published the stations of the present plan, so that they may have to be cleared."""

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
        if self._phase is Phase.LIVE:
            self._outbox.put_change(BRIDGE_KEY, None)

    def will(self) -> Message:
        """Return the message `offline`: the broker publishes it as the will, or the bridge itself when it stops."""
        return self._renderer.availability(online=False)

    # The connection

    def connected(
        self, *, may_search_first: bool = True, may_read_again: bool = True, known: KnownManifest = NOTHING_KNOWN
    ) -> Subscriptions:
        """Begin a connection that the broker accepted; return the first subscriptions to read the manifest.

        Args:
            may_search_first: Whether the search may begin before everything is published; false if the broker closed a
                connection at a search.
            may_read_again: See `Restoration`.
            known: The part of the manifest that another connection has read. The caller passes it to `received`.
        """
        self._enter(Phase.RESTORING, "connected")
        self._unchanged = known.retained if self._is_takeover(known) else {}
        self._renderer.is_discovery_complete = False
        self._outbox.drop_all()
        self._own_entry.connected()
        self._restoration.begin()
        self._may_search_first = may_search_first
        self._restoration.may_read_again = may_read_again
        self.watch.begin()
        return Subscriptions((), self._restoration.next_filters())

    def _is_takeover(self, known: KnownManifest) -> bool:
        """Return whether this is the first connection of a shard whose last holder published all discovery alike."""
        digest, info = self.plan.discovery_digest, known.retained.get(self.plan.topics.info, b"")
        return bool(digest) and not self._restoration.is_restored and read_discovery_digest(info) == digest

    def received(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Handle a message from the broker.

        Returns:
            Whether it is a birth message. Then the caller calls `republish` after a random pause.
        """
        if retained:
            if self._phase is Phase.RESTORING or self._is_searching:
                self._restoration.received(topic, payload)
                self.watch.others.received(topic, payload)
            return False
        self.watch.received(topic, payload, is_own_published=self._phase is Phase.LIVE)
        return payload == b"online" and self._phase is Phase.LIVE and covers(self.plan.birth_topic, topic)

    def restored(self) -> Subscriptions | None:
        """Go on when the broker has delivered the retained messages of the last subscriptions.

        Returns:
            Further subscriptions; `None` if there are none and publishing begins.
        """
        self._enter(Phase.RESTORING, "restored")
        is_first = not self._own_entry.is_read
        own_entries = self._restoration.own_entries
        self.watch.others.note_own(own_entries or ())
        if messages := self._own_entry.read(own_entries):
            self._outbox.put_first(messages)
        if filters := self._restoration.next_filters(may_search=self._may_search_first):
            has_birth_topic = is_first and self.plan.birth_topic
            return Subscriptions.of(filters, (self.plan.birth_topic,) if has_birth_topic else ())
        self._restoration.complete(has_searched=self._may_search_first)
        self._restoration.add_read_entries()
        migration = self._planned_migration()
        unproven = self._restoration.unproven
        is_clearing = migration.stages or migration.remaining or unproven.has_topics
        if is_clearing and (others := self.watch.next_subscriptions(unproven.station_entries)):
            return others
        if self._may_search_first and not self.watch.others.is_outdated:
            self.watch.note_others_read()
        self._begin(migration, "restored")
        return None

    def next_search(self) -> Subscriptions | None:
        """Return the next subscription of the search for previous base topics, once the last one is delivered.

        Call it after everything is published. A filter that the broker does not allow can be left out.

        Returns:
            The subscription, with one filter; `None` if the search is complete.
        """
        if self._phase not in (Phase.MIGRATING, Phase.LIVE):
            return None
        filters = self._restoration.next_search()
        unproven = self._restoration.unproven.station_entries
        found = Subscriptions.of(filters) if filters else self.watch.next_subscriptions(unproven)
        if found is None and (late := self._restoration.next_late_meters()):
            found = Subscriptions((), late)
        self._is_searching = found is not None
        if found is not None:
            return found
        self.watch.note_others_read()
        if self._restoration.add_read_entries():
            self._begin(self._planned_migration(), "searched")
        return None

    def closing(self) -> None:
        """Stop publishing; `offline` is the last message."""
        counts = self._last_counts()
        self._enter(Phase.CLOSING, "closing")
        self._outbox.drop_all()
        self._outbox.put_first([*self._own_entry.last_messages(), *counts, self.will()])

    def handing_over(self) -> None:
        """Stop publishing after the pending changes; another member publishes everything else.

        The messages are rendered at once, so the states may be dropped after this call.
        """
        messages = [*self._outbox.pop_changes(), *self._last_counts()]
        self._enter(Phase.CLOSING, "handing_over")
        self._outbox.drop_all()
        self._outbox.put_first(messages)

    def _last_counts(self) -> list[Message]:
        """Return the counts of the meters that are not published yet.

        None before the stations are published: their topics may be new, and their entries are not on the broker then.
        """
        return list(self._renderer.last_counts(self._outbox.queued)) if self._phase is Phase.LIVE else []

    def abandoning(self) -> None:
        """Stop publishing at once, because another member publishes the shard. The states may be dropped after this."""
        self._enter(Phase.CLOSING, "abandoning")
        self._outbox.drop_all()

    def disconnected(self) -> None:
        """Drop everything that is pending, because the connection is lost."""
        if self._phase is not Phase.RESTORING:
            self._renderer.previous.drop_stations()  # the broker has them
        self._enter(Phase.OFFLINE, "disconnected")
        self._outbox.drop_all()
        self.watch.reset()
        self._renderer.previous.release()
        self._own_entry.disconnected()
        self._restoration.begin()
        self._migration = None
        self._stages.clear()
        self._clean_up.reset()
        self._is_searching = False

    def broker_changed(self) -> None:
        """Forget where this bridge published, because the next connection is to another broker."""
        self._renderer.previous.drop_bridges()
        self._renderer.previous.drop_stations()
        self._has_published = False

    # Messages

    def next_message(self) -> Message | None:
        """Return the next message to publish; `None` if none is pending."""
        return next(iter(self.next_messages(1)), None)

    def next_messages(self, most: int) -> list[Message]:
        """Return the next messages to publish, at most `most`; none if none is pending.

        The `info` of the bridge can only be the first one: it begins the full republish, and any change that has it.
        """
        messages = self._outbox.next_messages(1 if self._own_entry.is_pending else most)
        if messages and self._own_entry.early_info is not None and self._own_entry.is_repeated(messages[0]):
            messages = self._outbox.next_messages(1)
        if not messages and self._phase is Phase.LIVE and self._may_clear and self.watch.are_others_read:
            message = self._clean_up.next_message(self._restoration.unproven)
            messages = [message] if message else []
        if messages and messages[0].topic == self._renderer.plan.topics.info:
            if left := self._own_entry.clear_left():
                self._outbox.put_before_all([*left[1:], *messages])
                return left[:1]
            self._own_entry.published(messages[0], is_restoring=self._phase is Phase.RESTORING)
        return messages

    @property
    def is_completing(self) -> bool:
        """Whether to call `drained` when the broker has acknowledged everything."""
        is_pending = bool(self.plan.discovery_digest) and not self._renderer.is_discovery_complete
        return is_pending and self._phase is Phase.LIVE

    def drained(self) -> bool:
        """Note that the broker has acknowledged everything; return whether that leads to another message.

        The `info` of a shard then records that its discovery is complete.
        """
        if not self.is_completing:
            return False
        self._renderer.is_discovery_complete = True
        self._outbox.put_change(BRIDGE_KEY, None)
        return True

    def stage_acknowledged(self) -> None:
        """Go on to the next stage: the current one is acknowledged, and consumers had time to process it."""
        if self._phase is Phase.MIGRATING:
            if self._stages:
                self._outbox.put_first(self._stages.popleft())
            else:
                self._republish_everything("stage_acknowledged")

    def station_changed(self, station: Station, old: StationState, new: StationState) -> None:
        """Queue the changes of a station after a poll or the passing of time."""
        if not old.plugs.keys() <= new.plugs.keys():
            self._plugs_removed(station, old)
        elif self._phase is Phase.LIVE:
            self._outbox.put_change(station.uuid, self._renderer.state_to_queue(station.uuid, old))

    def sessions_changed(self) -> None:
        """Queue what happened to sessions before the meters of stations started; not before the full republish."""
        if self._phase is Phase.LIVE and (changes := self._stations.pop_session_changes(self.plan.stations)):
            self._outbox.put_before_all(self._renderer.session_events(changes))

    def _plugs_removed(self, station: Station, old: StationState) -> None:
        if self._phase not in (Phase.MIGRATING, Phase.LIVE):
            return
        self._renderer.previous.add(self._renderer.station_entry(station, old))
        migration = self._planned_migration()
        if migration.stages or self._phase is Phase.MIGRATING:
            self._begin(migration, "station_changed")
        else:
            # The state published last no longer counts: a plug that returns before its topics are cleared has to be
            # republished completely.
            self._publish_first(migration, [station.uuid])

    @property
    def is_republishing(self) -> bool:
        """Whether a full republish is pending or under way."""
        return self._outbox.is_republishing

    def republish(self) -> None:
        """Republish everything; a full republish that is under way begins again."""
        if self._phase is Phase.LIVE:
            self._outbox.put_republish(self._renderer.everything(self._outbox.queued))

    def repair(self) -> Disturbance:
        """Queue what others cleared or overwrote; return what they did."""
        found = self.watch.evaluate() if self._phase is Phase.LIVE else Disturbance()
        if found.is_large:
            self.republish()
        else:
            for key in found.keys:
                self._outbox.put_change(key, None)
        return found

    # Another configuration

    def reconfigured(self, plan: Plan) -> None:
        """Switch to another plan: clear removed topics, and publish only what differs.

        Without a connection, or before the manifest is read, nothing is published: `restored` then finds what has to be
        cleared in the manifest. What this process published counts as well, since others may clear the manifest.
        Another base topic or client id needs another connection, with another will.
        """
        old = self.plan
        unchanged = {
            uuid for uuid, station in plan.stations.items() if is_published_alike(old.stations.get(uuid), station)
        }
        is_moved = (plan.topics, plan.locations) != (old.topics, old.locations)
        superseded = [
            self._renderer.station_entry(station, self._stations.state(uuid))
            for uuid, station in old.stations.items()
            if is_moved or uuid not in unchanged
        ]
        if unchanged != plan.stations.keys() or unchanged != old.stations.keys() or plan.outputs != old.outputs:
            self._renderer.is_discovery_complete = False
        self._switch_to(plan)
        self.watch.reconfigured()
        if self._phase not in (Phase.MIGRATING, Phase.LIVE):
            if self._has_published:
                self._restoration.add_previous(superseded)
            self._has_published = False
            return
        self._restoration.add_proven_entries()
        self._restoration.add_previous(superseded)
        migration = self._planned_migration()
        is_other = (plan.topics, plan.client_id, plan.outputs) != (old.topics, old.client_id, old.outputs)
        if migration.stages or is_other or self._phase is Phase.MIGRATING:
            self._begin(migration, "reconfigured")
        else:
            self._publish_first(migration, [BRIDGE_KEY, *(uuid for uuid in plan.stations if uuid not in unchanged)])

    def allow_clearing(self, *, is_allowed: bool) -> None:
        """Clear topics of previous entries from now on, or keep them until this is called again.

        Members of a fleet keep them while their configurations differ: a station that one of them does not know may be
        new rather than removed. What was not cleared meanwhile is cleared when it is allowed again.
        """
        was_allowed, self._may_clear = self._may_clear, is_allowed
        if is_allowed and not was_allowed and self._renderer.previous and self._phase is Phase.LIVE:
            migration = self._planned_migration()
            if migration.stages:
                self._begin(migration, "reconfigured")
            else:
                self._publish_first(migration, ())

    def _switch_to(self, plan: Plan) -> None:
        old, old_stations = self._renderer.bridge_entry(), self.plan.stations
        self._renderer.plan = plan
        self._stations.replace(old_stations, plan.stations, plan.rules)
        self._restoration.stations_added([uuid for uuid in plan.stations if uuid not in old_stations])
        if self._phase is not Phase.OFFLINE:
            self._renderer.previous.add(old)
        self._own_entry.switched(old)

    def _publish_first(self, migration: Migration, keys: Iterable[str]) -> None:
        """Queue stations, or the bridge's entry, to be published completely, before topics are cleared."""
        before, self._renderer.previous = self._renderer.previous, migration.remaining
        self._clean_up.reset()
        # The present entry of a station may cover a previous one again, which its `info` on the broker still lists.
        covered = [entry.uuid for entry in before.stations if not migration.remaining.at(entry.topic)]
        for key in (*keys, *covered):
            self._outbox.put_change(key, None)

    def _planned_migration(self) -> Migration:
        renderer = self._renderer
        return plan_migration(
            renderer.previous, renderer.successor, renderer.has_room, renderer.claimed, may_clear=self._may_clear
        )

    def _begin(self, migration: Migration, by: str) -> None:
        """Publish the stages of a migration, if there are any, and republish everything after them."""
        self._outbox.drop_all()
        self._clean_up.reset()
        self._migration, self._stages = migration, deque(migration.stages)
        if self._stages:
            self._enter(Phase.MIGRATING, by)
            # A stage may be the first to publish on a topic, if the connection was new: record it first.
            self._outbox.put_first(chain(self._renderer.all_previous_infos(), self._stages.popleft()))
        else:
            self._republish_everything(by)

    def _republish_everything(self, by: str) -> None:
        self._enter(Phase.LIVE, by)
        self._has_published = True
        if self._migration:
            self._renderer.previous, self._migration = self._migration.remaining, None
        unchanged, self._unchanged = self._unchanged if by == "restored" else {}, {}
        self._outbox.put_republish(self._renderer.everything(self._outbox.queued, unchanged))
        self.sessions_changed()

    def _enter(self, phase: Phase, by: str) -> None:
        """Enter a phase. Raises RuntimeError if the table lacks the transition, which is a bug in the caller."""
        if phase not in TRANSITIONS.get((self._phase, by), frozenset()):
            raise RuntimeError(f"{by}() in phase {self._phase.name}")
        self._phase = phase
