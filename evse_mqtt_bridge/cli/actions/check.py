"""Validates a configuration, and tests the broker and the stations that it names."""

import asyncio
from pathlib import Path

import click

from evse_mqtt_bridge.cli.actions.fleet import fleet_line, observe
from evse_mqtt_bridge.cli.common.columns import output_width
from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cli.common.tables import reading_lines
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.cloud.transport import choose_transport
from evse_mqtt_bridge.config.schema import Config, Mqtt
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.domain.plugs import drop_plugs_without_topic
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.support.errors import UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["check_config"]

_INDENT = "  "


def check_config(config: Path | None, *, online: bool) -> None:
    """Validate the configuration and print the result; if `online`, also test the broker, the engine and each station.

    Raises:
        ConfigError: The configuration is invalid.
        UnavailableError: The broker or a station failed the test.
    """
    loaded = load_config(config)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    choose_transport(loaded.config.cloud)  # raises if the settings select none
    count = len(loaded.config.stations)
    click.echo(f"{loaded.path or 'the environment'} is valid: {count} station{'' if count == 1 else 's'}")
    if online and not asyncio.run(_test_services(loaded.config)):
        raise UnavailableError("not every test passed; see above")


async def _test_services(config: Config) -> bool:
    """Test the broker, the engine and each station, print a result for each, and return whether all passed."""
    broker_passed = await _test_broker(config.mqtt)
    engine_passed = await _test_engine(config)
    stations_passed = await _test_stations(config)
    return broker_passed and engine_passed and stations_passed


async def _test_broker(settings: Mqtt) -> bool:
    try:
        async with one_shot_client(settings, "check") as client:
            click.echo(f"broker {settings.address}: connection accepted, MQTT {client.version}")
    except UnavailableError as error:
        click.echo(str(error), err=True)
        return False
    return True


async def _test_engine(config: Config) -> bool:
    fleet = config.fleet
    if fleet is None or fleet.engine == "static":
        return True
    try:
        view = await observe(config)
    except UnavailableError as error:
        click.echo(str(error), err=True)
        return False
    click.echo(f"engine {fleet.engine}: {fleet_line(view, fleet.shards)}")
    return True


async def _test_stations(config: Config) -> bool:
    if not config.stations:
        return True
    passed = True
    for settings, answer in zip(config.stations, await poll_once(config.cloud, config.stations), strict=True):
        station = settings.station(config.polling)
        outcome = drop_plugs_without_topic(answer, station)
        title = clean(station.title)
        if isinstance(outcome, Failure):
            click.secho(f"{title}: {outcome.reason}: {outcome.detail}", fg="red")
            passed = False
            continue
        click.echo(title)
        for line in reading_lines(outcome.plugs, station, output_width() - len(_INDENT)):
            click.echo(f"{_INDENT}{line}")
        for note in outcome.notes:
            click.secho(f"{_INDENT}{note}", fg="yellow")
    return passed
