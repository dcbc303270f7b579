"""Membership in a fleet as a component: the engine, the member loop, and the connection of the member to the broker.

The modules of the member are imported only if an engine assigns shards, because they take 0.4 MB.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.digest import configuration_digest
from evse_mqtt_bridge.config.fleet import Fleet
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.shard_settings import fleet_name, is_assigned_by_engine
from evse_mqtt_bridge.domain.events import Listener
from evse_mqtt_bridge.domain.shards import Claim
from evse_mqtt_bridge.fleet.conflicts import Conflict
from evse_mqtt_bridge.fleet.port import Engine, MemberRecord
from evse_mqtt_bridge.fleet.timing import Timing
from evse_mqtt_bridge.mqtt.session import Gate
from evse_mqtt_bridge.observability.fleet_snapshot import FleetSnapshot, member_snapshots
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.known_manifest import NOTHING_KNOWN, KnownManifest
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.cloud_reach import CloudReach
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent
from evse_mqtt_bridge.service.components.polling import Polling
from evse_mqtt_bridge.service.components.publishing import Publishing
from evse_mqtt_bridge.support.errors import ConfigError, Problem

if TYPE_CHECKING:
    from evse_mqtt_bridge.fleet.link import Link
    from evse_mqtt_bridge.fleet.member import Member

__all__ = ["CreateEngine", "Membership"]


class CreateEngine(Protocol):
    """Creates the engine of a configuration."""

    def __call__(self, config: Config, /) -> Engine | None:
        """Return the engine; `None`: no engine assigns shards.

        Raises:
            ConfigError: A file that the configuration names cannot be used.
        """


class Membership(WatchedComponent):
    """Runs the shards that an engine assigns to this member; without an engine, does nothing.

    Args:
        config: The configuration.
        create_engine: Creates the engine.
        publishing: Runs the shards.
        polling: Polls their stations.
        clock: Sources of time and randomness.
        listener: Receives the events.
        cloud_reach: Whether the cloud can be reached.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the parts of the bridge that a member controls
        self,
        config: Config,
        create_engine: CreateEngine,
        publishing: Publishing,
        polling: Polling,
        clock: Clock,
        listener: Listener,
        cloud_reach: CloudReach,
    ) -> None:
        self.task = BackgroundTask("member")
        self.member: Member | None = None
        """The member; `None`: no engine assigns shards."""
        self._link_task = BackgroundTask("member-connection")
        self._config = config
        self._create_engine = create_engine
        self._publishing = publishing
        self._polling = polling
        self._clock = clock
        self._listener = listener
        self._cloud_reach = cloud_reach
        self._link: Link | None = None
        self._is_link_replaced = False
        publishing.gate_of = self._gate_of
        publishing.manifest = self._manifest

    async def prepare(self, new: Config) -> None:
        """Create the engine, or reject another one. See `Component`.

        Raises:
            ConfigError: A file that `new` names cannot be used, or the change requires a restart.
        """
        if new is not self._config:
            is_same = _without_password(new) == _without_password(self._config)
            if not is_same and (is_assigned_by_engine(new) or self.member is not None):
                text = "cannot change while the bridge runs; restart it"
                raise ConfigError(Problem(text, key="fleet"))
            if self.member is not None and fleet_name(new) != fleet_name(self._config):
                text = "names the fleet in the engine, and cannot change while members run; stop all, or set fleet.name"
                raise ConfigError(Problem(text, key="mqtt.base_topic"))
            return
        engine = self._create_engine(new)
        if engine is None or new.fleet is None:
            return
        from evse_mqtt_bridge.fleet.member import Member  # noqa: PLC0415  # see the module

        record = MemberRecord(
            name=new.fleet.member_name,
            instance=uuid.uuid4().hex,
            shards=new.fleet.shards,
            digest=configuration_digest(new),
            version=__version__,
            page=new.http.page_url,
        )
        self._link = self._new_link(new)
        timing = Timing.of(new.fleet.ttl)
        self.member = Member(engine, self, record, timing, self._listener, self._clock.monotonic)

    async def start(self) -> None:
        """Connect the member to the broker, and beat."""
        if self.member is None or self._link is None:
            return
        if self._is_link_replaced:
            await self._link_task.stop()
        if self._link_task.current is None:
            self._is_link_replaced = False
            self._link_task.start(self._link.run())
            self._link_task.report_bugs(self._publishing.report_bug)
        self.task.start(self.member.run())

    async def stop(self) -> None:
        """Beat no more. The member keeps its shards until `fleet.ttl` is over."""
        if self.member is not None:
            async with self.member.between_beats():
                await self.task.stop()

    def reconfigure(self, new: Config) -> None:
        """Publish the digest of the new configuration, and clear nothing until all members have the same."""
        old, self._config = self._config, new
        if self.member is None:
            return
        from evse_mqtt_bridge.fleet.link import link_settings  # noqa: PLC0415  # see the module

        digest = configuration_digest(new)
        if digest != self.member.record.digest:
            self._publishing.allow_clearing(is_allowed=False)
        self.member.record = replace(self.member.record, digest=digest, page=new.http.page_url)
        if link_settings(new, self.member.record.name) != link_settings(old, self.member.record.name):
            self._link = self._new_link(new)
            self._is_link_replaced = True

    async def drain(self) -> None:
        """Hand over all shards to members that can run them."""
        if self.member is not None:
            await self.stop()
            await self.member.drain()

    async def leave(self) -> None:
        """Remove the member from the engine and from the broker, after its shards have stopped."""
        if self.member is not None:
            await self.member.leave()
        await self._link_task.stop()

    def snapshot(self) -> FleetSnapshot | None:
        """Return the fleet as this member sees it; `None`: the bridge is no member of one."""
        fleet, member = self._config.fleet, self.member
        if fleet is None:
            return None
        held = tuple(sorted(self._publishing.shards))
        if member is None:
            return FleetSnapshot(fleet.engine, fleet.member_name, fleet.shards, held, connected=True)
        return FleetSnapshot(
            engine=fleet.engine,
            member=member.record.name,
            shards=fleet.shards,
            held=held,
            connected=member.is_engine_available,
            answered=self._answered(member) if member.view else None,
            conflict="" if member.conflict is Conflict.NONE else member.conflict.value,
            members=member_snapshots(member.view) if member.view else (),
        )

    def _answered(self, member: "Member") -> datetime:
        return self._clock.utc() - timedelta(seconds=self._clock.monotonic() - member.answered_at)

    # Runs the shards (`Runner`)

    @property
    def is_fit(self) -> bool:
        """Whether the broker is connected, and the cloud can be reached."""
        return self.is_link_current and self._cloud_reach.is_reached

    @property
    def is_link_current(self) -> bool:
        """Whether it is known what the broker has."""
        return self._link is not None and self._link.is_current

    @property
    def is_link_expected(self) -> bool:
        """Whether it will be known soon what the broker has."""
        return self._link is not None and self._link.is_expected

    @property
    def cloud_pause(self) -> float:
        """Seconds that remain of a pause that the cloud requested; 0: none."""
        return max(0.0, self._polling.poller.held_until - self._clock.monotonic())

    def published_claim(self, shard: int) -> Claim | None:
        """Return the claim of a shard on the broker; `None`: there is none, or it is not known."""
        return self._link.claim(shard) if self._link is not None else None

    def stations(self, shard: int) -> int:
        """Return the number of stations of a shard that runs here."""
        return self._publishing.stations(shard)

    def begin(self, claims: Sequence[Claim], continued: Collection[int]) -> None:
        """Publish shards, and poll their stations."""
        self._publishing.begin(claims, continued)
        self._polling.shards_changed()

    def renumber(self, claim: Claim) -> None:
        """Publish another claim of a shard."""
        self._publishing.renumber(claim)

    async def hand_over(self, shards: Collection[int]) -> None:
        """Stop to poll, publish what is pending, and end the connections."""
        await self._end(shards, is_handed_over=True)

    async def drop(self, shards: Collection[int]) -> None:
        """Stop to poll, and end the connections."""
        await self._end(shards, is_handed_over=False)

    def allow_clearing(self, *, is_allowed: bool) -> None:
        """Let the shards clear topics, or not."""
        self._publishing.allow_clearing(is_allowed=is_allowed)

    def hold(self, seconds: float) -> None:
        """Send no request to the cloud for this time."""
        self._polling.poller.hold(self._clock.monotonic() + seconds)

    async def _end(self, shards: Collection[int], *, is_handed_over: bool) -> None:
        ending = self._publishing.end(shards, is_handed_over=is_handed_over)
        self._polling.shards_changed()
        await ending

    # The parts

    def _gate_of(self, shard: int) -> Gate | None:
        member = self.member
        if member is None:
            return None

        async def may_connect() -> bool:
            return await member.may_connect(shard)

        return may_connect

    def _manifest(self, plan: Plan) -> KnownManifest:
        return (self._link and self._link.manifest(plan)) or NOTHING_KNOWN

    def _new_link(self, config: Config) -> "Link":
        from evse_mqtt_bridge.fleet.link import Link  # noqa: PLC0415  # see the module

        member = config.fleet.member_name if config.fleet else ""
        return Link(config, member, self._publishing.link_listener(), self._clock.chance, self._may_use_name)

    def _may_use_name(self) -> bool:
        return self.member is not None and self.member.may_use_name


def _without_password(config: Config) -> Fleet | None:
    """Return `[fleet]` without the password, which the engine reads from its file itself."""
    return config.fleet.model_copy(update={"password": None}) if config.fleet else None
