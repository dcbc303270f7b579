"""`station add`, `station list`, `station remove`: edit the stations of a configuration file."""

import asyncio
import json
import os
import sys
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, load_config
from evse_mqtt_bridge.cli.common.prompts import seen_from
from evse_mqtt_bridge.cli.common.tables import print_plugs, print_table
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.edit import Fields, add_station, find_station, remove_station
from evse_mqtt_bridge.config.files import save
from evse_mqtt_bridge.config.load import Loaded, load, parse, read_text, read_toml
from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Reason
from evse_mqtt_bridge.publishing.messages import number
from evse_mqtt_bridge.support.errors import ConfigError, EditError, Problem, UnavailableError
from evse_mqtt_bridge.support.text import clean

__all__ = ["station"]

_FIRST_LINES = """\
# evse-mqtt-bridge; every setting is explained in config.toml.example.

[mqtt]
host = "localhost"
"""

_OPTIONS = ("edge_device_id", "uuid", "token", "token_file", "name", "alias")

_AWAY = frozenset({Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.RATE_LIMITED})


@click.group()
def station() -> None:
    """Add, list and remove charging stations in the configuration file.

    Comments, blank lines and the order of the file stay as they are. A bridge that is running takes the change over
    when it gets SIGHUP.
    """


@station.command()
@config_option
@click.option("--edge-device-id", metavar="ID", required=True, help="The CLEMAP device that it is connected to.")
@click.option("--uuid", metavar="UUID", required=True, help="The station's uuid, as the vendor names it.")
@click.option("--token-file", metavar="FILE", type=click.Path(path_type=Path), help="The file that holds the token.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input and write it into the file.")
@click.option("--name", metavar="TEXT", default="", help="What people call it, in logs and in Home Assistant.")
@click.option("--alias", metavar="WORD", default="", help="Takes the uuid's place in topics.")
@click.option("--no-check", is_flag=True, help="Write it without asking the API for it first.")
def add(  # noqa: PLR0913  # one argument for each option
    *,
    config: Path | None,
    edge_device_id: str,
    uuid: str,
    token_file: Path | None,
    token_stdin: bool,
    name: str,
    alias: str,
    no_check: bool,
) -> None:
    """Add a station, and show its plugs.

    The API is asked for the station first; where it refuses it, nothing is written.

    The station's token is a secret and never an option, since options are seen in the list of processes: it comes from
    a file, which stays its place, or from standard input, or is asked for without being shown, and then stands in the
    configuration file. A configuration file that is not there yet is made, readable for its owner alone, with a
    broker on this machine; `evse-mqtt-bridge init` asks for the broker, too.

    \b
    Examples:
      evse-mqtt-bridge station add --edge-device-id 1234 \\
          --uuid 25104c56d7f848af830af4300193efb3 --name "Garage north"
      evse-mqtt-bridge station add --edge-device-id 1234 \\
          --uuid 25104c56d7f848af830af4300193efb3 --token-file north.token
      pass show garage/north | evse-mqtt-bridge station add --edge-device-id 1234 \\
          --uuid 25104c56d7f848af830af4300193efb3 --token-stdin

    Exit codes: 0 done, 1 the API refused it or it cannot be added, 69 the API does not answer, 78 the configuration is
    wrong.
    """
    path = choose_file(config, os.environ) or DEFAULT_FILE
    text = read_text(path) if os.access(path, os.F_OK) else ""
    is_begun = not text.strip()
    if is_begun:
        text = _FIRST_LINES
    parse(text, path, os.environ)
    fields = {
        "edge_device_id": edge_device_id,
        "uuid": uuid,
        **_token(token_file, token_stdin=token_stdin, folder=path.parent),
        **{key: value for key, value in (("name", name), ("alias", alias)) if value},
    }
    edited = add_station(text, fields)
    loaded = _with_station(edited, path, fields)
    if not no_check:
        added = next(item for item in loaded.config.stations if item.uuid == uuid)
        _show_plugs(asyncio.run(poll_once(loaded.config.cloud, [added]))[0], name or alias or uuid)
    save(path, edited)
    click.echo(f"added {name or alias or uuid} to {path}")
    for warning in load(path, os.environ).warnings:
        click.echo(f"warning: {warning}", err=True)
    if is_begun:
        words = "is new, and takes the broker to be on this machine; where it is not, change [mqtt] host"
        click.echo(f"note: {path} {words} (`evse-mqtt-bridge init` would have asked)", err=True)


