"""`health`: whether a bridge with this configuration is on its broker."""

import asyncio
from pathlib import Path

import click

from evse_mqtt_bridge.broker.visit import visit
from evse_mqtt_bridge.cli.options import config_option, load_config
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.core.topics import Topics
from evse_mqtt_bridge.errors import UnavailableError

__all__ = ["health"]


@click.command()
@config_option
def health(config: Path | None) -> None:
    """Ask the broker whether the bridge is online; for health checks of containers and monitoring.

    Exit code 0 when the bridge's retained availability is `online`, 69 when it is not, or the broker cannot be asked.

    \b
    Example:
      evse-mqtt-bridge health --config /etc/evse-mqtt-bridge/config.toml
    """
    loaded = load_config(config)
    word = asyncio.run(_availability(loaded.config))
    if word != "online":
        raise UnavailableError(f"the bridge is {word or 'not known to the broker'}")
    click.echo("online")


async def _availability(config: Config) -> str:
    topic = Topics(config.mqtt.base_topic).availability
    async with visit(config.mqtt, "health") as guest:
        return (await guest.retained([topic], quiet=0.5)).get(topic, b"").decode(errors="replace")
