"""Outages of the history while bridges run: a full disk and a stopped server, the sessions against the truth.

Two bridges poll the same simulated stations, which run faster than real time. One has its history in an SQLite file
on a small file system, which is filled; the other one in PostgreSQL, which is stopped. The outage lasts for some time
after a write has failed. Then the sessions in both histories are compared with those of the simulation.
"""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.broker import Broker
from benchmarks.counting_bridge import CountingBridge, Published, counted_by
from benchmarks.effort import Effort
from benchmarks.report import Table
from benchmarks.session_truth import Counted, Truth, compare
from benchmarks.subscriber import Subscriber
from evse_mqtt_bridge.simulator.scenario import PlugScenario
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import Simulation, generate_stations
from tests.harness.postgres import PostgreSql, find_postgres

__all__ = ["outages"]

_STATIONS = 100
_SPEED = 20.0
_INTERVAL = 2  # seconds; 40 simulated ones
_FIRST_WRITES = 35.0  # seconds, so that each history is written before the outage
_FAILURE_LIMIT = 90.0  # seconds until a write fails
_RESTORE_LIMIT = 150.0  # seconds until a write succeeds again
_LAST_POLLS = 10.0  # seconds
_DISK = "16m"
_SEED = 17


@dataclass(frozen=True, slots=True)
class _Outage:
    """A history, and how it fails.

    Attributes:
        name: The name of its row.
        url: The database.
        begin: Makes the database fail.
        end: Makes it work again.
    """

    name: str
    url: str
    begin: Callable[[], object]
    end: Callable[[], object]


def outages(effort: Effort) -> Iterator[Table]:
    """Yield the table of the sessions of bridges whose history cannot be written for some time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outages-")))
        found = (_full_disk(folder / "disk", stack), _stopped_server(stack))
        measured = [each for each in found if isinstance(each, _Outage)]
        notes = tuple(each for each in found if isinstance(each, str))
        yield asyncio.run(_measure(folder, measured, effort.outage, notes))


def _full_disk(folder: Path, stack: ExitStack) -> _Outage | str:
    """Mount a file system; return the reason if that is not possible."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        return f"The full disk was not measured, because no file system can be mounted: {result.stderr.strip()}"
    stack.callback(lambda: subprocess.run(["umount", "--lazy", folder], check=True))
    filler = folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    return _Outage("SQLite, disk full", f"sqlite:///{folder}/history.sqlite", fill, filler.unlink)


def _stopped_server(stack: ExitStack) -> _Outage | str:
    """Start PostgreSQL; return the reason if that is not possible."""
    if find_postgres() is None:
        return "The stopped server was not measured, because PostgreSQL is not installed."
    server = PostgreSql().create()
    stack.callback(server.close)
    return _Outage("PostgreSQL, stopped", server.new_database(), server.stop, server.start)


async def _measure(folder: Path, measured: list[_Outage], seconds: float, notes: tuple[str, ...]) -> Table:
    stations = generate_stations(_STATIONS, plugs=2, seed=_SEED)
    simulation = Simulation(stations, datetime.now(UTC), _SPEED)
    published = Published()
    bridges = [
        CountingBridge(f"bridge-{at}", folder, stations, _INTERVAL, each.url) for at, each in enumerate(measured)
    ]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SimulatorServer(simulation))
        broker = stack.enter_context(Broker(folder / "broker"))
        stack.enter_context(Subscriber(broker.port, "+/+/+/state", on_message=published.receive))
        for bridge in bridges:
            bridge.configure(broker.port, server.url)
            stack.push_async_callback(bridge.end, signal.SIGTERM)
            await bridge.start()
        await asyncio.sleep(_FIRST_WRITES)
        spans = await asyncio.gather(
            *(_fail(each, bridge, seconds) for each, bridge in zip(measured, bridges, strict=True))
        )
        await asyncio.sleep(_LAST_POLLS)
        await asyncio.gather(*(bridge.end(signal.SIGTERM) for bridge in bridges))
        await asyncio.sleep(1)  # for the subscriber
    truth = Truth(simulation)
    rows = tuple(
        _row(each, truth, list(counted_by([bridge], published)), span)
        for each, bridge, span in zip(measured, bridges, spans, strict=True)
    )
    note = f"{_STATIONS * 2} plugs, polled every {_INTERVAL} s, which run {_SPEED:g} times as fast as real ones."
    columns = ("outage", "lasted", "ended meanwhile", "sessions", "error of the sum", "gap")
    return Table("outages", (*columns, "split", "joined", "missing", "doubled"), rows, (note, *notes))


async def _fail(outage: _Outage, bridge: CountingBridge, seconds: float) -> tuple[datetime, datetime]:
    """Make a history fail until some seconds after a failed write; return its begin and its end."""
    began = datetime.now(UTC)
    await asyncio.to_thread(outage.begin)
    try:
        await _wait_for(bridge, "history cannot be written", _FAILURE_LIMIT)
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(outage.end)
    restored = datetime.now(UTC)
    await _wait_for(bridge, "history is written again", _RESTORE_LIMIT)
    return began, restored


async def _wait_for(bridge: CountingBridge, text: str, limit: float) -> None:
    async with asyncio.timeout(limit):
        while text not in bridge.log:  # noqa: ASYNC110  # a file has no event
            await asyncio.sleep(0.2)


def _row(outage: _Outage, truth: Truth, plugs: list[Counted], span: tuple[datetime, datetime]) -> tuple[str, ...]:
    began, restored = map(truth.second, span)
    meanwhile = 0
    for plug in plugs:
        scenario = plug.plug.scenario
        if isinstance(scenario, PlugScenario):
            last = truth.second(plug.last)
            sessions, _ = truth.sessions(scenario, truth.second(plug.first), last)
            meanwhile += sum(began <= end < restored for _, end in sessions if end < last)
    sessions_found, _, error, gap, *differences = compare(truth, plugs).cells
    lasted = f"{(span[1] - span[0]).total_seconds():.0f} s"
    return outage.name, lasted, str(meanwhile), sessions_found, error, gap, *differences
