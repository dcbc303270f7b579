"""The supervisor of the running bridge: starts its components, watches them, reloads and stops.

    startup -> supervise (-> reload)* -> shutdown

The components (service/components) own the tasks. The pipeline (service/pipeline.py) passes each poll result to the
session and to the listeners. The reload plan (service/reload_plan.py) lists what a reload stops, changes and starts.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.config.load import Loaded
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.config.shard_settings import is_assigned_by_engine
from evse_mqtt_bridge.domain.availability import Moment, Rules
from evse_mqtt_bridge.domain.events import (
    ClockChanged,
    ConfigurationApplied,
    ConfigurationRejected,
    Listeners,
    ReloadStarted,
    StationRemoved,
)
from evse_mqtt_bridge.domain.stations import Stations
from evse_mqtt_bridge.fleet.port import Engine
from evse_mqtt_bridge.observability.log import Logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.log_writer import LogWriter
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.service.components.aging import Aging
from evse_mqtt_bridge.service.components.component import Component, WatchedComponent
from evse_mqtt_bridge.service.components.logging import Logging
from evse_mqtt_bridge.service.components.membership import Membership
from evse_mqtt_bridge.service.components.polling import Polling
from evse_mqtt_bridge.service.components.publishing import Publishing
from evse_mqtt_bridge.service.components.recording import Recording
from evse_mqtt_bridge.service.components.watchdog import Watchdog
from evse_mqtt_bridge.service.components.web_server import WebServer
from evse_mqtt_bridge.service.descriptors import Budget, descriptor_limit
from evse_mqtt_bridge.service.history_reader import HistoryReader
from evse_mqtt_bridge.service.introspection import Introspection
from evse_mqtt_bridge.service.observers import Observers
from evse_mqtt_bridge.service.pipeline import Pipeline
from evse_mqtt_bridge.service.reload_plan import Action, ComponentName, ReloadPlan
from evse_mqtt_bridge.service.reloading import load_in_time, reject_truncated
from evse_mqtt_bridge.service.systemd import ServiceNotifier
from evse_mqtt_bridge.service.uncaught_errors import UncaughtErrors
from evse_mqtt_bridge.service.wall_clock import WallClock
from evse_mqtt_bridge.support.errors import ConfigError

__all__ = ["Controls", "Supervisor", "run"]

_TICK = 10.0
"""Maximum pause between two rounds of periodic work, in seconds."""

_NO_SERVICE_MANAGER = ServiceNotifier()


@dataclass(frozen=True, slots=True)
class Controls:
    """The requests that a running bridge accepts: stop and reload."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)


async def run(  # noqa: PLR0913  # one argument per part of the process
    config: Config,
    controls: Controls,
    log: Logger,
    load: Callable[[], Loaded] | None = None,
    notifier: ServiceNotifier = _NO_SERVICE_MANAGER,
    *,
    log_writer: LogWriter | None = None,
    file_watch: WatchedComponent | None = None,
) -> None:
    """Run the bridge until `controls.stop` is set.

    Args:
        config: The configuration at the start.
        controls: Requests to stop and to reload.
        log: The logger at the start.
        load: Loads the configuration again for `controls.reload`; without it a reload does nothing.
        notifier: Notifies the service manager.
        log_writer: Writes stderr; `None`: stderr is written directly.
        file_watch: Requests a reload when a file changes; `None`: nothing does.

    Raises:
        ConfigError: A file that the configuration names, such as a CA, cannot be used.
    """
    supervisor = Supervisor(config, log, notifier, log_writer, file_watch)
    await supervisor.startup()
    try:
        await supervisor.supervise(controls, load)
    finally:
        await supervisor.shutdown()


