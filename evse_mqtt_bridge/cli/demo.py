"""The command `demo`: runs simulated stations, a broker and the bridge on this machine."""

import click

__all__ = ["demo"]


@click.command()
@click.option("--stations", type=click.IntRange(1, 100), default=3, show_default=True, help="Number of stations.")
@click.option("--plugs", type=click.IntRange(1, 8), default=2, show_default=True, help="Plugs per station.")
@click.option(
    "--speed", type=click.FloatRange(0.1, 1000), default=60, show_default=True, help="Simulated seconds per second."
)
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed gives other vehicles.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=1883,
    show_default=True,
    help="Port of the broker. If it is in use, a free one is selected.",
)
@click.option(
    "--broker",
    type=click.Choice(["auto", "mosquitto", "amqtt"]),
    default="auto",
    show_default=True,
    help="auto: Mosquitto if it is installed, else amqtt.",
)
@click.option("--seconds", type=click.FloatRange(0.1), default=None, help="Stop after this number of seconds.")
def demo(  # noqa: PLR0913  # one argument per option
    *, stations: int, plugs: int, speed: float, seed: int, port: int, broker: str, seconds: float | None
) -> None:
    """Try the bridge with simulated stations.

    The demo runs simulated stations, a broker and the bridge on this machine. There is nothing to configure. Everything
    listens on 127.0.0.1 only. Ctrl-C stops it and leaves nothing behind.

    \b
    Examples:
      evse-mqtt-bridge demo
      evse-mqtt-bridge demo --stations 20 --speed 300
      evse-mqtt-bridge demo --seconds 30 | cat     # plain lines, no table
    """
    from evse_mqtt_bridge.cli.actions.demo import run_demo  # noqa: PLC0415  # imported when the command runs

    run_demo(stations=stations, plugs=plugs, seed=seed, speed=speed, port=port, broker=broker, seconds=seconds)
