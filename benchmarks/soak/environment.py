"""The environment of a soak test: cloud and broker, each behind a proxy, and the bridge in its own process."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.machine import Usage, usage
from benchmarks.soak.cloud import SoakCloud
from benchmarks.soak.model import CLIENT_ID, Model, Settings
from benchmarks.soak.station_faults import StationFault
from tests.harness.bridge import BridgeProcess
from tests.harness.configuration import write_config
from tests.harness.mosquitto import Mosquitto
from tests.harness.net import HOST, free_port
from tests.harness.observer import Observer, retained_messages
from tests.harness.proxy import Proxy

__all__ = ["FOREIGN", "Environment", "ProcessUsage", "SoakError"]

FOREIGN = {
    "evse/thermostat/power": "5",
    "evse/another/info": '{"uuid":"another","plugs":{},"published_by":"another"}',
    "homeassistant/sensor/evse_another/power/config": "{}",
}
"""Retained topics of other clients, under the bridge's own prefixes; the bridge must never touch them."""

_POLL_INTERVAL = 0.2


class SoakError(Exception):
    """The bridge does not do what it has to; `details` are the lines of the report."""

    def __init__(self, message: str, *details: object) -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """What one process of the bridge used.

    Attributes:
        seconds: Age of the process.
        start: Resources when everything had been published for the first time.
        end: Resources at the end, or now.
        peak: Largest resident memory that was measured, in bytes.
    """

    seconds: float
    start: Usage
    end: Usage
    peak: int