class Supervisor:
    """Creates the components of a running bridge, and connects them."""

    def __init__(
        self,
        config: Config,
        log: Logger,
        notifier: ServiceNotifier,
        log_writer: LogWriter | None = None,
        file_watch: WatchedComponent | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._budget = Budget.of(descriptor_limit())
        self._has_few_descriptors = self._budget.is_short(config)
        self._config = config = self._budget.apply(config)
        wall_clock = WallClock()
        self._clock = clock = Clock(loop.time, random.random, wall_clock)
        self._notifier = notifier
        self._observers = Observers.create(log, clock, config.mqtt)
        self._listeners = Listeners(self._observers)
        self._logging = Logging(log, self._observers.event_log, log_writer)
        self._uncaught_errors = UncaughtErrors(lambda: self._logging.logger, loop.time)
        stations = Stations({}, Rules(), clock.monotonic())
        self._publishing = Publishing(config, stations, clock, self._listeners)
        self._publishing.stations_begun = self._read_history
        self._pipeline = Pipeline(stations, self._publishing, self._listeners)
        self._polling = Polling(config, clock, self._pipeline.on_result, self._publishing)
        self._membership = Membership(
            config, _create_engine, self._publishing, self._polling, clock, self._listeners, self._observers.cloud_reach
        )
        self._recording = Recording(config, self._observers.recorder, self._listeners)
        self._recording.ending = lambda: self._record_repeats(stations.all)
        self._publishing.stations_ending = self._record_repeats
        self._history_reader = HistoryReader(config, clock, lambda: self._recording.counts.error)
        self._stations = stations
        self._aging = Aging(clock, self._pipeline.age)
        self._watchdog = Watchdog(notifier, loop.time, lambda: self._introspection.health().healthy)
        self._introspection = Introspection(
            clock=clock,
            stations=stations,
            polling=self._polling,
            publishing=self._publishing,
            membership=self._membership,
            loop_lag=self._watchdog.loop_lag,
            logging=self._logging,
            recording=self._recording,
            history_reader=self._history_reader,
            observers=self._observers,
            uncaught_errors=self._uncaught_errors,
        )
        history = self._observers.history
        self._web_server = WebServer(
            config, self._introspection, history, lambda: self._logging.logger, self._budget.page
        )
        self._components: dict[ComponentName, Component] = {
            ComponentName.LOGGING: self._logging,
            ComponentName.POLLING: self._polling,
            ComponentName.PUBLISHING: self._publishing,
            ComponentName.MEMBERSHIP: self._membership,
            ComponentName.RECORDING: self._recording,
            ComponentName.HISTORY_READER: self._history_reader,
            ComponentName.WEB_SERVER: self._web_server,
        }
        owners = (self._publishing, self._polling, self._aging, self._watchdog, self._membership, file_watch)
        self._owners = tuple(owner for owner in owners if owner is not None)
        """The components whose tasks run all the time, in the order in which they start."""
        wall_clock.on_change = self._clock_changed
        loop.set_exception_handler(self._uncaught_errors.handle)

    async def startup(self) -> None:
        """Start every component.

        Raises:
            ConfigError: A file that the configuration names cannot be used; no component was started.
        """
        self._log_few_descriptors()
        await self._publishing.prepare(self._config)
        await self._membership.prepare(self._config)
        await self._polling.prepare(self._config)
        await self._start_recording()
        for component in (*self._owners, self._web_server):
            await component.start()
        self._notifier.ready(self._introspection.status_line())
        self._log(LogEvent.BRIDGE_STARTED, version=__version__, stations=len(self._stations.all))

    async def _start_recording(self) -> None:
        """Start the history first: the meters continue from its counts, if it has larger ones than the broker."""
        self._read_history(self._stations.all.keys())
        await self._recording.start()
        if self._config.history.enabled:
            await self._recording.wait_for_meters()

    def _read_history(self, uuids: Collection[str]) -> None:
        """Let the meters of stations continue from the history, too."""
        stations = frozenset(uuids)
        self._stations.expect_history(stations)
        self._recording.read_meters(stations, partial(self._stations.history_read, stations))

    async def supervise(self, controls: Controls, load: Callable[[], Loaded] | None) -> None:
        """Watch the components and reload on request, until `controls.stop` is set.

        Raises:
            Exception: A bug in a component.
        """
        stop = asyncio.create_task(controls.stop.wait(), name="stop")
        try:
            while not stop.done():
                await self._watch_until_request(stop, controls.reload, self._observers.rotation.requested)
                if self._observers.rotation.requested.is_set() and not stop.done():
                    await self._replace_secrets(stop)
                if controls.reload.is_set() and not stop.done():
                    controls.reload.clear()
                    if load is not None:
                        self._notifier.reloading(time.monotonic_ns() // 1000)
                        await self.reload(load, stop)
                        self._notifier.ready(self._introspection.status_line())
        finally:
            stop.cancel()

    async def reload(self, load: Callable[[], Loaded], stop: asyncio.Future[Any]) -> None:
        """Switch to the configuration that `load` reads, or keep the current one if the new one is invalid.

        Gives up if `stop` is done before `load` returns.
        """
        self._listeners.reload_started(ReloadStarted())
        loading = asyncio.create_task(load_in_time(load), name="load")
        await self._watch_until(loading, stop)
        if not loading.done():
            loading.cancel()
            return
        try:
            loaded = loading.result()
            await self._apply(loaded)
        except ConfigError as error:
            problems = tuple(str(problem) for problem in error.problems)
            self._listeners.configuration_rejected(ConfigurationRejected(problems))
        else:
            for warning in loaded.warnings:
                self._log(LogEvent.CONFIGURATION_WARNING, detail=warning)

    async def shutdown(self) -> None:
        """Stop every component, polling before publishing, so that `offline` is the last message.

        A member of a fleet hands over its shards first, and publishes `offline` for those only that nobody can run.
        """
        self._notifier.stopping()
        self._log(LogEvent.BRIDGE_STOPPING)
        await self._membership.drain()
        publishers = (self._polling, self._aging, self._publishing)
        others = (owner for owner in self._owners if owner not in publishers)
        for publisher in publishers:
            await publisher.stop()
        await self._membership.leave()
        for component in (self._recording, *others, self._web_server):
            await component.stop()
        self._logging.tick()
        self._log(LogEvent.BRIDGE_STOPPED)

    def _clock_changed(self, shift: timedelta) -> None:
        self._listeners.clock_changed(ClockChanged(shift))
        # Later, because anything may have asked for the time, the session itself, too.
        asyncio.get_running_loop().call_soon(lambda: self._publishing.clock_changed(shift))

    # Reload

    async def _apply(self, loaded: Loaded) -> None:
        reject_truncated(self._config, loaded.config)
        self._has_few_descriptors = self._budget.is_short(loaded.config)
        is_renewed = loaded.ca_digest != self._polling.ca_digest
        known = {station.uuid for station in self._config.stations}
        if added := {station.uuid for station in loaded.config.stations} - known:
            self._stations.keep_meters(await self._recording.meters_of(added))
        self._record_repeats(known - {station.uuid for station in loaded.config.stations})
        plan = await self._switch_to(self._budget.apply(loaded.config), frozenset({"cloud"} if is_renewed else ()))
        self._log_few_descriptors()
        for uuid in plan.removed:
            self._listeners.station_removed(StationRemoved(uuid))
        self._listeners.configuration_applied(
            ConfigurationApplied(len(self._config.stations), len(plan.added), len(plan.removed), len(plan.changed))
        )

    async def _replace_secrets(self, stop: asyncio.Future[Any]) -> None:
        """Use the secrets that replaced rejected ones in their files."""
        reading = asyncio.create_task(self._observers.rotation.reread(self._config), name="secrets")
        await self._watch_until(reading, stop)
        if not reading.done():
            reading.cancel()
            return
        result = reading.result()
        for error in result.errors:
            self._log(LogEvent.SECRET_UNREADABLE, detail=error)
        if result.replaced:
            # A certificate that cannot be used at this moment must not end the bridge; the next connection reports it.
            await self._switch_to(result.config, is_rejectable=False)
        for setting in result.replaced:
            self._log(LogEvent.SECRET_REPLACED, setting=setting)

    async def _switch_to(
        self, new: Config, renewed: frozenset[str] = frozenset(), *, is_rejectable: bool = True
    ) -> ReloadPlan:
        """Carry out the plan for the change to another configuration, and return it.

        Args:
            new: The configuration.
            renewed: The sections that name a file with another content.
            is_rejectable: Whether a component may reject it, see `Action.PREPARE`. `False` is only for other secrets,
                which need no preparation.

        Raises:
            ConfigError: A component rejected the configuration; everything still runs as before.
        """
        plan = ReloadPlan.between(self._config, new, renewed)
        for step in plan.steps:
            if step.action is Action.PREPARE and not is_rejectable:
                continue
            await _carry_out(step.action, self._components[step.component], new)
        self._config = new
        return plan

    # Watching

    async def _watch_until_request(self, stop: asyncio.Future[Any], *events: asyncio.Event) -> None:
        requests = [asyncio.create_task(event.wait(), name="request") for event in events]
        try:
            await self._watch_until(stop, *requests)
        finally:
            for request in requests:
                request.cancel()

    async def _watch_until(self, *awaited: asyncio.Future[Any]) -> None:
        """Wait for one of these, and do the periodic work meanwhile. Raises the exception of a component that fails."""
        while not any(future.done() for future in awaited):
            tasks = [owner.task.current for owner in self._owners]
            watched = [self._uncaught_errors.bug, *(task for task in tasks if task is not None)]
            await asyncio.wait((*awaited, *watched), return_when=asyncio.FIRST_COMPLETED, timeout=_TICK)
            for task in watched:
                if task.done():
                    task.result()
            await self._tick()

    async def _tick(self) -> None:
        """Do the periodic work."""
        self._observers.event_log.tick()
        self._logging.tick()
        if self._notifier.address:  # the line counts all stations
            self._notifier.status(self._introspection.status_line())
        await self._web_server.retry()

    def _record_repeats(self, uuids: Collection[str]) -> None:
        """Record what repeated responses of stations have counted, before their states or the writer are dropped."""
        moment = Moment(self._clock.monotonic(), self._clock.utc())
        for event in self._stations.evaluate_repeats(uuids, moment):
            self._observers.recorder.state_aged(event)

    def _log_few_descriptors(self) -> None:
        if self._has_few_descriptors:
            self._log(
                LogEvent.FEW_FILE_DESCRIPTORS,
                limit=self._budget.limit,
                requests=self._config.cloud.max_concurrency,
                page_connections=self._budget.page.connections,
            )

    def _log(self, event: LogEvent, **fields: object) -> None:
        log_event(self._logging.logger, event, **fields)


async def _carry_out(action: Action, component: Component, new: Config) -> None:
    match action:
        case Action.PREPARE:
            await component.prepare(new)
        case Action.STOP:
            await component.stop()
        case Action.RECONFIGURE:
            component.reconfigure(new)
        case Action.START:
            await component.start()


def _create_engine(config: Config) -> Engine | None:
    """Return the engine of the configuration; `None`: it has none. Called once, at the start.

    Raises:
        ConfigError: A file that the configuration names cannot be used.
    """
    if not is_assigned_by_engine(config):
        return None
    # Imported when it is needed: the clients of the engines take 0.6 MB of memory.
    from evse_mqtt_bridge.fleet.engines import create_engine  # noqa: PLC0415

    return create_engine(config)
