"""`status`: the picture of a running bridge, once."""

import os
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from evse_mqtt_bridge.cli.common.options import config_option
from evse_mqtt_bridge.cli.common.render import UNLIMITED, heading, listing
from evse_mqtt_bridge.cli.common.status_client import Viewer, only_stations, only_unavailable, url_option, where
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import Snapshot, to_json

__all__ = ["is_fine", "status"]

_NOTHING = "all of it is online"
_NO_STATION = "the bridge has no station; add one with `evse-mqtt-bridge station add`"


@click.command()
@click.argument("stations", metavar="[STATION]...", nargs=-1)
@config_option
@url_option
@click.option("--unavailable", is_flag=True, help="Show only what is not online.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--check", is_flag=True, help="Exit with 1 unless all that is shown is as it should be.")
def status(  # noqa: PLR0913  # one argument for each option
    *, stations: tuple[str, ...], config: Path | None, url: str | None, unavailable: bool, as_json: bool, check: bool
) -> None:
    """Show what a running bridge knows: itself, the broker, and each station and plug.

    STATION is the name, uuid or alias of one; without any, all are shown. The bridge is looked for at --url, else where
    [http] of the configuration says that it listens; without a configuration, where it does by default. A wide terminal
    gets one table, a narrow one the plugs beneath their stations; a pipe gets a line for each plug, nothing cut off.

    With --check it is fit for monitoring: the first line says how things are, and the exit code is 1 unless the bridge
    is healthy and connected to its broker, and each station and plug (of those named) is online. Right after the start
    that is not so, until each station was asked.

    \b
    Examples:
      evse-mqtt-bridge status
      evse-mqtt-bridge status "Garage north"
      evse-mqtt-bridge status --unavailable --url http://192.0.2.10:9480
      evse-mqtt-bridge status --json | jq -r '.stations[].plugs[] | [.name, .status, .power] | @tsv'
      evse-mqtt-bridge status --check > /dev/null || echo "look at the chargers"

    Exit codes: 0 shown, and the bridge is healthy; 1 it is not, or with --check something else is wrong; 2 no such
    station; 69 no bridge answers there; 78 the configuration is wrong.
    """
    with Viewer(where(config, url)) as viewer:
        body, picture = viewer.look()
    named = only_stations(picture, stations)
    shown = only_unavailable(named) if unavailable else named
    if as_json:
        click.echo(body if shown is picture else to_json(shown))
    else:
        _print(picture, shown, only=unavailable)
    if not picture.health.healthy or (check and not is_fine(named)):
        click.get_current_context().exit(1)


def is_fine(picture: Snapshot) -> bool:
    """Whether the bridge is healthy and connected, and each station and plug of the picture is online."""
    stations = picture.stations
    reasons = {station.reason for station in stations} | {plug.reason for item in stations for plug in item.plugs}
    return picture.health.healthy and picture.health.ready and reasons <= {Reason.ONLINE}


def _print(picture: Snapshot, shown: Snapshot, *, only: bool) -> None:
    """The heading is that of the whole bridge."""
    console = Console(highlight=False)
    width = console.width if console.is_terminal or "COLUMNS" in os.environ else UNLIMITED
    lines = [*(line.text for line in heading(picture)), Text(), *(line.text for line in listing(shown, width))]
    if not shown.stations:
        lines.append(Text(_NOTHING if only else _NO_STATION))
    for line in lines:
        if console.is_terminal:
            console.print(line, soft_wrap=True)
        else:
            click.echo(line.plain.rstrip())