class Environment:
    """Starts everything when its context is entered; `model` is the bridge's first configuration.

    Attributes:
        cloud, broker: The servers.
        to_cloud, to_broker: The proxies in front of them.
        bridge: The running process of the bridge.
        page: The port of its status page.
        settings: The settings of its current configuration.
        foreign: The retained topics of other clients, which must not change.
        overwritten: What other clients published last on topics of the bridge.
        processes: The resources of the earlier processes of the bridge.
    """

    def __init__(self, folder: Path, model: Model) -> None:
        self.cloud = SoakCloud()
        self.broker = Mosquitto(folder / "broker")
        self.to_cloud = Proxy(self.cloud.port)
        self.to_broker = Proxy(self.broker.port)
        self.bridge: BridgeProcess
        self.page = free_port()
        self.settings: Settings = model.settings
        self.foreign = dict(FOREIGN)
        self.overwritten: dict[str, str] = {}
        self.processes: list[ProcessUsage] = []
        self._started = 0.0
        self._usage_at_start: Usage | None = None
        self._peak = 0
        self._lines = 0
        self._config = folder / "config.toml"
        self._initial_model = model
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for part in (self.cloud, self.to_cloud, self.broker, self.to_broker):
                self._stack.enter_context(part)
            self.publish_foreign_topics()
            self._stack.callback(self._close_bridge)
            self.start_bridge(self._initial_model)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # The cloud

    def set_answers(self, model: Model, faults: Mapping[str, StationFault]) -> None:
        """Set the cloud's responses: those of the model, and faults for some stations by uuid."""
        for uuid, station in model.stations.items():
            self.cloud.set_answer(uuid, station.token, station.answer(), faults.get(uuid))

    # The bridge

    def start_bridge(self, model: Model, **polling: float) -> None:
        """Start the bridge with the model's configuration; `polling` are other settings of that table."""
        self._write(model, polling)
        self.bridge = BridgeProcess.run(self._config)
        self._started = time.monotonic()
        self._usage_at_start, self._peak = None, 0

    def stop_bridge(self, *, kill: bool = False) -> None:
        """Stop the bridge with SIGTERM, or kill it."""
        self.processes += self.current_process
        if kill:
            self.bridge.kill()
        else:
            self.bridge.stop()
        self._lines += len(self.bridge.stderr)
        self.bridge.close()

    def reload(self, model: Model) -> None:
        """Write the model's configuration and make the bridge reload it (SIGHUP)."""
        self._write(model, {})
        self.bridge.send_signal(signal.SIGHUP)

    def reload_invalid_file(self) -> None:
        """Reload an invalid file and wait until the bridge has rejected it."""
        self._config.write_text('[mqtt]\nhost = "localhost"\nbase_topick = "evse"\n')
        lines = len(self.bridge.stderr)
        self.bridge.send_signal(signal.SIGHUP)
        self.bridge.wait_for_line("reload failed", since=lines)

    def measure(self) -> None:
        """Measure the bridge, for `current_process`; the first measurement is that of its start."""
        measured = usage(self.bridge.pid)
        self._usage_at_start = self._usage_at_start or measured
        self._peak = max(self._peak, measured.memory)

    @property
    def current_process(self) -> list[ProcessUsage]:
        """The resources of the running process; empty if it was never measured, or if it has exited."""
        if self._usage_at_start is None or not self.bridge.running:
            return []
        end = usage(self.bridge.pid)
        seconds = time.monotonic() - self._started
        return [ProcessUsage(seconds, self._usage_at_start, end, max(self._peak, end.memory))]

    @property
    def log_lines(self) -> int:
        """The number of lines that all processes of the bridge have logged."""
        return self._lines + len(self.bridge.stderr)

    # The broker

    def start_broker(self, *extra: str) -> None:
        """Start the stopped broker with additional configuration lines; its retained topics are lost."""
        self.broker.configure(*extra)
        self.broker.start()
        self.publish_foreign_topics()

    def publish_foreign_topics(self) -> None:
        """Publish the retained topics of other clients."""
        self.publish({topic: payload.encode() for topic, payload in self.foreign.items()})

    def publish(self, messages: Mapping[str, bytes], *, retain: bool = True) -> None:
        """Publish messages of another client, by topic, and wait until the broker has them."""
        with Observer(self.broker.port, "nothing") as other:
            for topic, payload in messages.items():
                other.publish(topic, payload, retain=retain)
            other.sync()

    def publish_birth(self) -> None:
        """Publish Home Assistant's birth message."""
        self.publish({f"{self.settings.prefix}/status": b"online"}, retain=False)

    def retained(self) -> dict[str, str]:
        """Return the payloads of all retained topics, by topic; without properties, which may be odd."""
        return retained_messages(self.broker.port, protocol="3.1.1")

    def wait_for_retained(self, condition: Callable[[Mapping[str, str]], bool], what: str, timeout: float) -> None:
        """Wait until the retained topics fulfil a condition.

        Raises:
            SoakError: They do not within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not condition(self.retained()):
            if time.monotonic() > deadline:
                raise SoakError(f"not within {timeout:g} s: {what}")
            time.sleep(_POLL_INTERVAL)

    def _close_bridge(self) -> None:
        if hasattr(self, "bridge"):
            self.bridge.close()

    def _write(self, model: Model, polling: Mapping[str, float]) -> Path:
        settings = self.settings = model.settings
        tables: dict[str, Any] = {
            "mqtt": {
                "host": HOST,
                "port": self.to_broker.port,
                "base_topic": settings.base,
                "client_id": CLIENT_ID,
                "keepalive": 5,
            },
            "cloud": {"base_url": f"http://{HOST}:{self.to_cloud.port}", "timeout": 1, "max_requests_per_second": 0},
            "polling": {
                "interval": 1,
                "stale_after": 0,
                "heartbeat": 0,
                "power_decimals": 15,
                "current_decimals": 15,
                **polling,
            },
            "homeassistant": {
                "discovery_prefix": settings.prefix,
                "discovery": settings.form,
                "status_topic": f"{settings.prefix}/status",
            },
            "http": {"host": HOST, "port": self.page},
            "stations": [
                {
                    "edge_device_id": "edge",
                    "uuid": station.uuid,
                    "token": station.token,
                    "name": station.name,
                    "alias": station.alias,
                    "plugs": dict(station.plug_aliases),
                }
                for station in model.stations.values()
            ],
        }
        return write_config(self._config, tables)
