"""Bridges that count the energy and the sessions of simulated stations, with topics and histories of their own."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.client import ROOT
from benchmarks.machine import pin
from benchmarks.session_truth import Counted
from evse_mqtt_bridge.simulator.simulation import SimulatedPlug, SimulatedStation

__all__ = ["CountingBridge", "Published", "counted_by"]

_START_LIMIT = 60.0  # seconds from a start until the bridge has counted for every plug
_STOP_LIMIT = 30.0  # seconds


@dataclass
class CountingBridge:
    """A bridge with its own topics and its own history.

    Attributes:
        name: Its base topic and client id.
        folder: Folder of its configuration and log.
        stations: Its stations.
        interval: Its polling interval in seconds.
        url: The database of its history.
    """

    name: str
    folder: Path
    stations: Sequence[SimulatedStation]
    interval: int
    url: str
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def plugs(self) -> Iterator[tuple[SimulatedStation, SimulatedPlug, str]]:
        """Its plugs: the station, the plug, and the prefix of its topics."""
        for station in self.stations:
            for plug in station.plugs:
                yield station, plug, f"{self.name}/{station.uuid}/{plug.uuid}"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return (self.folder / f"{self.name}.log").read_text()

    def configure(self, broker: int, cloud: str) -> None:
        """Write the configuration."""
        tables = (
            f'[[stations]]\nedge_device_id = "{each.edge_device_id}"\nuuid = "{each.uuid}"\ntoken = "{each.token}"\n'
            for each in self.stations
        )
        path = self.folder / f"{self.name}.toml"
        path.touch(mode=0o600)
        path.write_text(
            f'[mqtt]\nhost = "127.0.0.1"\nport = {broker}\nclient_id = "{self.name}"\nbase_topic = "{self.name}"\n'
            f'[cloud]\nbase_url = "{cloud}"\n[polling]\ninterval = {self.interval}\n[http]\nenabled = false\n'
            f'[homeassistant]\nenabled = false\n[history]\nurl = "{self.url}"\n' + "".join(tables)
        )

    async def start(self) -> None:
        """Start the process."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EVSE_MQTT_BRIDGE")}
        config = self.folder / f"{self.name}.toml"
        command: list[str | Path] = [sys.executable, "-m", "evse_mqtt_bridge", "run", "--config", config]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *pin(command, measured=True),
                cwd=ROOT,
                env=environment | {"PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def end(self, number: signal.Signals) -> None:
        """End the process with a signal, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is not None:
            raise RuntimeError(f"{self.name} exited with {process.returncode}")
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), _STOP_LIMIT)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise


class Published:
    """What the bridges publish about their plugs; used in the thread of the subscriber.

    Attributes:
        first: The first measurement time that is counted, by the topic of the plug.
        last: The last `state`, by the topic of the plug.
        at: When it was received, by the topic of the plug; monotonic seconds.
    """

    def __init__(self) -> None:
        self.first: dict[str, datetime] = {}
        self.last: dict[str, bytes] = {}
        self.at: dict[str, float] = {}

    def receive(self, topic: str, payload: bytes) -> None:
        """Note a message."""
        plug = topic.removesuffix("/state")
        self.last[plug], self.at[plug] = payload, time.monotonic()
        if plug not in self.first and (counted := json.loads(payload)["energy_time"]):
            self.first[plug] = datetime.fromisoformat(counted)

    async def wait_for(self, bridge: CountingBridge, since: float) -> None:
        """Wait until a bridge has published every plug since a time, in monotonic seconds."""
        async with asyncio.timeout(_START_LIMIT):
            # The messages arrive in another thread.
            while not all(self.at.get(topic, 0.0) > since for *_, topic in bridge.plugs):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def counted_by(bridges: Sequence[CountingBridge], published: Published) -> Iterator[Counted]:
    """Yield what bridges counted for each of their plugs, unless a plug was never available."""
    for bridge in bridges:
        for station, plug, topic in bridge.plugs:
            if topic not in published.first:
                continue
            yield Counted.of(bridge.url, station, plug, published.first[topic], published.last[topic])
