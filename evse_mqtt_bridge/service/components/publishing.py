"""Publishing as a component: the shards of the bridge that run in this process, each with a session with the broker."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from evse_mqtt_bridge.config.fleet import Fleet
from evse_mqtt_bridge.config.plan import Plans
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.config.shard_settings import is_assigned_by_engine, shares
from evse_mqtt_bridge.domain.events import BrokerChanged, Listener, StationRemoved
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.shards import Claim, Share, shard_of
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.mqtt.connect_options import tls_context
from evse_mqtt_bridge.mqtt.session import Gate
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.known_manifest import NOTHING_KNOWN, KnownManifest
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent
from evse_mqtt_bridge.service.shard import LINK, Connections, Shard

__all__ = ["Publishing"]

_NO_CLAIMS: Mapping[int, Claim] = MappingProxyType({})


class Publishing(WatchedComponent):
    """Keeps the topics of its shards on the broker up to date; a bridge without `[fleet]` is the one shard 0.

    Args:
        config: The configuration.
        stations: The states, which get the stations of the shards.
        clock: Sources of time and randomness.
        listener: Receives the events of the sessions.
    """

    def __init__(self, config: Config, stations: Stations, clock: Clock, listener: Listener) -> None:
        self.task = BackgroundTask("sessions")
        self.started = clock.utc()
        """When the bridge started, in UTC."""
        self._config = config
        self._stations = stations
        self._clock = clock
        self._listener = listener
        self._connections = Connections(listener)
        self._published_before = 0
        self._has_link = is_assigned_by_engine(config)
        self._may_clear = not self._has_link
        self.gate_of: Callable[[int], Gate | None] = _no_gate
        """Returns the gate of a shard, for the shards that begin from now on."""
        self.manifest: Callable[[Plan], KnownManifest] = _nothing_known
        """Returns the known part of the manifest, for the same shards."""
        self.stations_begun: Callable[[Collection[str]], None] = _ignore
        """Called with the uuids of the stations of shards that begin later, before the shards connect."""
        self.stations_ending: Callable[[Collection[str]], None] = _ignore
        """Called with the uuids of the stations of shards that end, before their states are dropped."""
        self._bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changes: set[asyncio.Task[None]] = set()
        """The shards that are ending, or begin when another one has ended."""
        self._plans = plans = Plans(config)
        self._shards = self._begin(shares(config).values(), (), plans)
        self._plan = self._joint_plan(plans)

    @property
    def settings(self) -> Mqtt:
        """The settings of the broker."""
        return self._config.mqtt

    @property
    def plan(self) -> Plan:
        """The plan of the shards together; another object after each change."""
        return self._plan

    @property
    def published(self) -> int:
        """The number of messages sent to the broker, over all connections."""
        return self._published_before + sum(shard.session.published for shard in self._shards.values())

    @property
    def is_live(self) -> bool:
        """Whether changes are published at once, in every shard; a member without any needs its own connection only."""
        is_member_connected = not self._has_link or self._connections.is_complete
        return is_member_connected and all(shard.session.is_live for shard in self._shards.values())

    @property
    def held_part(self) -> float:
        """The part of all shards that run in this process, from 0 to 1."""
        return len(self._shards) / self._number_of_shards

    @property
    def shards(self) -> Collection[int]:
        """The shards that run in this process."""
        return self._shards.keys()

    def stations(self, shard: int) -> int:
        """Return the number of stations of a shard that runs in this process; 0 for any other."""
        return len(self._shards[shard].plan.stations) if shard in self._shards else 0

    def station_changed(self, station: Station, old: StationState, new: StationState) -> None:
        """Publish the changes of a poll, or of the passing of time."""
        self._shard_of(station).session.station_changed(station, old, new)

    def sessions_changed(self, station: Station) -> None:
        """Publish what happened to the sessions of a station before its meters started."""
        if station.uuid in self._stations.all:  # else its shard ended meanwhile
            self._shard_of(station).session.sessions_changed()

    def _shard_of(self, station: Station) -> Shard:
        return self._shards[shard_of(station.uuid, self._number_of_shards) if self._number_of_shards > 1 else 0]

    def clock_changed(self, shift: timedelta) -> None:
        """Publish the start time again, corrected by `shift`."""
        self.started += shift
        for shard in self._shards.values():
            shard.session.clock_changed(shift)

    async def prepare(self, new: Config) -> None:
        """Read the certificates; each connection reads them again. See `Component`."""
        tls_context(new.mqtt.tls)

    async def start(self) -> None:
        """Connect, and stay connected."""
        self._bug = asyncio.get_running_loop().create_future()
        self.task.start(self._watch())
        self._connections.begin(self._connected_parts)
        for shard in self._shards.values():
            shard.start(self.report_bug)

    async def stop(self) -> None:
        """Publish `offline`, and disconnect."""
        await asyncio.gather(*self._changes)
        await asyncio.gather(*(shard.stop() for shard in self._shards.values()))
        await self.task.stop()

    def reconfigure(self, new: Config) -> None:
        """Switch to other topics, stations and shards. If `[mqtt]` changed, `stop` was called before.

        Shards that other members get are handed over. They and the shards that begin need some time after this call.
        """
        old, self._config = self._config, new
        before = self._shards
        wanted = {number: shard.share for number, shard in before.items()} if self._has_link else shares(new)
        self._plans = plans = Plans(new)
        is_same = _without_share(new) == _without_share(old)
        kept = {number: shard for number, shard in before.items() if is_same and number in wanted}
        gone = {number: shard for number, shard in before.items() if number not in kept}
        is_running = self.task.current is not None
        if is_running:
            for shard in gone.values():
                shard.hand_over()  # before its stations are replaced
        self._published_before += sum(shard.session.published for shard in gone.values())
        for shard in kept.values():
            shard.reconfigure(new, plans.shard(shard.share, shard.plan.claim))
        begun = self._begin([share for number, share in wanted.items() if number not in kept], gone.values(), plans)
        self._shards = {number: kept.get(number) or begun[number] for number in wanted}
        self._plan = self._joint_plan(plans)
        if is_running and (gone or begun):
            self._connections.change(self._connected_parts, begun)
            for number in {**gone, **begun}:
                change = asyncio.create_task(self._change(gone.get(number), begun.get(number)), name=f"shard-{number}")
                self._changes.add(change)
                change.add_done_callback(self._changes.discard)
        if new.mqtt != old.mqtt:
            self._listener.broker_changed(BrokerChanged(new.mqtt.address, new.mqtt.client_id))

    # Shards that an engine assigns

    def link_listener(self) -> Listener:
        """Return the listener for the connection of the member itself."""
        return self._connections.listener(LINK)

    def begin(self, claims: Sequence[Claim], continued: Collection[int]) -> None:
        """Run further shards, which this process holds.

        Args:
            claims: The claims of the shards.
            continued: The shards whose stations another member polled until now.
        """
        number_of_shards = self._number_of_shards
        claim_of = {claim.shard: claim for claim in claims}
        begun = self._begin(
            [Share(number, number_of_shards) for number in claim_of], (), self._plans, claim_of, continued
        )
        self._shards |= begun
        self._plan = self._joint_plan(self._plans)
        self._connections.change(self._connected_parts, begun)
        for shard in begun.values():
            shard.start(self.report_bug)

    def renumber(self, claim: Claim) -> None:
        """Publish another claim of a shard."""
        shard = self._shards[claim.shard]
        shard.reconfigure(self._config, replace(shard.plan, claim=claim))

    def end(self, numbers: Collection[int], *, is_handed_over: bool) -> Awaitable[object]:
        """End shards at once; await the result for the end of their connections.

        Args:
            numbers: The shards; those that do not run here are ignored.
            is_handed_over: Whether to publish what is pending. Otherwise, another member publishes already.
        """
        gone = [self._shards.pop(number) for number in numbers if number in self._shards]
        for shard in gone:
            if is_handed_over:
                shard.hand_over()
            else:
                shard.abandon()
        self._published_before += sum(shard.session.published for shard in gone)
        uuids = [uuid for shard in gone for uuid in shard.plan.stations]
        self.stations_ending(uuids)
        self._stations.replace(uuids, {}, self._plans.joint.rules)
        for uuid in uuids:
            self._listener.station_removed(StationRemoved(uuid))
        self._plan = self._joint_plan(self._plans)
        self._connections.change(self._connected_parts, ())
        return asyncio.gather(*(self._change(shard, None) for shard in gone))

    def allow_clearing(self, *, is_allowed: bool) -> None:
        """Let the shards clear topics of previous entries, or not; those that begin later, too."""
        self._may_clear = is_allowed
        for shard in self._shards.values():
            shard.session.allow_clearing(is_allowed=is_allowed)

    @property
    def _connected_parts(self) -> list[int]:
        return [LINK, *self._shards] if self._has_link else list(self._shards)

    async def _change(self, old: Shard | None, new: Shard | None) -> None:
        """End a shard, and begin another one with the same number."""
        try:
            if old is not None:
                await old.stop()
        except Exception as error:  # noqa: BLE001  # a bug in its session ends the process
            self.report_bug(error)
        if new is not None:
            new.start(self.report_bug)

    @property
    def _number_of_shards(self) -> int:
        return self._config.fleet.shards if self._config.fleet else 1

    def _begin(
        self,
        begun: Iterable[Share],
        gone: Iterable[Shard],
        plans: Plans,
        claims: Mapping[int, Claim] = _NO_CLAIMS,
        continued: Collection[int] = (),
    ) -> dict[int, Shard]:
        """Return new shards in place of others, whose stations they get; a station that remains keeps its state."""
        of_shards = {
            share.number: plans.shard(share, claims.get(share.number) or _claim(self._config, share)) for share in begun
        }
        added = {uuid: station for plan in of_shards.values() for uuid, station in plan.stations.items()}
        removed = [uuid for shard in gone for uuid in shard.plan.stations]
        begun_stations = [uuid for uuid in added if uuid not in self._stations.all]
        self._stations.replace(removed, added, plans.joint.rules, self._clock.monotonic())
        if begun_stations:
            self.stations_begun(begun_stations)
        return {number: self._new_shard(plan, is_continued=number in continued) for number, plan in of_shards.items()}

    def _new_shard(self, plan: Plan, *, is_continued: bool) -> Shard:
        is_fleet = self._config.fleet is not None
        number = plan.share.number
        listener = self._connections.listener(number) if is_fleet else self._listener
        shard = Shard(
            self._config,
            plan,
            self._stations,
            self.started,
            listener,
            self._clock.chance,
            self.gate_of(number),
            self.manifest,
            is_continued=is_continued,
        )
        shard.publication.allow_clearing(is_allowed=self._may_clear)
        return shard

    def _joint_plan(self, plans: Plans) -> Plan:
        if self._config.fleet is None:
            return self._shards[0].plan
        return plans.of_stations(self._stations.all)

    async def _watch(self) -> None:
        """Wait for a bug in a session, and raise it."""
        await self._bug

    def report_bug(self, error: BaseException) -> None:
        """End the process with an exception of a background task."""
        if not self._bug.done():
            self._bug.set_exception(error)


def _nothing_known(_: Plan) -> KnownManifest:
    return NOTHING_KNOWN


def _ignore(_: Collection[str]) -> None:
    """Do nothing with stations."""


def _no_gate(_: int) -> Gate | None:
    return None


def _claim(config: Config, share: Share) -> Claim | None:
    """Return the claim of a shard whose holder the configuration determines."""
    return Claim(share.number, config.fleet.member_name) if config.fleet else None


def _without_share(config: Config) -> Fleet | None:
    return config.fleet.model_copy(update={"share": ""}) if config.fleet else None
