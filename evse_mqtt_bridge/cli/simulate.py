"""`simulate`: a stand-in for the vendor's cloud, for building on stations that are not there yet."""

import asyncio
import math
import signal
from datetime import UTC, datetime
from pathlib import Path

import click
import tomlkit
from click.core import ParameterSource

from evse_mqtt_bridge.simulator.faults import Faults
from evse_mqtt_bridge.simulator.server import SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, example_station, living_stations
from evse_mqtt_bridge.support.tls import server_context

__all__ = ["configuration_text", "simulate"]

_INTERVAL = 30
"""Seconds; the default of `polling.interval`."""


@click.command()
@click.option("--stations", type=click.IntRange(1, 20_000), default=3, show_default=True, help="How many stations.")
@click.option("--plugs", type=click.IntRange(1, 64), default=2, show_default=True, help="How many plugs each has.")
@click.option("--example", is_flag=True, help="Serve the one station of the vendor's published example instead.")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed gives the same stations, lives and faults."
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="Simulated seconds per second; at 60 a charging session takes a minute or two.",
)
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of answers that are faults: status 500, 503 or 429, too late, none at all, cut off, a web page.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=3032, show_default=True, help="Port to listen on; 0: any."
)
@click.option("--cert-file", default="", metavar="FILE", help="PEM certificate; its presence turns TLS on.")
@click.option("--key-file", default="", metavar="FILE", help="PEM key, where it is not in the certificate's file.")
@click.option("--verbose", is_flag=True, help="Say a line on stderr for each request.")
@click.pass_context
def simulate(  # noqa: PLR0913  # one argument an option
    context: click.Context,
    *,
    stations: int,
    plugs: int,
    example: bool,
    seed: int,
    speed: float,
    fault_rate: float,
    host: str,
    port: int,
    cert_file: str,
    key_file: str,
    verbose: bool,
) -> None:
    """Serve simulated charging stations, until Ctrl-C.

    An HTTP server that answers as the vendor's API does, with stations that live: vehicles come, charge on one to
    three phases below the limit of a load management, and leave; now and then something breaks. Flows and dashboards
    can be built with it before the chargers are there.

    stdout gets a whole configuration for `run`, with the address and the (simulated) tokens in it; all else that is
    said goes to stderr.

    \b
    Three stations, a configuration for them, and the bridge with it:
      evse-mqtt-bridge simulate > simulated.toml &
      evse-mqtt-bridge run --config simulated.toml
    \b
    One day in 24 minutes, for 20 stations with one plug each:
      evse-mqtt-bridge simulate --stations 20 --plugs 1 --speed 60
    \b
    What happens to my flows when the cloud is unreliable?
      evse-mqtt-bridge simulate --fault-rate 0.2 --verbose
    \b
    Over TLS, with a certificate made on the spot:
      openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem \\
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \\
        -addext keyUsage=critical,digitalSignature,keyCertSign
      evse-mqtt-bridge simulate --cert-file cert.pem --key-file key.pem
    \b
    A look without the bridge:
      evse-mqtt-bridge simulate --example
      curl -H 'evsetoken: simulated-token-example' \\
        http://127.0.0.1:3032/edgedevices/example-device/evses/25104c56d7f848af830af4300193efb3/status
    """
    if example:
        for name in ("stations", "plugs"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"--example has its own station and plugs: leave --{name} out.")
    if key_file and not cert_file:
        raise click.UsageError("--key-file needs the certificate it belongs to: add --cert-file.")
    served = (example_station(),) if example else living_stations(stations, plugs, seed)
    server = SimulatorServer(
        Simulation(served, datetime.now(UTC), speed),
        host,
        port,
        faults=Faults(seed, fault_rate),
        tls=server_context(cert_file, key_file) if cert_file else None,
        on_request=(lambda line: click.echo(line, err=True)) if verbose else (lambda _: None),
    )
    asyncio.run(_serve(server, served, speed, cert_file))


async def _serve(server: SimulatorServer, stations: tuple[SimulatedStation, ...], speed: float, cert_file: str) -> None:
    """Until SIGINT or SIGTERM."""
    asked_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_end.set)
    async with server:
        click.echo(configuration_text(stations, server.url, speed, cert_file), nl=False)
        count = "1 station" if len(stations) == 1 else f"{len(stations)} stations"
        pace = "" if speed == 1 else f", {speed:g} times as fast as life"
        click.echo(f"Simulating {count} at {server.url}{pace}. Ctrl-C ends it.", err=True)
        await asked_to_end.wait()


def configuration_text(
    stations: tuple[SimulatedStation, ...], url: str, speed: float = 1.0, cert_file: str = ""
) -> str:
    """A configuration file for `stations` served at `url`, polled often enough for `speed`."""
    # Faster than 40 polls a second would run into the default of cloud.max_requests_per_second.
    interval = max(1, round(_INTERVAL / speed), math.ceil(len(stations) / 40))
    lines = [
        "# Simulated stations; try it with: evse-mqtt-bridge run --config FILE",
        "[mqtt]",
        'host = "localhost"  # your broker',
        'client_id = "evse-mqtt-bridge-simulated"  # this and the next: so that it disturbs no real bridge',
        'base_topic = "evse-simulated"',
        "",
        "[cloud]",
        f"base_url = {_quoted(url)}",
    ]
    if cert_file:
        path = str(Path(cert_file).absolute())
        lines.append(f"ca_file = {_quoted(path)}  # right where it is self-signed; else the CA that issued it")
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
