"""`purge`: what the bridge once published and the configuration no longer has."""

import asyncio
from pathlib import Path

import click

from evse_mqtt_bridge.bridge import plan_of
from evse_mqtt_bridge.broker.visit import visit
from evse_mqtt_bridge.cli.options import config_option, load_config
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.core.leftovers import Holding, leftovers
from evse_mqtt_bridge.core.messages import clear
from evse_mqtt_bridge.errors import UnavailableError

__all__ = ["purge"]


@click.command()
@config_option
@click.option("--yes", is_flag=True, help="Clear them, instead of only showing them.")
def purge(config: Path | None, *, yes: bool) -> None:
    """List retained topics of this bridge that the configuration no longer has; with --yes clear them.

    A running bridge clears what went by itself, also what went while it was not running. This is for the rest: what
    was left under another client id's plug, or when a bridge was given up. What the bridge did not publish is never
    touched.

    \b
    Examples:
      evse-mqtt-bridge purge
      evse-mqtt-bridge purge --yes
    """
    gone, refused = asyncio.run(_purge(load_config(config).config, clear_them=yes))
    for topic in gone:
        click.echo(topic)
    if not gone:
        click.echo("nothing is left over", err=True)
    elif not yes:
        click.echo(f"{len(gone)} topics are left over; clear them with: evse-mqtt-bridge purge --yes", err=True)
    else:
        click.echo(f"cleared {len(gone) - len(refused)} topics", err=True)
    if refused:
        raise UnavailableError(f"the broker refused to let this user clear {len(refused)} topics, such as {refused[0]}")


async def _purge(config: Config, *, clear_them: bool) -> tuple[list[str], list[str]]:
    plan = plan_of(config)
    holding = Holding(plan.topics, plan.client_id, plan.stations, plan.place, config.homeassistant.discovery_prefix)
    async with visit(config.mqtt, "purge") as guest:
        gone = leftovers(await guest.retained(holding.filters), holding)
        if clear_them and gone:
            await guest.publish(clear(gone))
        return gone, sorted(guest.refused)
