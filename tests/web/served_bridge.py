"""A bridge without a broker and a cloud, polled by the test, and its web server in a thread."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Http, Mqtt, StationConfig, StationTable
from evse_mqtt_bridge.config.schema import History as EnergyHistory
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.events import ClockChanged, StationRemoved
from evse_mqtt_bridge.domain.model import Outcome, PlugReading, Reading
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.process_snapshot import ProcessSnapshot
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
    Snapshot,
    StationSnapshot,
    station_snapshots,
)
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.history_reader import HistoryReader
from evse_mqtt_bridge.web.handlers import Handlers
from evse_mqtt_bridge.web.limits import ConnectionLimits
from evse_mqtt_bridge.web.server import Server
from tests.harness.loop_thread import LoopThread
from tests.harness.net import HOST, free_port
from tests.publishing.bridge import Bridge

if TYPE_CHECKING:
    from evse_mqtt_bridge.observability.fleet_snapshot import FleetSnapshot

__all__ = ["PASSWORD", "TOKEN", "ServerThread", "StubBridge", "minutes_ago", "reading", "station", "utc_now"]

TOKEN = "canary-token-5f1d"
PASSWORD = "canary-password-77ae"

T = TypeVar("T")


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


def minutes_ago(minutes: float) -> datetime:
    """Return the time this many minutes ago."""
    return utc_now() - timedelta(minutes=minutes)


def station(number: int = 1, **changed: object) -> StationConfig:
    """Return the configuration of `Station <number>`, with the alias `station-<number>`."""
    return StationConfig.of(
        StationTable.model_validate(
            {
                "edge_device_id": "edge",
                "uuid": f"{number:032x}",
                "token": TOKEN,
                "name": f"Station {number}",
                "alias": f"station-{number}",
                **changed,
            }
        )
    )


def reading(status: str = "charging", power: float = 7107.0, **changed: object) -> Reading:
    """Return a reading of one plug with the label `Left`, measured now."""
    plug = PlugReading("0f" * 16, "Left", status, power, 10.3, 10.3, 10.3, 12.0, utc_now())
    return Reading((replace(plug, **changed),))  # type: ignore[arg-type]  # of any field


class StubBridge:
    """A `StatusSource` made of production parts; the test supplies the outcomes of polls."""

    def __init__(
        self,
        stations: Sequence[StationConfig],
        started: datetime | None = None,
        energy_history: EnergyHistory | None = None,
    ) -> None:
        settings = energy_history or EnergyHistory(enabled=False)
        self.energy_history = HistoryReader(
            _config(stations, settings), Clock(time.monotonic, random.random), lambda: self.write_error
        )
        self.write_error = ""
        self._bridge = Bridge(publishing_plan(_config(stations)), started or utc_now())
        self.history = History()
        self.broker = BrokerSnapshot("broker.example:1883", True, self._bridge.publication.started, "")  # noqa: FBT003  # connected
        self.current_health = Health(healthy=True, ready=True, messages=())
        self.fleet: FleetSnapshot | None = None
        self.summary_calls = 0
        self.failures: list[BaseException] = []

    def start_meters(self) -> None:
        """Count energy from 0; before that, the meters of the previous run are unknown."""
        stations = self._bridge.stations
        stations.broker_read({}, stations.all, is_complete=True)

    def poll(self, uuid: str, outcome: Outcome, at: datetime | None = None) -> None:
        """Apply the outcome of a poll."""
        at = at or utc_now()
        self.history.poll_completed(self._bridge.poll(uuid, outcome, Moment(at.timestamp(), at)))

    def poll_all(self, outcome: Callable[[], Outcome] = reading) -> None:
        """Apply an outcome to every station."""
        for uuid in self._bridge.plan.stations:
            self.poll(uuid, outcome())

    def reload(self, stations: Sequence[StationConfig]) -> None:
        """Replace the stations of the configuration."""
        before = set(self._bridge.plan.stations)
        self._bridge.publication.reconfigured(publishing_plan(_config(stations)))
        for uuid in before - set(self._bridge.plan.stations):
            self.history.station_removed(StationRemoved(uuid))

    def set_clock(self, shift: timedelta) -> None:
        """Correct all times, as after the clock of the machine was set."""
        self._bridge.publication.clock_changed(shift)
        self.history.clock_changed(ClockChanged(shift))

    # StatusSource

    @property
    def plan(self) -> Plan:
        return self._bridge.plan

    def summary(self) -> Snapshot:
        self.summary_calls += 1
        return Snapshot(
            at=utc_now(),
            bridge=BridgeSnapshot(
                "1.2.3", "evse-mqtt-bridge", "evse", self._bridge.publication.started, "https://cloud.example", ""
            ),
            broker=self.broker,
            health=self.current_health,
            stations=(),
            revision=self.history.revision,
            fleet=self.fleet,
        )

    def stations(self, after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
        return station_snapshots(self._bridge, self.history, after, steps=steps)

    def health(self) -> Health:
        return self.current_health

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return f"# {accept}\n".encode(), "text/plain"

    def process(self) -> ProcessSnapshot:
        return ProcessSnapshot(self.plan.client_id, 1, "", 0, None)

    def request_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class ServerThread:
    """A web server in a thread, as a context manager; `stop` and `start` restart it on the same port."""

    def __init__(self, bridge: StubBridge, host: str = HOST, limits: ConnectionLimits | None = None) -> None:
        self.bridge = bridge
        self.server: Server | None = None
        self.port = free_port()
        self._host = host
        self._limits = limits
        self._thread = LoopThread()

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.stop()

    @property
    def handlers(self) -> Handlers:
        """The request handlers of the running server."""
        assert self.server is not None
        return self.server.handlers

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    def start(self) -> None:
        async def start() -> None:
            self.server = Server(Http(host=self._host, port=self.port), self.bridge, self._limits)
            assert not await self.server.start()

        self._thread.call(start())

    def stop(self) -> None:
        async def stop() -> None:
            if self.server is not None:
                await self.server.stop()
                self.server = None

        self._thread.call(stop())

    def call(self, function: Callable[[StubBridge], T]) -> T:
        """Call a function with the bridge in the server's thread."""

        async def call() -> T:
            return function(self.bridge)

        return self._thread.call(call())


def _config(stations: Sequence[StationConfig], history: EnergyHistory | None = None) -> Config:
    mqtt = Mqtt.model_validate({"host": "broker.example", "username": "bridge", "password": PASSWORD})
    return Config(mqtt=mqtt, stations=tuple(stations), history=history or EnergyHistory(enabled=False))
