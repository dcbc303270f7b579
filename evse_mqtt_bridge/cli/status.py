"""The command `status`: shows a snapshot of a running bridge once."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, url_option

__all__ = ["status"]


@click.command()
@click.argument("stations", metavar="[STATION]...", nargs=-1)
@config_option
@url_option
@click.option("--unavailable", is_flag=True, help="Show only stations and plugs that are not online.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option("--check", is_flag=True, help="Exit with code 1 unless everything is online.")
def status(  # noqa: PLR0913  # one argument per option
    *, stations: tuple[str, ...], config: Path | None, url: str | None, unavailable: bool, as_json: bool, check: bool
) -> None:
    """Show the status of a running bridge once.

    The output covers the bridge, its broker, and each station and plug. STATION is a name, uuid or alias; without it,
    all stations are shown. The command connects to --url, else to the address of [http] in the configuration, else to
    the default address. A wide terminal gets one table; in a narrow one, plugs are listed below their stations; a pipe
    gets one line per plug, untruncated.

    Use --check for monitoring: the first line is a summary, and the exit code is 1 unless the bridge is healthy and
    connected to its broker, and each selected station and plug is online. After a start, that takes until each station
    was polled.

    \b
    Examples:
      evse-mqtt-bridge status
      evse-mqtt-bridge status "Garage north"
      evse-mqtt-bridge status --unavailable --url http://192.0.2.10:9480
      evse-mqtt-bridge status --json |
        jq -r '.stations[].plugs[] | [.name, .status, .power] | @tsv'
      evse-mqtt-bridge status --check > /dev/null || echo "look at the chargers"

    Exit codes: 0 the bridge is healthy; 1 it is not, or with --check something is not online; 2 no such station; 69 the
    bridge does not answer; 78 the configuration is invalid, and no bridge answers.
    """
    from evse_mqtt_bridge.cli.actions.status import show_status  # noqa: PLC0415  # imported when the command runs

    passed = show_status(
        stations, config=config, url=url, only_unavailable=unavailable, as_json=as_json, require_online=check
    )
    if not passed:
        click.get_current_context().exit(1)
