"""Serves simulated stations through the vendor's API, and prints a configuration for a bridge that polls them."""

import asyncio
import math
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import tomlkit

from evse_mqtt_bridge.simulator.faults import Faults
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, example_station, generate_stations
from evse_mqtt_bridge.support.tls import server_context

__all__ = ["configuration_text", "serve", "simulated_stations"]

_INTERVAL = 30
"""Seconds; the default of `polling.interval`."""

_POLLS_PER_SECOND = 40
"""Less than the default of `cloud.max_requests_per_second`, so that polls are never delayed."""


def simulated_stations(stations: int, plugs: int, seed: int, *, example: bool) -> tuple[SimulatedStation, ...]:
    """Return simulated stations.

    Args:
        stations: Number of stations.
        plugs: Plugs per station.
        seed: Seed of the simulation.
        example: Whether to return the single station of the vendor's published example instead.
    """
    return (example_station(),) if example else generate_stations(stations, plugs, seed)


def serve(  # noqa: PLR0913  # one argument per option
    stations: tuple[SimulatedStation, ...],
    *,
    host: str,
    port: int,
    seed: int,
    speed: float,
    fault_rate: float,
    cert_file: str,
    key_file: str,
    verbose: bool,
) -> None:
    """Serve the stations until SIGINT or SIGTERM.

    Args:
        stations: The stations.
        host: Address to listen on.
        port: Port to listen on, 0 to 65535; 0: any free port.
        seed: Seed of the faults.
        speed: Simulated seconds per second.
        fault_rate: Share of requests that fail, 0 to 1.
        cert_file: PEM certificate, which enables TLS; empty: no TLS.
        key_file: PEM key of the certificate; empty: the key is in `cert_file`.
        verbose: Whether to log each request to stderr.

    Raises:
        CertificateError: The certificate or the key cannot be used.
        SimulatorError: The port cannot be used.
    """
    server = SimulatorServer(
        Simulation(stations, datetime.now(UTC), speed),
        host,
        port,
        faults=Faults(seed, fault_rate),
        tls=server_context(cert_file, key_file) if cert_file else None,
        on_request=(lambda line: click.echo(line, err=True)) if verbose else (lambda _: None),
    )
    asyncio.run(_serve(server, stations, speed, cert_file))


async def _serve(server: SimulatorServer, stations: Sequence[SimulatedStation], speed: float, cert_file: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with server:
        click.echo(configuration_text(stations, server.url, speed, cert_file), nl=False)
        count = "1 station" if len(stations) == 1 else f"{len(stations)} stations"
        pace = "" if speed == 1 else f", {speed:g} times as fast as real time"
        click.echo(f"Simulating {count} at {server.url}{pace}. Press Ctrl-C to stop.", err=True)
        await stop.wait()


def configuration_text(stations: Sequence[SimulatedStation], url: str, speed: float = 1.0, cert_file: str = "") -> str:
    """Return a configuration file for stations that are served at `url`.

    Args:
        stations: The stations.
        url: Address of the simulator.
        speed: Simulated seconds per second; the faster, the shorter the poll interval.
        cert_file: The certificate of the simulator, which the bridge trusts; empty: no TLS.
    """
    interval = max(1, round(_INTERVAL / speed), math.ceil(len(stations) / _POLLS_PER_SECOND))
    lines = [
        "# Simulated stations. Run the bridge with: evse-mqtt-bridge run --config FILE",
        "[mqtt]",
        'host = "localhost"  # your broker',
        "# Not the defaults, so that this bridge does not disturb a real one on the same broker:",
        'client_id = "evse-mqtt-bridge-simulated"',
        'base_topic = "evse-simulated"',
        "",
        "[cloud]",
        f"base_url = {_quoted(url)}",
    ]
    if cert_file:
        path = str(Path(cert_file).absolute())
        lines.append(f"ca_file = {_quoted(path)}  # for a self-signed certificate; otherwise the CA that issued it")
    if interval != _INTERVAL:
        lines += ["", "[polling]", f"interval = {interval}"]
    for number, station in enumerate(stations, 1):
        plugs = ", ".join(f'{plug.uuid} = "plug-{n}"' for n, plug in enumerate(station.plugs, 1))
        lines += [
            "",
            "[[stations]]",
            f"edge_device_id = {_quoted(station.edge_device_id)}",
            f"uuid = {_quoted(station.uuid)}",
            f"token = {_quoted(station.token)}",
            f"name = {_quoted(station.name)}",
            f'alias = "simulated-{number}"',
            f"plugs = {{ {plugs} }}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return tomlkit.string(text).as_string()
