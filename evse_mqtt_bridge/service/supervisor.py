"""Composition: builds everything from a configuration, and owns the tasks and the signals.

    run -> (cloud client, poller) and (session, outbox), joined by the bridge -> until stopped

A reload replaces only what its part of the configuration changed: stations join and leave a running poller, a changed
`[cloud]` gets a new client, a changed `[mqtt]` a new session, and the state of the stations outlives both.
"""

import asyncio
import contextlib
import math
import platform
import random
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.cloud.client import CloudClient, StationRequest
from evse_mqtt_bridge.config.load import Loaded
from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Cloud, Config, Mqtt
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Outcome, Reason
from evse_mqtt_bridge.mqtt.session import Session, tls_context
from evse_mqtt_bridge.observability.aggregates import aggregates
from evse_mqtt_bridge.observability.broker_status import Both, Witness
from evse_mqtt_bridge.observability.event_log import EventLog, RateLimiter
from evse_mqtt_bridge.observability.exposition import Build, Observed, exposition
from evse_mqtt_bridge.observability.health import HealthInputs, evaluate
from evse_mqtt_bridge.observability.log import Logger, make_logger
from evse_mqtt_bridge.observability.loop_lag import LoopLag
from evse_mqtt_bridge.observability.snapshot import BridgeSnapshot, Health, Snapshot, StationSnapshot, station_snapshots
from evse_mqtt_bridge.polling.poller import Clock, Poller
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.service.systemd import ServiceNotifier
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.net import host_and_port
from evse_mqtt_bridge.support.threads import in_daemon_thread
from evse_mqtt_bridge.web.server import Server

__all__ = ["Controls", "run"]

_TICK = 10.0
_COMPLAINTS_PER_MINUTE = 6
_NO_SERVICE_MANAGER = ServiceNotifier()


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


