"""`check`: is the configuration right, and with `--online`, does what it names answer."""

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from evse_mqtt_bridge.broker.session import tls_context
from evse_mqtt_bridge.broker.visit import visit
from evse_mqtt_bridge.cli.options import config_option, load_config
from evse_mqtt_bridge.cloud.client import tls_context as cloud_tls_context
from evse_mqtt_bridge.cloud.survey import survey
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.core.messages import number
from evse_mqtt_bridge.core.model import Failure, PlugReading
from evse_mqtt_bridge.core.text import clean
from evse_mqtt_bridge.errors import UnavailableError

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
    tls_context(loaded.config.mqtt.tls)
    cloud_tls_context(loaded.config.cloud.ca_file)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    where = loaded.path or "the environment"
    click.echo(f"{where} is valid: {len(loaded.config.stations)} stations")
    if online and not asyncio.run(_try(loaded.config)):
        raise UnavailableError("not everything answered as it should: see above")


async def _try(config: Config) -> bool:
    """Whether broker and stations answer; prints a line for each."""
    broker = f"broker {config.mqtt.host}:{config.mqtt.effective_port}"
    well = True
    try:
        async with visit(config.mqtt, "check"):
            click.echo(f"{broker}: accepted the connection")
    except UnavailableError as error:
        click.echo(str(error), err=True)
        well = False
    if not config.stations:
        return well
    outcomes = await survey(config.cloud, config.stations)
    table = Table("station", "plug", "status", "power", "currents", "limit", "measured", box=None, pad_edge=False)
    for station, outcome in zip(config.stations, outcomes, strict=True):
        title = clean(station.name or station.alias or station.uuid)
        if isinstance(outcome, Failure):
            table.add_row(title, f"{outcome.reason}: {outcome.detail}", style="red")
            well = False
            continue
        for plug in outcome.plugs:
            table.add_row(title, *_cells(plug))
        for note in outcome.notes:
            table.add_row(title, note, style="yellow")
    Console(markup=False).print(table)
    return well


def _cells(plug: PlugReading) -> list[str]:
    def show(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{number(value)} {unit}"

    currents = " / ".join(show(value, "A") for value in (plug.current_l1, plug.current_l2, plug.current_l3))
    measured = plug.time.isoformat(timespec="seconds").replace("+00:00", "Z") if plug.time else "-"
    return [
        clean(plug.label or plug.plug_uuid),
        clean(plug.status or "-"),
        show(plug.power, "W"),
        currents,
        show(plug.dyn_current_limit, "A"),
        measured,
    ]
