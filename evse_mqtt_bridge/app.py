"""Composition: builds everything from a configuration, and owns the tasks and the signals.

    run -> (cloud client, poller) and (session, outbox), joined by the bridge -> until stopped

A reload replaces only what its part of the configuration changed: stations join and leave a running poller, a changed
`[cloud]` gets a new client, a changed `[mqtt]` a new session, and the state of the stations outlives both.
"""

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.bridge import Bridge, plan_of
from evse_mqtt_bridge.broker.session import Session, tls_context
from evse_mqtt_bridge.cloud.client import CloudClient, Target
from evse_mqtt_bridge.config.schema import Cloud, Config, Mqtt
from evse_mqtt_bridge.core.model import Outcome
from evse_mqtt_bridge.core.station import Moment
from evse_mqtt_bridge.errors import ConfigError, Problem
from evse_mqtt_bridge.log import Logger
from evse_mqtt_bridge.narrator import Narrator
from evse_mqtt_bridge.polling import Clock, Poller

__all__ = ["Controls", "run"]

_TICK = 10.0


@dataclass(frozen=True, slots=True)
class Controls:
    """How a running bridge is told to stop, or to take a changed configuration over."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)

    def on_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)


async def run(config: Config, controls: Controls, log: Logger, load: Callable[[], Config] | None = None) -> None:
    """Run the bridge until `controls.stop`; `load` yields the configuration anew for `controls.reload`.

    Raises:
        ConfigError: a file that the configuration names, such as a CA, cannot be used.
    """
    async with AsyncExitStack() as stack:
        running = _Running(config, log, stack)
        await running.start()
        log.info("evse-mqtt-bridge started", version=__version__, stations=len(config.stations))
        stopped = asyncio.create_task(controls.stop.wait(), name="stop")
        stack.callback(stopped.cancel)
        while not stopped.done():
            await running.until_something(stopped, controls.reload)
            if controls.reload.is_set() and not stopped.done():
                controls.reload.clear()
                if load is not None:
                    await running.reload(load)
        log.info("stopping")
        await running.stop()
    log.info("stopped")


class _Running:
    """The parts of a running bridge, and what replaces them."""

    def __init__(self, config: Config, log: Logger, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self._log = log
        self._stack = stack
        self._clock = Clock(loop.time, random.random)
        self._bridge = Bridge(plan_of(config), self._clock.utc())
        self._narrator = _narrator(config.mqtt, log, loop.time)
        self._targets: dict[str, Target] = {}
        self._failed: asyncio.Future[None] = loop.create_future()
        loop.set_exception_handler(self._on_loop_exception)

    async def start(self) -> None:
        """Build all of it, and set it going."""
        tls_context(self._config.mqtt.tls)  # a wrong file is told at the start, and only later tried again
        self._session = self._make_session(self._config.mqtt)
        self._client = await self._make_client(self._config.cloud)
        self._poller = self._make_poller(self._config)
        self._session_task = self._spawn(self._session.run(), "session")
        self._poller_task = self._spawn(self._poller.run(), "poller")

    async def until_something(self, stopped: asyncio.Task[bool], reload: asyncio.Event) -> None:
        """Wait for a stop, a reload or a bug; the last is raised."""
        while not stopped.done() and not reload.is_set():
            reloading = asyncio.create_task(reload.wait(), name="reload")
            await asyncio.wait(
                (stopped, reloading, self._session_task, self._poller_task, self._failed),
                return_when=asyncio.FIRST_COMPLETED,
                timeout=_TICK,
            )
            reloading.cancel()
            for part in (self._session_task, self._poller_task, self._failed):
                if part.done():
                    part.result()
            self._narrator.tick()
            if self._poller.held:
                self._judge_age()

    def _judge_age(self) -> None:
        moment = Moment(self._clock.monotonic(), self._clock.utc())
        for station, old, new in self._bridge.revisit(moment, self._session):
            self._narrator.aged(station, old, new)

    async def stop(self) -> None:
        """Polls end first, so that nothing follows `offline`."""
        await _cancel(self._poller_task)
        await _cancel(self._session_task)

    async def reload(self, load: Callable[[], Config]) -> None:
        """Take a changed configuration over, or say what is wrong with it and go on."""
        try:
            config = await asyncio.to_thread(load)
            _refuse_torso(self._config, config)
            tls_context(config.mqtt.tls)
            client = await self._make_client(config.cloud) if config.cloud != self._config.cloud else None
        except ConfigError as error:
            for problem in error.problems:
                self._log.error("the changed configuration is wrong, the old one stays in force", problem=str(problem))
            return
        old, self._config = self._config, config
        if config.mqtt != old.mqtt:
            await _cancel(self._session_task)
        if client is not None:
            await _cancel(self._poller_task)
        for uuid in {entry.uuid for entry in old.stations} - {entry.uuid for entry in config.stations}:
            self._narrator.forget(uuid)
        self._bridge.apply(plan_of(config), self._session)
        self._session.listen()
        if client is not None:
            await self._client.__aexit__(None, None, None)
            self._client = client
            self._poller = self._make_poller(config)
            self._poller_task = self._spawn(self._poller.run(), "poller")
        else:
            self._assign(config, old)
        if config.mqtt != old.mqtt:
            self._narrator = _narrator(config.mqtt, self._log, self._clock.monotonic)
            self._session = self._make_session(config.mqtt)
            self._session_task = self._spawn(self._session.run(), "session")
        self._log.info("configuration taken over", stations=len(config.stations))

    # The parts

    def _make_session(self, mqtt: Mqtt) -> Session:
        return Session(mqtt, self._bridge, self._narrator, self._clock.chance)

    async def _make_client(self, cloud: Cloud) -> CloudClient:
        return await self._stack.enter_async_context(CloudClient(cloud))

    def _make_poller(self, config: Config) -> Poller:
        self._poller = Poller(
            self._fetch,
            self._settled,
            self._clock,
            concurrency=config.cloud.max_concurrency,
            rate=config.cloud.max_requests_per_second,
        )
        self._targets = {}
        self._assign(config, None)
        return self._poller

    def _assign(self, config: Config, old: Config | None) -> None:
        """Give the poller its stations; one whose request changed is asked at once."""
        before = {entry.uuid: entry for entry in old.stations} if old else {}
        changed = set()
        for entry in config.stations:
            was = before.get(entry.uuid)
            if was is None or (was.edge_device_id, was.token) != (entry.edge_device_id, entry.token):
                token = entry.token.get_secret_value()
                self._targets[entry.uuid] = self._client.prepare(entry.edge_device_id, entry.uuid, token)
                changed.add(entry.uuid)
        for uuid in before.keys() - {entry.uuid for entry in config.stations}:
            del self._targets[uuid]
        intervals = {entry.uuid: entry.interval or config.polling.interval for entry in config.stations}
        self._poller.assign(intervals, frozenset(changed))

    async def _fetch(self, uuid: str) -> Outcome:
        return await self._client.fetch(self._targets[uuid])

    def _settled(self, uuid: str, outcome: Outcome, moment: Moment, _seconds: float) -> int:
        old = self._bridge.state(uuid)
        self._bridge.take(uuid, outcome, moment, self._session)
        new = self._bridge.state(uuid)
        self._narrator.polled(self._bridge.plan.stations[uuid], old, new, outcome)
        return new.misses

    def _spawn(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        return asyncio.ensure_future(_named(work, name))

    def _on_loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """A callback of the loop raised: a bug, and nothing goes on as if it were none."""
        error = context.get("exception")
        if isinstance(error, Exception) and not self._failed.done():
            self._failed.set_exception(error)
        else:
            self._log.error("asyncio complains", detail=str(context.get("message")))


def _refuse_torso(old: Config, new: Config) -> None:
    """A file that lost its end is often valid; taking it over would clear every topic and entity that there is."""
    if old.stations and not new.stations:
        words = "none is left, as in a file that was cut off; restart the bridge if that is meant"
        raise ConfigError(Problem(words, key="stations"))


def _narrator(mqtt: Mqtt, log: Logger, now: Callable[[], float]) -> Narrator:
    return Narrator(log, now, f"{mqtt.host}:{mqtt.effective_port}", mqtt.client_id)


async def _named(work: Awaitable[None], name: str) -> None:
    task = asyncio.current_task()
    if task is not None:
        task.set_name(name)
    await work


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
