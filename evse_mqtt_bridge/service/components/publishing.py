"""Publishing as a component: the shards of the bridge that run in this process, each with a session with the broker."""

import asyncio
import socket
from datetime import timedelta

from evse_mqtt_bridge.config.plan import Plans
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.config.shard_settings import shares
from evse_mqtt_bridge.domain.events import BrokerChanged, Listener
from evse_mqtt_bridge.domain.model import Station, StationState
from evse_mqtt_bridge.domain.shards import Claim, Share, shard_of
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.mqtt.connect_options import tls_context
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.components.component import BackgroundTask, WatchedComponent
from evse_mqtt_bridge.service.shard import Connections, Shard

__all__ = ["Publishing"]


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
        self._bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._shards: dict[int, Shard] = {}
        self._plan = self._create_shards()

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
        """Whether changes are published at once, in every shard."""
        return all(shard.session.is_live for shard in self._shards.values())

    @property
    def held_part(self) -> float:
        """The part of all shards that run in this process, from 0 to 1."""
        return len(self._shards) / self._number_of_shards

    def station_changed(self, station: Station, old: StationState, new: StationState) -> None:
        """Publish the changes of a poll, or of the passing of time."""
        shard = shard_of(station.uuid, self._number_of_shards) if self._number_of_shards > 1 else 0
        self._shards[shard].session.station_changed(station, old, new)

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
        self._connections.begin(list(self._shards))
        for shard in self._shards.values():
            shard.start(self._failed)

    async def stop(self) -> None:
        """Publish `offline`, and disconnect."""
        await asyncio.gather(*(shard.stop() for shard in self._shards.values()))
        await self.task.stop()

    def reconfigure(self, new: Config) -> None:
        """Switch to other topics, stations and shards. If `[mqtt]` or `[fleet]` changed, `stop` was called before."""
        old, self._config = self._config, new
        if new.fleet != old.fleet:
            # The shards have other stations, and read from the broker what was published for these.
            self._published_before = self.published
            self._plan = self._create_shards()
        else:
            plans = Plans(new)
            for shard in self._shards.values():
                shard.reconfigure(new, plans.shard(shard.share, shard.plan.claim))
            self._plan = self._joint_plan(plans)
        if (new.mqtt, new.fleet) != (old.mqtt, old.fleet):
            self._listener.broker_changed(BrokerChanged(new.mqtt.address, new.mqtt.client_id))

    @property
    def _number_of_shards(self) -> int:
        return self._config.fleet.shards if self._config.fleet else 1

    def _create_shards(self) -> Plan:
        """Replace the shards by those that the configuration assigns to this process; return their joint plan."""
        config, plans = self._config, Plans(self._config)
        of_shards = {number: plans.shard(share, _claim(config, share)) for number, share in shares(config).items()}
        held = {uuid: station for plan in of_shards.values() for uuid, station in plan.stations.items()}
        self._stations.replace(list(self._stations.all), held, plans.joint.rules)
        self._shards = {number: self._new_shard(plan) for number, plan in of_shards.items()}
        return self._joint_plan(plans)

    def _new_shard(self, plan: Plan) -> Shard:
        is_fleet = self._config.fleet is not None
        listener = self._connections.listener(plan.share.number) if is_fleet else self._listener
        return Shard(self._config, plan, self._stations, self.started, listener, self._clock.chance)

    def _joint_plan(self, plans: Plans) -> Plan:
        if self._config.fleet is None:
            return self._shards[0].plan
        return plans.of_stations(self._stations.all)

    async def _watch(self) -> None:
        """Wait for a bug in a session, and raise it."""
        await self._bug

    def _failed(self, error: BaseException) -> None:
        if not self._bug.done():
            self._bug.set_exception(error)


def _claim(config: Config, share: Share) -> Claim | None:
    """Return the claim of a shard whose holder the configuration determines."""
    return Claim(share.number, config.fleet.member or socket.gethostname()) if config.fleet else None
