"""Bridges that are killed while vehicles charge: their sessions against the true energy, and against a steady bridge.

Some bridges share the simulated stations. Each is killed with SIGKILL at random moments, and restarted after a random
pause. Another bridge polls all stations all the time. The stations run faster than real time, so that sessions also
begin and end during the measurement; the pauses of the killed bridges are in real time.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from benchmarks.broker import Broker
from benchmarks.client import ROOT
from benchmarks.effort import Effort
from benchmarks.machine import pin
from benchmarks.report import Table
from benchmarks.session_truth import Counted, Truth, compare
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedPlug, SimulatedStation, Simulation, generate_stations

__all__ = ["kills"]

_BRIDGES = 5
_STATIONS = 40  # of each killed bridge
_SPEED = 4.0
_INTERVAL = 8  # seconds; 32 simulated ones
_START_LIMIT = 60.0  # seconds from a start until the bridge has counted for every plug
_LIFETIME = (0.0, 15.0)  # seconds from then to the kill
_PAUSE = (1.0, 20.0)  # seconds from a kill to the next start
_FIRST_POLLS = 2 * _INTERVAL  # seconds, for all stations to be polled
_STOP_LIMIT = 30.0  # seconds
_SEED = 16


@dataclass
class _Bridge:
    """A bridge with its own topics and its own history.

    Attributes:
        name: Its base topic and client id.
        folder: Folder of its configuration and history.
        stations: Its stations.
    """

    name: str
    folder: Path
    stations: Sequence[SimulatedStation]
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def plugs(self) -> Iterator[tuple[SimulatedStation, SimulatedPlug, str]]:
        """Its plugs: the station, the plug, and the prefix of its topics."""
        for station in self.stations:
            for plug in station.plugs:
                yield station, plug, f"{self.name}/{station.uuid}/{plug.uuid}"

    @property
    def url(self) -> str:
        """The database of its history."""
        return f"sqlite:///{self.folder}/{self.name}.sqlite"

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
            f'[cloud]\nbase_url = "{cloud}"\n[polling]\ninterval = {_INTERVAL}\n[http]\nenabled = false\n'
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


class _Published:
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

    async def wait_for(self, bridge: _Bridge, since: float) -> None:
        """Wait until a bridge has published every plug since a time, in monotonic seconds."""
        async with asyncio.timeout(_START_LIMIT):
            # The messages arrive in another thread.
            while not all(self.at.get(topic, 0.0) > since for *_, topic in bridge.plugs):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def kills(effort: Effort) -> Iterator[Table]:
    """Yield the table of the energy and the sessions with and without kills."""
    yield asyncio.run(_measure(effort.kills))


async def _measure(count: int) -> Table:
    stations = generate_stations(_BRIDGES * _STATIONS, plugs=2, seed=_SEED)
    simulation = Simulation(stations, datetime.now(UTC), _SPEED)
    published = _Published()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        server = await stack.enter_async_context(SimulatorServer(simulation))
        broker = stack.enter_context(Broker(folder / "broker"))
        steady = _Bridge("steady", folder, stations)
        killed = [
            _Bridge(f"killed-{number}", folder, stations[number * _STATIONS :][:_STATIONS])
            for number in range(_BRIDGES)
        ]
        for bridge in (steady, *killed):
            bridge.configure(broker.port, server.url)
            stack.push_async_callback(bridge.end, signal.SIGTERM)
        stack.enter_context(Subscriber(broker.port, "+/+/+/state", on_message=published.receive))
        await steady.start()
        await _kill_all(killed, count, published)
        await asyncio.sleep(_FIRST_POLLS)
        await asyncio.gather(*(bridge.end(signal.SIGTERM) for bridge in (steady, *killed)))
        await asyncio.sleep(1)  # for the subscriber
        truth = Truth(simulation)
        rows = (
            ("without kills", *compare(truth, _counted([steady], published)).cells),
            ("with kills", *compare(truth, _counted(killed, published)).cells),
        )
    plugs = sum(len(station.plugs) for station in stations)
    note = (
        f"{count} kills of {_BRIDGES} bridges with {plugs} plugs, each up to {_LIFETIME[1]:g} s after every plug "
        f"was polled; restarted after {_PAUSE[0]:g} to {_PAUSE[1]:g} s."
    )
    columns = ("bridges", "sessions", "energy", "error of the sum", "gap", "split", "joined", "missing", "doubled")
    return Table("kills", columns, rows, (note,))


async def _kill_all(bridges: Sequence[_Bridge], count: int, published: _Published) -> None:
    """Start the bridges, kill each several times, and leave all of them running."""
    async with asyncio.TaskGroup() as group:
        for number, bridge in enumerate(bridges):
            own = len(range(number, count, len(bridges)))
            group.create_task(_kill(bridge, own, published, Random(f"{_SEED}-{number}")))  # noqa: S311  # no secret


async def _kill(bridge: _Bridge, count: int, published: _Published, random: Random) -> None:
    await bridge.start()
    await asyncio.sleep(_FIRST_POLLS)
    for _ in range(count):
        await asyncio.sleep(random.uniform(*_LIFETIME))
        await bridge.end(signal.SIGKILL)
        await asyncio.sleep(random.uniform(*_PAUSE))
        restarted = time.monotonic()
        await bridge.start()
        await published.wait_for(bridge, restarted)


def _counted(bridges: Sequence[_Bridge], published: _Published) -> Iterator[Counted]:
    """Yield what bridges counted for each of their plugs, unless a plug was never available."""
    for bridge in bridges:
        for station, plug, topic in bridge.plugs:
            if topic not in published.first:
                continue
            yield Counted.of(bridge.url, station, plug, published.first[topic], published.last[topic])