@station.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def list_stations(*, config: Path | None, as_json: bool) -> None:
    """List the stations.

    They may come from the file and from the environment. Tokens are never shown, only where they come from: a `file`,
    or `set` in the configuration itself.

    \b
    Examples:
      evse-mqtt-bridge station list
      evse-mqtt-bridge station list --json | jq -r '.[].uuid'
    """
    loaded = load_config(config).config
    rows = [
        {
            "name": item.name,
            "uuid": item.uuid,
            "alias": item.alias,
            "edge_device_id": item.edge_device_id,
            "interval": json.loads(number(item.station(loaded.polling).interval)),
            "token": "file" if item.token_file else "set",
        }
        for item in loaded.stations
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        print_table(["name", "uuid", "alias", "edge device", "interval", "token"], [[*row.values()] for row in rows])
    else:
        click.echo("no station is configured; add one with `evse-mqtt-bridge station add`")


@station.command()
@click.argument("name", metavar="UUID|ALIAS|NAME")
@config_option
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal nothing is asked either.")
def remove(*, name: str, config: Path | None, yes: bool) -> None:
    """Remove a station.

    The comment right above it goes too; a token file stays where it is.
    The bridge clears the station's topics when it takes the change over, or when it is started the next time.

    \b
    Examples:
      evse-mqtt-bridge station remove "Garage north"
      evse-mqtt-bridge station remove --yes 25104c56d7f848af830af4300193efb3
    """
    path = choose_file(config, os.environ) or DEFAULT_FILE
    text = read_text(path)
    stations = read_toml(text, path).get("stations", [])
    edited = remove_station(text, name)
    found = stations[find_station(stations, name)]
    title = clean(str(found.get("name") or found.get("alias") or found.get("uuid")))
    if sys.stdin.isatty() and not yes:
        click.confirm(f"Remove {title} ({found.get('uuid')}) from {path}?", abort=True)
    try:
        parse(edited, path, os.environ)
    except ConfigError:
        parse(text, path, os.environ)  # what was wrong before is told with the lines of the file as it stands
        raise
    save(path, edited)
    click.echo(f"removed {title} from {path}")


def _token(file: Path | None, *, token_stdin: bool, folder: Path) -> Fields:
    """The key that says the token: `token_file` as seen from the configuration file's folder, or `token`."""
    if file is not None and token_stdin:
        raise click.UsageError("--token-file and --token-stdin exclude each other.")
    if file is not None:
        return {"token_file": seen_from(folder, str(file))}
    if token_stdin:
        try:
            token = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.UsageError("--token-stdin: standard input is not UTF-8 text.") from None
        if not token:
            raise click.UsageError("--token-stdin: standard input is empty; expected the token.")
        return {"token": token}
    if sys.stdin.isatty():
        return {"token": click.prompt("Token (is not shown)", hide_input=True)}
    raise click.UsageError("The token is missing: give --token-file or --token-stdin, or run this on a terminal.")


def _with_station(edited: str, path: Path, fields: Fields) -> Loaded:
    """The configuration with the station in it; EditError where the options are what is wrong with it."""
    try:
        loaded = parse(edited, path, os.environ)
    except ConfigError as error:
        raise EditError("\n".join(_as_option(problem) for problem in error.problems)) from None
    if all(item.uuid != fields["uuid"] for item in loaded.config.stations):
        raise EditError("EVSE_MQTT_BRIDGE__STATIONS takes the place of the stations in the file; add the station there")
    return loaded


def _as_option(problem: Problem) -> str:
    """What is wrong with the station, by the option that said it; a token has none that is called so."""
    key = problem.key.rpartition(".")[2]
    place = {"token": "the token", "token_file": "--token-file"}.get(key) or f"--{key.replace('_', '-')}"
    return f"{place if key in _OPTIONS else problem.key}: {problem.message}"


def _show_plugs(outcome: Outcome, title: str) -> None:
    """Prints what the station answered; raises where it did not."""
    match outcome:
        case Failure(reason, detail):
            kind = UnavailableError if reason in _AWAY else EditError
            raise kind(f"{title} was not added: {reason}: {detail}; --no-check adds it without asking the API")
        case Reading():
            print_plugs(outcome)
