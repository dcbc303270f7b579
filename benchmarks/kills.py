"""Bridges that are killed while vehicles charge: their sessions against the true energy, and against a steady bridge.

Some bridges share the simulated stations. Each is killed with SIGKILL at random moments, and restarted after a random
pause. Another bridge polls all stations all the time. The stations run faster than real time, so that sessions also
begin and end during the measurement; the pauses of the killed bridges are in real time.
"""

import asyncio
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from benchmarks.broker import Broker
from benchmarks.counting_bridge import CountingBridge, Published, counted_by
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.session_truth import Truth, compare
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, generate_stations

__all__ = ["kills"]

_BRIDGES = 5
_STATIONS = 40  # of each killed bridge
_SPEED = 4.0
_INTERVAL = 8  # seconds; 32 simulated ones
_LIFETIME = (0.0, 15.0)  # seconds from then to the kill
_PAUSE = (1.0, 20.0)  # seconds from a kill to the next start
_FIRST_POLLS = 2 * _INTERVAL  # seconds, for all stations to be polled
_SEED = 16


def kills(effort: Effort) -> Iterator[Table]:
    """Yield the table of the energy and the sessions with and without kills."""
    yield asyncio.run(_measure(effort.kills))


async def _measure(count: int) -> Table:
    stations = generate_stations(_BRIDGES * _STATIONS, plugs=2, seed=_SEED)
    simulation = Simulation(stations, datetime.now(UTC), _SPEED)
    published = Published()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        server = await stack.enter_async_context(SimulatorServer(simulation))
        broker = stack.enter_context(Broker(folder / "broker"))

        def bridge_of(name: str, own: Sequence[SimulatedStation]) -> CountingBridge:
            return CountingBridge(name, folder, own, _INTERVAL, f"sqlite:///{folder}/{name}.sqlite")

        steady = bridge_of("steady", stations)
        killed = [
            bridge_of(f"killed-{number}", stations[number * _STATIONS :][:_STATIONS]) for number in range(_BRIDGES)
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
            ("without kills", *compare(truth, counted_by([steady], published)).cells),
            ("with kills", *compare(truth, counted_by(killed, published)).cells),
        )
    plugs = sum(len(station.plugs) for station in stations)
    note = (
        f"{count} kills of {_BRIDGES} bridges with {plugs} plugs, each up to {_LIFETIME[1]:g} s after every plug "
        f"was polled; restarted after {_PAUSE[0]:g} to {_PAUSE[1]:g} s."
    )
    columns = ("bridges", "sessions", "energy", "error of the sum", "gap", "split", "joined", "missing", "doubled")
    return Table("kills", columns, rows, (note,))


async def _kill_all(bridges: Sequence[CountingBridge], count: int, published: Published) -> None:
    """Start the bridges, kill each several times, and leave all of them running."""
    async with asyncio.TaskGroup() as group:
        for number, bridge in enumerate(bridges):
            own = len(range(number, count, len(bridges)))
            group.create_task(_kill(bridge, own, published, Random(f"{_SEED}-{number}")))  # noqa: S311  # no secret


async def _kill(bridge: CountingBridge, count: int, published: Published, random: Random) -> None:
    await bridge.start()
    await asyncio.sleep(_FIRST_POLLS)
    for _ in range(count):
        await asyncio.sleep(random.uniform(*_LIFETIME))
        await bridge.end(signal.SIGKILL)
        await asyncio.sleep(random.uniform(*_PAUSE))
        restarted = time.monotonic()
        await bridge.start()
        await published.wait_for(bridge, restarted)
