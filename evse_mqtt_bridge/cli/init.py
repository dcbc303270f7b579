"""`init`: the first configuration, from answers that are tried as they are given."""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, naming
from evse_mqtt_bridge.cli.common.status_client import address_of
from evse_mqtt_bridge.cli.common.wizard import Given, Wizard
from evse_mqtt_bridge.config import environment
from evse_mqtt_bridge.config.answers import value_error
from evse_mqtt_bridge.config.files import back_up, create_file, save
from evse_mqtt_bridge.config.load import Loaded, parse
from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file
from evse_mqtt_bridge.config.schema_index import KeyPath, format_path
from evse_mqtt_bridge.support.errors import ConfigError, EditError, Problem

__all__ = ["init"]

_STATION_KEYS = ("edge_device_id", "uuid", "token_file", "name", "alias")
_SECRETS = ("password", "password_file", "token", "token_file")


def _stations(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> list[dict[str, str]]:
    """Each `key=value,key=value`, read as CSV: a value with a comma stands in double quotes, its key with it."""
    stations = []
    for value in values:
        fields: dict[str, str] = {}
        try:
            parts = next(csv.reader([value]), [])
        except csv.Error:
            raise click.BadParameter("expected key=value,key=value in one line") from None
        for part in parts:
            key, _, text = part.strip().partition("=")
            if key == "token":
                words = "a token is a secret, and options are seen by everybody; use token_file, or --token-stdin"
                raise click.BadParameter(words)
            if key not in _STATION_KEYS or key in fields:
                raise click.BadParameter(f"expected each of {', '.join(_STATION_KEYS)} once at most, as key=value")
            fields[key] = text
        if missing := [key for key in ("edge_device_id", "uuid") if key not in fields]:
            raise click.BadParameter(f"{' and '.join(missing)}: missing")
        stations.append(fields)
    return stations


@click.command()
@config_option
@click.option("--force", is_flag=True, help="Replace a configuration that is there; it is kept beside, as FILE.bak.")
@click.option("--host", metavar="HOST", help="The broker's name or address.")
@click.option("--port", metavar="PORT", type=int, help="Its port.  [default: 1883, with TLS 8883]")
@click.option("--tls/--no-tls", default=None, help="Whether it speaks TLS there.  [default: no]")
@click.option("--ca-file", metavar="FILE", help="The CA that signed its certificate.  [default: the system's]")
@click.option(
    "--cert-file", metavar="FILE", default="", help="The bridge's own certificate, for brokers that ask for one."
)
@click.option("--key-file", metavar="FILE", default="", help="The key of that certificate.")
@click.option("--username", metavar="NAME", help="The bridge's user name on the broker.  [default: none]")
@click.option("--password-file", metavar="FILE", help="The file that holds the password, and goes on holding it.")
@click.option("--password-stdin", is_flag=True, help="The first line of standard input is the password.")
@click.option("--cloud-url", metavar="URL", default="", help="Another address of the API, such as a simulator's.")
@click.option("--cloud-ca-file", metavar="FILE", default="", help="A CA to trust there, besides the system's.")
@click.option(
    "--station",
    metavar="KEY=VALUE,...",
    callback=_stations,
    multiple=True,
    help="A station: edge_device_id and uuid, maybe token_file, name and alias. Once for each.",
)
@click.option("--no-stations", is_flag=True, help="Enter no station; `station add` does it later.")
@click.option("--token-stdin", is_flag=True, help="Standard input has a line for each station without token_file.")
@click.option("--interval", metavar="SECONDS", type=float, help="Time between two polls of a station.  [default: 30]")
@click.option(
    "--homeassistant/--no-homeassistant", default=None, help="Whether Home Assistant finds it.  [default: yes]"
)
@click.option("--no-input", is_flag=True, help="Ask nothing, though there is a terminal.")
@click.option("--skip-tests", is_flag=True, help="Try neither the broker nor the stations.")
@click.option("--anyway", is_flag=True, help="Write what was refused, or did not answer, too.")
def init(config: Path | None, *, force: bool, **options: object) -> None:
    """Make the first configuration: ask for the broker and the stations, try them, write the file.

    What an option answers is not asked. Without a terminal, or with --no-input, what has a default takes it, and what
    has none is an error. The file has every setting with its explanation, and is readable for its owner alone; one that
    is there already is never changed without --force. Nothing is written before the last answer.

    Secrets are never options, since options are seen in the list of processes: they come from files, which stay their
    place, from standard input (the password first, then the tokens), from the environment as for the bridge itself
    (EVSE_MQTT_BRIDGE__MQTT__PASSWORD, EVSE_MQTT_BRIDGE__STATIONS__0__TOKEN, ...), where they stay too, or are asked for
    without being shown.

    \b
    Examples:
      evse-mqtt-bridge init
      evse-mqtt-bridge init --host broker.example.com --tls --username bridge
      evse-mqtt-bridge init --host 192.0.2.10 --username bridge --password-file mqtt.password \\
          --station edge_device_id=1234,uuid=25104c56d7f848af830af4300193efb3,token_file=north.token
      pass show garage/north | evse-mqtt-bridge init --host 192.0.2.10 --token-stdin \\
          --station "edge_device_id=1234,uuid=25104c56d7f848af830af4300193efb3,name=Garage north"

    Exit codes: 0 written, 1 refused, or ended before the last answer, 2 an answer is missing or cannot be, 69 something
    does not answer, 78 what was answered makes no configuration.
    """
    path = choose_file(config, os.environ) or DEFAULT_FILE
    given = Given(**options)  # type: ignore[arg-type]  # click names them as they are declared
    _refuse_what_cannot_be(given)
    _look_at(path, force=force)
    with _nothing_written():
        text = Wizard(path, given, os.environ).document()
    if force and path.exists():
        click.echo(f"kept {path} as {back_up(path)}")
        save(path, text, mode=0o600)
    else:
        create_file(path, text)
    _say_what_is_next(path, parse(text, path, os.environ))


def _refuse_what_cannot_be(given: Given) -> None:
    """Options that are wrong by themselves, or contradict each other, before anything is asked."""
    values: tuple[tuple[str, KeyPath, object], ...] = (
        ("--host", ("mqtt", "host"), given.host),
        ("--port", ("mqtt", "port"), given.port),
        ("--username", ("mqtt", "username"), given.username),
        ("--cloud-url", ("cloud", "base_url"), given.cloud_url or None),
        ("--interval", ("polling", "interval"), given.interval),
    )
    for option, path, value in values:
        if value is not None and (words := value_error(path, value)):
            raise click.UsageError(f"{option}: {words}")
    if given.password_file is not None and given.password_stdin:
        raise click.UsageError("--password-file and --password-stdin exclude each other.")
    if given.station and given.no_stations:
        raise click.UsageError("--station and --no-stations exclude each other.")
    if given.tls is False and (given.ca_file or given.cert_file or given.key_file):
        raise click.UsageError("--no-tls and files for TLS exclude each other.")
    if (given.password_stdin or given.token_stdin) and sys.stdin.isatty():
        raise click.UsageError("--password-stdin and --token-stdin read a pipe or a file; without them you are asked.")


def _look_at(path: Path, *, force: bool) -> None:
    """Whether the file can be written, before anything is asked.

    Raises:
        EditError: it cannot.
        ConfigError: there is a variable in the environment that is no setting.
    """
    if os.path.lexists(path) and not force:
        way = "`evse-mqtt-bridge station add` adds a station to it, and --force keeps it as a copy and begins anew"
        raise EditError(f"{path} is there already, and stays as it is; {way}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        is_there = path.parent.is_dir()
        raise EditError(
            f"{path} cannot be written: the folder {'is not yours to write' if is_there else 'is not there'}"
        )
    variables, faults = environment.read_variables(os.environ)
    if faults:
        raise ConfigError(*(Problem(fault.message, format_path(fault.path), fault.variable) for fault in faults))
    for item in variables:
        if item.path == ("stations",):
            raise EditError(f"{item.name} takes the place of the stations in the file; take it away from here first")
        if item.path[-1] not in _SECRETS:
            click.echo(f"note: {item.name} from the environment wins over what is answered here", err=True)


@contextmanager
def _nothing_written() -> Iterator[None]:
    """Ends with one line where the user ends it."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nended; nothing was written", err=True)
        raise click.exceptions.Exit(1) from None


def _say_what_is_next(path: Path, loaded: Loaded) -> None:
    click.echo(f"wrote {path}, readable for its owner alone")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    named = naming(path)
    steps = [(f"check --online{named}", "try all of it again"), (f"run{named}", "the bridge, until Ctrl-C")]
    width = max(len(command) for command, _ in steps)
    click.echo("Next:")
    for command, words in steps:
        click.echo(f"  evse-mqtt-bridge {command:{width}}   {words}")
    if loaded.config.http.enabled:
        click.echo(f"While it runs, {address_of(loaded.config.http)} shows what it knows.")
