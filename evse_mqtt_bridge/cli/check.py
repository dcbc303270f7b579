"""`check`: is the configuration right, and with `--online`, does what it names answer."""

import asyncio
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, load_config
from evse_mqtt_bridge.cli.common.tables import plug_lines
from evse_mqtt_bridge.cloud.client import validate
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import with_topics
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.mqtt.one_shot import one_shot
from evse_mqtt_bridge.support.errors import UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["check"]


@click.command()
@config_option
@click.option("--online", is_flag=True, help="Also try the broker and each station.")
def check(config: Path | None, *, online: bool) -> None:
    """Validate the configuration; with --online, say what the broker and each station answer.

    \b
    Examples:
      evse-mqtt-bridge check
      evse-mqtt-bridge check --online --config /etc/evse-mqtt-bridge/config.toml

    Exit codes: 0 all is well, 78 the configuration is wrong, 69 something did not answer as it should.
    """
    loaded = load_config(config)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    validate(loaded.config.cloud)
    where = loaded.path or "the environment"
    count = len(loaded.config.stations)
    click.echo(f"{where} is valid: {count} station{'' if count == 1 else 's'}")
    if online and not asyncio.run(_try(loaded.config)):
        raise UnavailableError("not everything answered as it should: see above")


async def _try(config: Config) -> bool:
    """Whether broker and stations answer; prints a line for each."""
    broker = f"broker {config.mqtt.address}"
    well = True
    try:
        async with one_shot(config.mqtt, "check"):
            click.echo(f"{broker}: accepted the connection")
    except UnavailableError as error:
        click.echo(str(error), err=True)
        well = False
    if not config.stations:
        return well
    for station, answer in zip(config.stations, await poll_once(config.cloud, config.stations), strict=True):
        outcome = with_topics(answer, station.station(config.polling))
        title = clean(station.name or station.alias or station.uuid)
        if isinstance(outcome, Failure):
            click.secho(f"{title}: {outcome.reason}: {outcome.detail}", fg="red")
            well = False
            continue
        click.echo(title)
        for line in plug_lines(outcome.plugs):
            click.echo(f"  {line}")
        for note in outcome.notes:
            click.secho(f"  {note}", fg="yellow")
    return well
