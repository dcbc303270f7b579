"""A bridge whose polls the test makes, and the server that shows it, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config, Http, Mqtt, StationConfig
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Outcome, PlugReading, Reading
from evse_mqtt_bridge.observability.history import History
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
    Snapshot,
    StationSnapshot,
    station_snapshots,
)
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.publishing.publication import Bridge
from evse_mqtt_bridge.web.server import Server
from tests.harness.net import HOST, free_port
from tests.publishing.model_broker import ModelBroker

__all__ = ["TOKEN", "Scene", "Served", "reading", "station", "utc_now"]

TOKEN = "canary-token-5f1d"
PASSWORD = "canary-password-77ae"

T = TypeVar("T")


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def station(number: int = 1, **changed: object) -> StationConfig:
    """A station of a configuration, `station-1` to topics."""
    return StationConfig.model_validate(
        {
            "edge_device_id": "edge",
            "uuid": f"{number:032x}",
            "token": TOKEN,
            "name": f"Station {number}",
            "alias": f"station-{number}",
            **changed,
        }
    )


def reading(status: str = "charging", power: float = 7107.0, **changed: object) -> Reading:
    """An answer with one plug, called `Left`, as it was measured a moment ago."""
    plug = PlugReading("0f" * 16, "Left", status, power, 10.3, 10.3, 10.3, 12.0, utc_now())
    return Reading((replace(plug, **changed),))  # type: ignore[arg-type]  # of any field


class Scene:
    """What the server is told: made of the bridge's own parts, without a broker and a cloud."""

    def __init__(self, stations: Sequence[StationConfig], started: datetime | None = None) -> None:
        self.bridge = Bridge(publishing_plan(_config(stations)), started or utc_now())
        self.history = History()
        self.broker = BrokerSnapshot("broker.example:1883", True, self.bridge.started, "")  # noqa: FBT003  # connected
        self.verdict = Health(healthy=True, ready=True, words=())
        self.looks = 0
        self.failures: list[BaseException] = []

    def poll(self, uuid: str, outcome: Outcome, at: datetime | None = None) -> None:
        """A poll of a station ends so."""
        at = at or utc_now()
        old = self.bridge.state(uuid)
        self.bridge.take(uuid, outcome, Moment(at.timestamp(), at), ModelBroker())
        self.history.polled(uuid, old, self.bridge.state(uuid), outcome, at)

    def poll_all(self, outcome: Callable[[], Outcome] = reading) -> None:
        """Every station is polled."""
        for uuid in self.bridge.plan.stations:
            self.poll(uuid, outcome())

    def reload(self, stations: Sequence[StationConfig]) -> None:
        """The configuration has these stations."""
        before = set(self.bridge.plan.stations)
        self.bridge.apply(publishing_plan(_config(stations)), ModelBroker())
        for uuid in before - set(self.bridge.plan.stations):
            self.history.forget(uuid)

    # See monitor/server.py, Source

    @property
    def plan(self) -> Plan:
        return self.bridge.plan

    def outline(self) -> Snapshot:
        self.looks += 1
        return Snapshot(
            at=utc_now(),
            bridge=BridgeSnapshot(
                "1.2.3", "evse-mqtt-bridge", "evse", self.bridge.started, "https://cloud.example", ""
            ),
            broker=self.broker,
            health=self.verdict,
            stations=(),
            revision=self.history.revision,
        )

    def stations(self, after: int = -1, *, steps: bool = True) -> Iterator[StationSnapshot]:
        return station_snapshots(self.bridge, self.history, after, steps=steps)

    def health(self) -> Health:
        return self.verdict

    def metrics(self, accept: str) -> tuple[bytes, str]:
        return f"# asked for {accept}\n".encode(), "text/plain"

    def page_failed(self, error: BaseException) -> None:
        self.failures.append(error)


class Served:
    """The server of a scene, as a context manager; `stop` and `start` take it away and bring it back, on one port."""

    def __init__(self, scene: Scene, host: str = HOST) -> None:
        self.scene = scene
        self.port = free_port()
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/"

    def start(self) -> None:
        async def start() -> None:
            self._server = Server(Http(host=self._host, port=self.port), self.scene)
            assert not await self._server.start()

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)

    def stop(self) -> None:
        async def stop() -> None:
            if self._server is not None:
                await self._server.stop()
                self._server = None

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)

    def do(self, work: Callable[[Scene], T]) -> T:
        """Do something with the scene, in the server's thread."""

        async def do() -> T:
            return work(self.scene)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)


def _config(stations: Sequence[StationConfig]) -> Config:
    mqtt = Mqtt.model_validate({"host": "broker.example", "username": "bridge", "password": PASSWORD})
    return Config(mqtt=mqtt, stations=tuple(stations))


def minutes_ago(minutes: float) -> datetime:
    """A time."""
    return utc_now() - timedelta(minutes=minutes)
