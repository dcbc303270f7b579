"""The rig of a fleet: cloud, broker, etcd, and members as processes."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.client import ROOT
from benchmarks.rig import Rig, Settings
from tests.harness.etcd import EtcdServer
from tests.harness.proxy import Proxy

__all__ = ["FleetRig", "FleetSettings", "cpu_of"]


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The settings of a fleet.

    Attributes:
        stations: Number of stations.
        shards: Number of shards.
        interval: Polling interval in seconds.
        rate: Limit of the requests per second of the fleet.
        ttl: `fleet.ttl` in seconds.
    """

    stations: int
    shards: int = 16
    interval: float = 30.0
    rate: float = 0.0
    ttl: int = 10


class FleetRig:
    """Runs everything but the members, which `start` adds; use it as a context manager.

    Attributes:
        members: The running processes, by name.
        paths: The proxies of a member to the broker and to etcd, by name, if it uses any.
    """

    def __init__(self, settings: FleetSettings) -> None:
        self.settings = settings
        self.rig = Rig(changing=0.1, log=True)
        self.etcd = EtcdServer(self.rig.folder / "etcd")
        self.members: dict[str, subprocess.Popen[bytes]] = {}
        self.paths: dict[str, tuple[Proxy, Proxy]] = {}

    def __enter__(self) -> Self:
        self.rig.__enter__()
        try:
            self.etcd.start()
        except BaseException:
            self.rig.__exit__(None, None, None)
            raise
        self.write_config(range(self.settings.stations))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self.members):
            self.send(name, signal.SIGCONT)
            self.kill(name)
        for proxy in (each for paths in self.paths.values() for each in paths):
            proxy.__exit__(None, None, None)
        self.etcd.kill()
        self.rig.__exit__(kind, error, trace)

    def write_config(self, stations: range) -> None:
        """Write the configuration of all members, with the stations with these numbers."""
        path = self.rig.write_config(Settings(interval=self.settings.interval), stations)
        rate = f"max_requests_per_second = {self.settings.rate:g}"
        fleet = (
            f'[fleet]\nengine = "etcd"\nendpoints = ["{self.etcd.url}"]\n'
            f"shards = {self.settings.shards}\nttl = {self.settings.ttl}\n[history]\nenabled = false\n"
        )
        path.write_text(fleet + path.read_text().replace("max_requests_per_second = 0", rate))

    def start(self, name: str, *, has_proxies: bool = False) -> None:
        """Start a member; with proxies, its paths to the broker and to etcd can be cut."""
        environment = {**os.environ, "EVSE_MQTT_BRIDGE__FLEET__MEMBER": name, "PYTHONPATH": str(ROOT)}
        if has_proxies:
            broker, etcd = self.paths[name] = Proxy(self.rig.broker.port), Proxy(self.etcd.port)
            for proxy in (broker, etcd):
                proxy.__enter__()
            environment["EVSE_MQTT_BRIDGE__MQTT__PORT"] = str(broker.port)
            environment["EVSE_MQTT_BRIDGE__FLEET__ENDPOINTS"] = f'["http://{etcd.host}:{etcd.port}"]'
        with self.log_of(name).open("ab") as log:
            self.members[name] = subprocess.Popen(
                [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", self.rig.config],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=environment,
            )

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a member."""
        with contextlib.suppress(ProcessLookupError):
            self.members[name].send_signal(number)

    def kill(self, name: str) -> None:
        """Kill a member (SIGKILL)."""
        process = self.members.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str, timeout: float = 60) -> None:
        """Stop a member (SIGTERM), and wait for its end."""
        process = self.members.pop(name)
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def log_of(self, name: str) -> Path:
        """Return the file with the log of a member."""
        return self.rig.folder / f"{name}.log"


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
