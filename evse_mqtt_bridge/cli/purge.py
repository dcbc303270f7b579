"""`purge`: what the bridge once published and the configuration no longer has."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, load_config, naming
from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.mqtt.one_shot import one_shot
from evse_mqtt_bridge.publishing.messages import clear
from evse_mqtt_bridge.publishing.orphans import Holding, is_online, orphans
from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["purge"]


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Everything of this bridge, to give it up for good.")
@click.option("--yes", is_flag=True, help="Clear them, instead of only showing them.")
def purge(config: Path | None, *, everything: bool, yes: bool) -> None:
    """List retained topics of this bridge that the configuration no longer has; with --yes clear them.

    A running bridge clears what went by itself, also what went while it was not running. This is for the rest: what a
    bridge with another client_id left under the same base topic, or what could not be cleared at its time. What the
    bridge did not publish is never touched.

    With --all it is everything that the bridge ever published, also for the stations that it still has, and its own
    device in Home Assistant: for a bridge that is given up. Stop it first; while it is online nothing is cleared.

    \b
    Examples:
      evse-mqtt-bridge purge
      evse-mqtt-bridge purge --yes
      evse-mqtt-bridge purge --all --yes

    Exit codes: 0 done, 1 the bridge is online, 69 the broker does not answer, or refuses, 78 the configuration is
    wrong.
    """
    loaded = load_config(config)
    found = asyncio.run(_purge(loaded.config, everything=everything, clear_them=yes))
    if everything and yes and found.online:
        words = f"the bridge is online, and nothing was cleared; stop it first, so that {found.online} says offline"
        way = f"a broker that missed its end is told by: mosquitto_pub -r -t {found.online} -m offline"
        click.echo(f"{words} ({way})", err=True)
        raise click.exceptions.Exit(1)
    for topic in found.topics:
        click.echo(topic)
    count, command = len(found.topics), f"purge{' --all' if everything else ''} --yes{naming(loaded.path)}"
    if not count:
        click.echo("nothing is left over", err=True)
    elif not yes:
        click.echo(f"topics that can be cleared: {count}; clear them with: evse-mqtt-bridge {command}", err=True)
    else:
        click.echo(f"cleared: {count - len(found.refused)}", err=True)
    if found.refused:
        refused = f"{len(found.refused)} of them, such as {found.refused[0]}"
        raise UnavailableError(f"the broker refused to let this user clear {refused}")


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is to clear, which of it was refused, and the bridge's availability topic where that says online."""

    topics: list[str]
    refused: list[str]
    online: str


async def _purge(config: Config, *, everything: bool, clear_them: bool) -> _Found:
    plan = publishing_plan(config)
    holding = Holding(plan.topics, plan.client_id, plan.stations, plan.place, config.homeassistant.discovery_prefix)
    async with one_shot(config.mqtt, "purge") as guest:
        retained = await guest.retained(holding.filters)
        topics = orphans(retained, holding, everything=everything)
        online = holding.topics.availability if is_online(retained, holding) else ""
        if clear_them and topics and not (everything and online):
            await guest.publish(clear(topics))
        return _Found(topics, sorted(guest.refused), online)
