"""The environment of a soak test: cloud and broker, each behind a proxy, and the bridge in its own process."""

import signal
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.machine import Usage, usage
from benchmarks.soak.cloud import SoakCloud
from benchmarks.soak.model import CLIENT_ID, Model
from benchmarks.soak.station_faults import StationFault
from tests.harness.bridge import BridgeProcess
from tests.harness.configuration import write_config
from tests.harness.mosquitto import Mosquitto
from tests.harness.net import HOST
from tests.harness.observer import Observer, retained_messages
from tests.harness.proxy import Proxy

__all__ = ["FOREIGN", "Environment"]

FOREIGN = {
    "evse/thermostat/power": "5",
    "evse/another/info": '{"uuid":"another","plugs":{},"published_by":"another"}',
    "homeassistant/sensor/evse_another/power/config": "{}",
}
"""Retained topics of other clients, under the bridge's own prefixes; the bridge must never touch them."""


class Environment:
    """Starts everything when its context is entered; `model` is the bridge's first configuration."""

    def __init__(self, folder: Path, model: Model) -> None:
        self.cloud = SoakCloud()
        self.broker = Mosquitto(folder / "broker")
        self.to_cloud = Proxy(self.cloud.port)
        self.to_broker = Proxy(self.broker.port)
        self._config = folder / "config.toml"
        self._initial_model = model
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for part in (self.cloud, self.to_cloud, self.broker, self.to_broker):
                self._stack.enter_context(part)
            self.publish_foreign_topics()
            self.bridge = self._stack.enter_context(BridgeProcess.run(self._write(self._initial_model)))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def set_answers(self, model: Model, faults: Mapping[str, StationFault]) -> None:
        """Set the cloud's responses: those of the model, and faults for some stations by uuid."""
        for uuid, station in model.stations.items():
            self.cloud.set_answer(uuid, station.token, station.answer(), faults.get(uuid))

    def reload(self, model: Model) -> None:
        """Write the model's configuration and make the bridge reload it (SIGHUP)."""
        self._write(model)
        self.bridge.send_signal(signal.SIGHUP)

    def reload_invalid_file(self) -> None:
        """Reload an invalid file and wait until the bridge has rejected it."""
        self._config.write_text('[mqtt]\nhost = "localhost"\nbase_topick = "evse"\n')
        lines = len(self.bridge.stderr)
        self.bridge.send_signal(signal.SIGHUP)
        self.bridge.wait_for_line("reload failed", since=lines)

    def publish_foreign_topics(self) -> None:
        """Publish the retained topics of other clients."""
        with Observer(self.broker.port, "nothing") as other:
            for topic, payload in FOREIGN.items():
                other.publish(topic, payload, retain=True)

    def publish_birth(self, prefix: str) -> None:
        """Publish Home Assistant's birth message."""
        with Observer(self.broker.port, "nothing") as other:
            other.publish(f"{prefix}/status", "online")

    def retained(self) -> dict[str, str]:
        """Return the payloads of all retained topics, by topic."""
        return retained_messages(self.broker.port)

    @property
    def usage(self) -> Usage:
        """The bridge's use of CPU, memory and files."""
        return usage(self.bridge.pid)

    def _write(self, model: Model) -> Path:
        settings = model.settings
        tables: dict[str, Any] = {
            "mqtt": {
                "host": HOST,
                "port": self.to_broker.port,
                "base_topic": settings.base,
                "client_id": CLIENT_ID,
                "keepalive": 5,
            },
            "cloud": {"base_url": f"http://{HOST}:{self.to_cloud.port}", "timeout": 1, "max_requests_per_second": 0},
            "polling": {"interval": 1, "stale_after": 0, "heartbeat": 0},
            "homeassistant": {
                "discovery_prefix": settings.prefix,
                "discovery": settings.form,
                "status_topic": f"{settings.prefix}/status",
            },
            "http": {"enabled": False},
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