async def run(
    config: Config,
    controls: Controls,
    log: Logger,
    load: Callable[[], Loaded] | None = None,
    notifier: ServiceNotifier = _NO_SERVICE_MANAGER,
) -> None:
    """Run the bridge until `controls.stop`; `load` yields the configuration anew for `controls.reload`.

    Raises:
        ConfigError: a file that the configuration names, such as a CA, cannot be used.
    """
    async with AsyncExitStack() as stack:
        running = _Running(config, log, stack, notifier)
        await running.start()
        notifier.ready(running.in_words())
        log.info("evse-mqtt-bridge started", version=__version__, stations=len(config.stations))
        stopped = asyncio.create_task(controls.stop.wait(), name="stop")
        stack.callback(stopped.cancel)
        while not stopped.done():
            await running.until_something(stopped, controls.reload)
            if controls.reload.is_set() and not stopped.done():
                controls.reload.clear()
                if load is not None:
                    notifier.reloading(time.monotonic_ns() // 1000)
                    await running.reload(load, stopped)
                    notifier.ready(running.in_words())
        notifier.stopping()
        running.log.info("stopping")
        await running.stop()
    running.log.info("stopped")


class _Running:
    """The parts of a running bridge, and what replaces them."""

    def __init__(self, config: Config, log: Logger, stack: AsyncExitStack, notifier: ServiceNotifier) -> None:
        loop = asyncio.get_running_loop()
        self._config = config
        self.log = log
        self._notifier = notifier
        self._signed = -math.inf
        self._stack = stack
        self._clock = Clock(loop.time, random.random)
        self._bridge = Bridge(publishing_plan(config), self._clock.utc())
        self._event_log = EventLog(log, loop.time, config.mqtt.address, config.mqtt.client_id)
        self._witness = Witness(self._clock.utc, last_poll=loop.time())
        self._loop_lag = LoopLag(loop.time, self._sign_of_life)
        self._server = Server(config.http, self)
        self._targets: dict[str, StationRequest] = {}
        self._failed: asyncio.Future[None] = loop.create_future()
        self._complaints = RateLimiter(_COMPLAINTS_PER_MINUTE)
        loop.set_exception_handler(self._on_loop_exception)

    async def start(self) -> None:
        """Build all of it, and set it going."""
        tls_context(self._config.mqtt.tls)  # a wrong file is told at the start, and only later tried again
        self._session = self._make_session(self._config.mqtt)
        self._client = await self._make_client(self._config.cloud)
        self._stack.push_async_callback(self._close_client)
        self._poller = self._make_poller(self._config)
        self._session_task = _spawn(self._session.run(), "session")
        self._poller_task = _spawn(self._poller.run(), "poller")
        self._pulse_task = _spawn(self._loop_lag.run(), "pulse")
        await self._serve()

    async def until_something(self, stopped: asyncio.Task[bool], reload: asyncio.Event) -> None:
        """Wait for a stop, a reload or a bug; the last is raised."""
        asked = asyncio.create_task(reload.wait(), name="reload")
        try:
            await self._watch_until(stopped, asked)
        finally:
            asked.cancel()

    async def _watch_until(self, *events: asyncio.Task[Any]) -> None:
        """Wait for one of these, and meanwhile look after the parts; what one of them raises is a bug, and raised."""
        while not any(event.done() for event in events):
            parts = (self._session_task, self._poller_task, self._pulse_task, self._failed)
            await asyncio.wait((*events, *parts), return_when=asyncio.FIRST_COMPLETED, timeout=_TICK)
            for part in parts:
                if part.done():
                    part.result()
            self._event_log.tick()
            self._notifier.status(self.in_words())
            if self._poller.held:
                self._judge_age()
            if self._config.http.enabled and not self._server.is_listening:
                await self._serve(again=True)

    def _judge_age(self) -> None:
        moment = Moment(self._clock.monotonic(), self._clock.utc())
        for station, old, new in self._bridge.age(moment, self._session):
            self._event_log.aged(station, old, new)
            self._witness.history.aged(station.uuid, old, new, moment.utc)

    async def stop(self) -> None:
        """Polls end first, so that nothing follows `offline`."""
        await _cancel(self._poller_task)
        await _cancel(self._session_task)
        await _cancel(self._pulse_task)
        await self._server.stop()

    async def reload(self, load: Callable[[], Loaded], stopped: asyncio.Task[bool]) -> None:
        """Take a changed configuration over, or say what is wrong with it and go on; give up where it is to stop."""
        loading = asyncio.create_task(in_daemon_thread(load, "load"), name="load")
        await self._watch_until(loading, stopped)
        if not loading.done():  # a file on a share that hangs, say
            loading.cancel()
            return
        try:
            loaded = loading.result()
            config = loaded.config
            _refuse_torso(self._config, config)
            tls_context(config.mqtt.tls)
            client = await self._make_client(config.cloud) if config.cloud != self._config.cloud else None
        except ConfigError as error:
            self._refuse(error)
        else:
            await self._take_over(config, client)
            for warning in loaded.warnings:
                self.log.warning("configuration", detail=warning)

    def _refuse(self, error: ConfigError) -> None:
        self._witness.reloaded(accepted=False)
        for problem in error.problems:
            self.log.error("the changed configuration is wrong, the old one stays in force", problem=str(problem))

    async def _take_over(self, config: Config, client: CloudClient | None) -> None:
        """Go over to another configuration; `client` is the one for its cloud, where that changed."""
        old, self._config = self._config, config
        if config.log != old.log:
            self.log = self._event_log.log = make_logger(config.log.level, config.log.format)
        if config.mqtt != old.mqtt:
            await _cancel(self._session_task)
            self._witness.broker_left()
        if client is not None:
            await _cancel(self._poller_task)
        gone = {entry.uuid for entry in old.stations} - {entry.uuid for entry in config.stations}
        self._event_log.forget(gone)
        for uuid in gone:
            self._witness.history.forget(uuid)
        self._bridge.apply(publishing_plan(config), self._session)
        self._session.listen()
        if client is not None:
            await self._client.aclose()
            self._client = client
            held_until = self._poller.held_until if config.cloud.base_url == old.cloud.base_url else -math.inf
            self._poller = self._make_poller(config)
            self._poller.hold(held_until)
            self._poller_task = _spawn(self._poller.run(), "poller")
        else:
            self._assign(config, old)
        if config.mqtt != old.mqtt:
            self._event_log.meet(config.mqtt.address, config.mqtt.client_id)
            published = self._session.published
            self._session = self._make_session(config.mqtt)
            self._session.published = published
            self._session_task = _spawn(self._session.run(), "session")
        if config.http != old.http:
            await self._server.stop()
            await self._serve()
        self._witness.reloaded(accepted=True)
        self.log.info("configuration taken over", stations=len(config.stations))

    # What is shown

    async def _serve(self, *, again: bool = False) -> None:
        """Serve the page and the rest; a bridge whose port is taken goes on without, and tries `again` now and then."""
        settings = self._config.http
        if not settings.enabled:
            return
        self._server = Server(settings, self)
        address = host_and_port(settings.host, settings.port)
        trouble = await self._server.start()
        if trouble and again:
            self.log.debug("there still is no status page", address=address, detail=trouble)
        elif trouble:
            advice = "set http.port, or http.enabled = false"
            self.log.warning("there is no status page", address=address, detail=trouble, advice=advice)
        else:
            self.log.info("status page", address=f"http://{address}/")

    @property
    def plan(self) -> Plan:
        """See web/source.py; so are the following."""
        return self._bridge.plan

    def summary(self) -> Snapshot:
        """The picture without its stations."""
        config = self._config
        return Snapshot(
            at=self._clock.utc(),
            bridge=BridgeSnapshot(
                version=__version__,
                client_id=config.mqtt.client_id,
                base_topic=config.mqtt.base_topic,
                started=self._bridge.started,
                cloud=config.cloud.base_url,
                transport=self._client.transport_name,
            ),
            broker=self._witness.broker(config.mqtt.address),
            health=self.health(),
            stations=(),
            revision=self._witness.history.revision,
        )

    def stations(self, after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
        """The stations, one by one."""
        return station_snapshots(self._bridge, self._witness.history, after, steps=steps)

    def health(self) -> Health:
        """See web/source.py."""
        return evaluate(self._health_inputs())

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """See web/source.py."""
        witness = self._witness
        observed = Observed(
            at=self._clock.utc(),
            build=Build(__version__, platform.python_version(), transport=self._client.transport_name),
            started=self._bridge.started,
            configured=witness.configured,
            accepted=witness.accepted,
            connected=witness.connected,
            published=self._session.published,
            counters=witness.counters,
            vitals=self._health_inputs(),
            aggregates=aggregates(map(self._bridge.state, self._bridge.plan.stations)),
        )
        return exposition(observed, accept)

    def request_failed(self, error: BaseException) -> None:
        """See web/source.py."""
        self._complain("a request to the status page failed: a bug", exc_info=error)

    def _health_inputs(self) -> HealthInputs:
        now, rate = self._clock.monotonic(), self._config.cloud.max_requests_per_second
        return HealthInputs(
            lag=self._loop_lag.worst,
            late=min(self._poller.late, max(0.0, now - self._poller.held_until)),
            quiet=now - self._witness.last_poll,
            timeout=self._config.cloud.timeout,
            held=self._poller.held,
            connected=self._session.connected,
            trouble=self._witness.trouble,
            stations=len(self._bridge.plan.stations),
            pause=1 / rate if rate else 0.0,
            longest=self._poller.longest,
        )

    # What the service manager is told

    def _sign_of_life(self) -> None:
        """With each beat of the loop: feeds the watchdog while polls are made."""
        interval, now = self._notifier.watchdog_interval, self._clock.monotonic()
        if interval is not None and now - self._signed >= interval and self.health().healthy:
            self._signed = now
            self._notifier.feed_watchdog()

    def in_words(self) -> str:
        """The state in one line."""
        plan = self._bridge.plan
        online = sum(self._bridge.state(uuid).reason is Reason.ONLINE for uuid in plan.stations)
        return "; ".join((f"{online} of {len(plan.stations)} stations online", *self.health().words))

    # The parts

    def _make_session(self, mqtt: Mqtt) -> Session:
        return Session(mqtt, self._bridge, Both(self._event_log, self._witness), self._clock.chance)

    async def _make_client(self, cloud: Cloud) -> CloudClient:
        return await CloudClient(cloud).__aenter__()

    async def _close_client(self) -> None:
        await self._client.aclose()

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

    def _settled(self, uuid: str, outcome: Outcome, moment: Moment, seconds: float) -> int:
        old = self._bridge.state(uuid)
        outcome = self._bridge.take(uuid, outcome, moment, self._session)
        new = self._bridge.state(uuid)
        self._event_log.polled(self._bridge.plan.stations[uuid], old, new, outcome)
        self._witness.polled(uuid, (old, new), outcome, moment)
        self._witness.counters.polled(outcome, seconds)
        return new.consecutive_failures

    def _on_loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """A callback of the loop raised: a bug, and nothing goes on as if it were none; but for what the system did."""
        error = context.get("exception")
        if isinstance(error, Exception) and not isinstance(error, OSError) and not self._failed.done():
            self._failed.set_exception(error)
        else:
            told = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
            self._complain("asyncio complains", detail=f"{context.get('message')}{told}")

    def _complain(self, event: str, **known: object) -> None:
        """Tell what may come again and again, a few times a minute."""
        now = self._clock.monotonic()
        if left_out := self._complaints.held(now):
            known["left_out"] = left_out
        if self._complaints.passes(now):
            self.log.error(event, **known)


def _refuse_torso(old: Config, new: Config) -> None:
    """A file that lost its end is often valid; taking it over would clear every topic and entity that there is."""
    if old.stations and not new.stations:
        words = "none is left, as in a file that was cut off; restart the bridge if that is meant"
        raise ConfigError(Problem(words, key="stations"))


def _spawn(work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
    return asyncio.create_task(work, name=name)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
