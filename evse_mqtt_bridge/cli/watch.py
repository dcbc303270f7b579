"""The command `watch`: shows the status of a running bridge live."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, url_option

__all__ = ["watch"]


@click.command()
@click.argument("stations", metavar="[STATION]...", nargs=-1)
@config_option
@url_option
def watch(*, stations: tuple[str, ...], config: Path | None, url: str | None) -> None:
    """Show the status of a running bridge live.

    Ctrl-C quits. The view is that of `status`, fitted to the window: unavailable plugs first, then plugs with a
    problem, then plugs that charge. If the bridge cannot be reached, the last view stays, and the command keeps
    retrying.

    \b
    Examples:
      evse-mqtt-bridge watch
      evse-mqtt-bridge watch "Garage north" "Garage south"
      evse-mqtt-bridge watch --url http://192.0.2.10:9480

    Exit codes: 0 ended with Ctrl-C, 1 stdout is not a terminal, 2 no such station, 69 the status page is disabled, 78
    the configuration is invalid.
    """
    from evse_mqtt_bridge.cli.actions.watch import watch_status  # noqa: PLC0415  # imported when the command runs

    watch_status(stations, config, url)
