"""The commands `station add`, `station list` and `station remove`: edit the stations of a configuration file."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_argument, config_option

__all__ = ["station"]


def _parse_plugs(_context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Return the aliases or names of plugs, by uuid."""
    plugs: dict[str, str] = {}
    for value in values:
        uuid, separator, alias = value.partition("=")
        if not separator or uuid in plugs:
            raise click.BadParameter(f"expected {option.metavar}, once per plug")
        plugs[uuid] = alias
    return plugs


@click.group()
def station() -> None:
    """Add, list and remove stations.

    The commands edit the configuration file and keep its comments, blank lines and order. A running bridge applies the
    change on SIGHUP.
    """


@station.command()
@config_option
@click.option(
    "--edge-device-id", metavar="ID", required=True, help="ID of the CLEMAP device that the station is connected to."
)
@click.option("--uuid", metavar="UUID", required=True, help="The vendor's uuid of the station.")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="File that contains the token.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input and store it in the file.")
@click.option("--name", metavar="TEXT", default="", help="Display name, in logs and in Home Assistant.")
@click.option("--alias", metavar="WORD", default="", help="Replaces the uuid in topics.")
@click.option(
    "--plug",
    "plugs",
    metavar="UUID=ALIAS",
    multiple=True,
    callback=_parse_plugs,
    help="Alias of a plug, which replaces its uuid in topics. Repeat for more plugs.",
)
@click.option(
    "--plug-name",
    "plug_names",
    metavar="UUID=NAME",
    multiple=True,
    callback=_parse_plugs,
    help="Display name of a plug, which replaces its label. Repeat for more plugs.",
)
@click.option("--no-check", is_flag=True, help="Add the station without polling it first.")
@click.option("--no-input", is_flag=True, help="Prompt for nothing, even in a terminal.")
@click.option("--reload", "is_reloaded", is_flag=True, help="Reload the running bridge afterwards.")
def add(  # noqa: PLR0913  # one argument per option
    *,
    config: Path | None,
    token_file: Path | None,
    token_stdin: bool,
    no_check: bool,
    no_input: bool,
    is_reloaded: bool,
    **options: object,
) -> None:
    """Add a station and show its plugs.

    The command polls the station first. If the API rejects it, nothing is written. In a terminal, the command asks for
    the token, and for names and aliases of the station and its plugs that options do not give.

    The token is a secret and never an option, because other users can see options in the process list. It is read from
    a file, which the configuration then refers to; or from standard input or a hidden prompt, and then stored in the
    configuration file. If there is no configuration file, the command creates one, readable by its owner only, with a
    broker on this machine; `evse-mqtt-bridge init` also asks for the broker.

    \b
    Examples:
      evse-mqtt-bridge station add --edge-device-id 1234 \\
          --uuid 25104c56d7f848af830af4300193efb3 --name "Garage north"
      evse-mqtt-bridge station add --edge-device-id 1234 \\
          --uuid 25104c56d7f848af830af4300193efb3 --token-file north.token
      evse-mqtt-bridge station add --edge-device-id 1234 --alias north \\
          --uuid 25104c56d7f848af830af4300193efb3 --token-file north.token \\
          --no-input --plug 6bbf9fd56dc24f9697b078d5d8ccda84=left
      pass show garage/north |
        evse-mqtt-bridge station add --edge-device-id 1234 \\
          --uuid 25104c56d7f848af830af4300193efb3 --token-stdin

    Exit codes: 0 success, 1 the API rejected the station or it cannot be added, 69 the API does not answer, 78 the
    configuration is invalid.
    """
    from evse_mqtt_bridge.cli.actions.station import add_to_file  # noqa: PLC0415  # imported when the command runs

    is_new = add_to_file(
        config,
        options,
        token_file=token_file,
        token_stdin=token_stdin,
        is_polled=not no_check,
        is_interactive=not no_input and sys.stdin.isatty(),
    )
    if is_reloaded or not is_new:  # no bridge uses a new file
        _reload(config, is_reloaded=is_reloaded)


@station.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def list_stations(*, config: Path | None, as_json: bool) -> None:
    """List the stations of the file and of the environment.

    Tokens are never shown, only their source: a `file`, or `set` in the configuration itself.

    \b
    Examples:
      evse-mqtt-bridge station list
      evse-mqtt-bridge station list --json | jq -r '.[].uuid'
    """
    from evse_mqtt_bridge.cli.actions.station import print_stations  # noqa: PLC0415  # imported when the command runs

    print_stations(config, as_json=as_json)


@station.command()
@click.argument("name", metavar="UUID|ALIAS|NAME")
@config_option
@click.option("--yes", is_flag=True, help="Do not prompt for confirmation. Without a terminal, there is no prompt.")
@click.option("--reload", "is_reloaded", is_flag=True, help="Reload the running bridge afterwards.")
def remove(*, name: str, config: Path | None, yes: bool, is_reloaded: bool) -> None:
    """Remove a station.

    The comment directly above it is removed, too; its token file is kept. The bridge clears the station's topics on the
    next reload, see --reload, or start.

    \b
    Examples:
      evse-mqtt-bridge station remove "Garage north"
      evse-mqtt-bridge station remove --yes 25104c56d7f848af830af4300193efb3
    """
    from evse_mqtt_bridge.cli.actions.station import remove_from_file  # noqa: PLC0415  # imported when the command runs

    remove_from_file(config, name, confirmed=yes)
    _reload(config, is_reloaded=is_reloaded)


def _reload(config: Path | None, *, is_reloaded: bool) -> None:
    """Reload the running bridge after a change of its configuration file, or print how to do it."""
    if is_reloaded:
        from evse_mqtt_bridge.cli.actions.reload import reload_bridge  # noqa: PLC0415  # imported when the command runs

        reload_bridge(config, url=None)
    else:
        command = f"evse-mqtt-bridge reload{config_argument(config)}"
        click.echo(f"note: run `{command}` to apply the change to a running bridge", err=True)
