"""The parts of a soak: a lying cloud and a real broker, each behind a proxy, and the bridge, as a process."""

import signal
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.machine import Usage, usage
from benchmarks.soak.cloud import SoakCloud
from benchmarks.soak.troubles import DisconnectReason
from benchmarks.soak.truth import CLIENT_ID, Truth
from tests.harness.bridge import BridgeProcess
from tests.harness.configuration import write_config
from tests.harness.mosquitto import Mosquitto
from tests.harness.net import HOST
from tests.harness.observer import Observer, retained_messages
from tests.harness.proxy import Proxy

__all__ = ["FOREIGN", "World"]

FOREIGN = {
    "evse/thermostat/power": "5",
    "evse/another/info": '{"uuid":"another","plugs":{},"published_by":"another"}',
    "homeassistant/sensor/evse_another/power/config": "{}",
}
"""What others retain on the broker, under the very prefixes of the bridge; it must never be touched."""


class World:
    """All of it runs as long as the context is entered; `truth` is what the bridge is configured with at first."""

    def __init__(self, folder: Path, truth: Truth) -> None:
        self.cloud = SoakCloud()
        self.broker = Mosquitto(folder / "broker")
        self.to_cloud = Proxy(self.cloud.port)
        self.to_broker = Proxy(self.broker.port)
        self._config = folder / "config.toml"
        self._first = truth
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for part in (self.cloud, self.to_cloud, self.broker, self.to_broker):
                self._stack.enter_context(part)
            self.plant()
            self.bridge = self._stack.enter_context(BridgeProcess.run(self._write(self._first)))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def tell(self, truth: Truth, troubles: Mapping[str, DisconnectReason]) -> None:
        """Let the cloud answer so."""
        for uuid, station in truth.stations.items():
            self.cloud.tell(uuid, station.token, station.answer(), troubles.get(uuid))

    def reload(self, truth: Truth) -> None:
        """Let the bridge take over these settings and stations (SIGHUP)."""
        self._write(truth)
        self.bridge.send_signal(signal.SIGHUP)

    def reload_nonsense(self) -> None:
        """A file that is no configuration, which the bridge must refuse."""
        self._config.write_text('[mqtt]\nhost = "localhost"\nbase_topick = "evse"\n')
        lines = len(self.bridge.stderr)
        self.bridge.send_signal(signal.SIGHUP)
        self.bridge.wait_for_line("configuration is wrong", since=lines)

    def plant(self) -> None:
        """Let others retain their topics on the broker."""
        with Observer(self.broker.port, "nothing") as other:
            for topic, payload in FOREIGN.items():
                other.publish(topic, payload, retain=True)

    def say_birth(self, prefix: str) -> None:
        """Let Home Assistant say that it has started."""
        with Observer(self.broker.port, "nothing") as other:
            other.publish(f"{prefix}/status", "online")

    def retained(self) -> dict[str, str]:
        """What the broker retains."""
        return retained_messages(self.broker.port)

    @property
    def usage(self) -> Usage:
        """What the bridge uses."""
        return usage(self.bridge.pid)

    def _write(self, truth: Truth) -> Path:
        settings = truth.settings
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
                for station in truth.stations.values()
            ],
        }
        return write_config(self._config, tables)
