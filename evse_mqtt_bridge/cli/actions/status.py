"""Prints a snapshot of a running bridge, as text or as JSON."""

from pathlib import Path

import click
from rich.text import Text

from evse_mqtt_bridge.cli.common.columns import output_width
from evse_mqtt_bridge.cli.common.console import stdout_console
from evse_mqtt_bridge.cli.common.render import heading, listing
from evse_mqtt_bridge.cli.common.status_client import (
    StatusClient,
    running_bridge_address,
    select_stations,
    select_unavailable,
)
from evse_mqtt_bridge.domain.model import Reason
from evse_mqtt_bridge.observability.snapshot import Snapshot, to_json

__all__ = ["show_status"]

_ALL_ONLINE = "everything is online"
_NO_STATION = "the bridge has no station; add one with `evse-mqtt-bridge station add`"


def show_status(  # noqa: PLR0913  # one argument per option
    names: tuple[str, ...],
    *,
    config: Path | None,
    url: str | None,
    only_unavailable: bool,
    as_json: bool,
    require_online: bool,
) -> bool:
    """Print the status and return whether the check succeeds.

    Args:
        names: Names, uuids or aliases of the stations to show; empty: all.
        config: The configuration file, as named on the command line.
        url: Address of the bridge, as named on the command line.
        only_unavailable: Whether to omit stations and plugs that are online.
        as_json: Whether to print JSON.
        require_online: Whether the check fails if the broker is not connected, or a station or plug is not online.

    Raises:
        UnavailableError: No bridge answers.
        ConfigError: The configuration is invalid.
        click.BadParameter: A name matches no station.
    """
    with StatusClient(running_bridge_address(config, url)) as client:
        body, snapshot = client.fetch()
    selected = select_stations(snapshot, names)
    shown = select_unavailable(selected) if only_unavailable else selected
    if as_json:
        click.echo(body if shown is snapshot else to_json(shown))
    else:
        _print(snapshot, shown, nothing=_ALL_ONLINE if only_unavailable else _NO_STATION)
    return _is_all_online(selected) if require_online else snapshot.health.healthy


def _is_all_online(snapshot: Snapshot) -> bool:
    """Return whether the bridge is healthy and connected, and each station and plug of the snapshot is online."""
    stations = snapshot.stations
    reasons = {station.reason for station in stations} | {plug.reason for item in stations for plug in item.plugs}
    return snapshot.health.healthy and snapshot.health.ready and reasons <= {Reason.ONLINE}


def _print(snapshot: Snapshot, shown: Snapshot, *, nothing: str) -> None:
    """Print the heading of the bridge, and the stations of `shown`, or the text `nothing` if there are none."""
    console = stdout_console()
    lines = [
        *(line.text for line in heading(snapshot)),
        Text(),
        *(line.text for line in listing(shown, output_width())),
    ]
    if not shown.stations:
        lines.append(Text(nothing))
    for line in lines:
        if console.color_system:
            console.print(line, soft_wrap=True)
        else:
            click.echo(line.plain.rstrip())
