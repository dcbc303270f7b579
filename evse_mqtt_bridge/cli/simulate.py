"""The command `simulate`: serves simulated stations through the vendor's API, for use before real ones exist."""

import click
from click.core import ParameterSource

__all__ = ["simulate"]


@click.command()
@click.option("--stations", type=click.IntRange(1, 20_000), default=3, show_default=True, help="Number of stations.")
@click.option("--plugs", type=click.IntRange(1, 64), default=2, show_default=True, help="Plugs per station.")
@click.option("--example", is_flag=True, help="Serve the single station of the vendor's published example instead.")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed gives the same stations, sessions and faults."
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="Simulated seconds per second. At 60, a charging session takes a minute or two.",
)
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of requests that fail: status 500, 503 or 429, late, unanswered, truncated, or an HTML page.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=3032,
    show_default=True,
    help="Port to listen on. 0: any free port.",
)
@click.option("--cert-file", default="", metavar="FILE", help="PEM certificate. Enables TLS.")
@click.option("--key-file", default="", metavar="FILE", help="PEM key, if the certificate file does not contain it.")
@click.option("--verbose", is_flag=True, help="Log each request to stderr.")
@click.pass_context
def simulate(  # noqa: PLR0913  # one argument per option
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
    """Serve simulated charging stations until Ctrl-C.

    The HTTP server answers like the vendor's API. Simulated vehicles arrive, charge on one to three phases within a
    current limit that changes, and leave; now and then a plug reports an error. Use it to build flows and dashboards
    before the chargers are installed.

    The command prints a complete configuration for `run` to stdout, with the address and the simulated tokens. Messages
    go to stderr.

    \b
    Three stations, a configuration for them, and a bridge that polls them:
      evse-mqtt-bridge simulate > simulated.toml &
      evse-mqtt-bridge run --config simulated.toml
    \b
    A day in 24 minutes, for 20 stations with one plug each:
      evse-mqtt-bridge simulate --stations 20 --plugs 1 --speed 60
    \b
    Test how flows behave if the cloud is unreliable:
      evse-mqtt-bridge simulate --fault-rate 0.2 --verbose
    \b
    TLS with a self-signed certificate:
      openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem \\
        -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \\
        -addext keyUsage=critical,digitalSignature,keyCertSign
      evse-mqtt-bridge simulate --cert-file cert.pem --key-file key.pem
    \b
    Without the bridge:
      evse-mqtt-bridge simulate --example
      station=edgedevices/example-device/evses/25104c56d7f848af830af4300193efb3
      curl -H 'evsetoken: simulated-token-example' \\
        http://127.0.0.1:3032/$station/status
    """
    if example:
        for name in ("stations", "plugs"):
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
                raise click.UsageError(f"--example has its own station and plugs: leave --{name} out.")
    if key_file and not cert_file:
        raise click.UsageError("--key-file needs the certificate that it belongs to: add --cert-file.")

    from evse_mqtt_bridge.cli.actions.simulate import serve, simulated_stations  # noqa: PLC0415  # when it runs

    serve(
        simulated_stations(stations, plugs, seed, example=example),
        host=host,
        port=port,
        seed=seed,
        speed=speed,
        fault_rate=fault_rate,
        cert_file=cert_file,
        key_file=key_file,
        verbose=verbose,
    )
