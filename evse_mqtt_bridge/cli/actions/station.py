"""Adds, lists and removes the stations of a configuration file."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cli.common.plug_questions import ask_plugs
from evse_mqtt_bridge.cli.common.poll_errors import poll_error
from evse_mqtt_bridge.cli.common.prompts import Prompter, Question, relative_to_config
from evse_mqtt_bridge.cli.common.questions import ALIAS_QUESTION
from evse_mqtt_bridge.cli.common.tables import print_plugs, print_table
from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.answers import StationAnswers, station_fields
from evse_mqtt_bridge.config.edit import add_station, find_station, remove_station
from evse_mqtt_bridge.config.files import locked, save
from evse_mqtt_bridge.config.load import Loaded, load, parse, read_text, read_toml
from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file
from evse_mqtt_bridge.config.schema import StationConfig
from evse_mqtt_bridge.config.schema_index import EACH
from evse_mqtt_bridge.config.secrets import without_newline
from evse_mqtt_bridge.domain.identifiers import suggest_alias
from evse_mqtt_bridge.domain.model import Failure, PlugReading, station_title
from evse_mqtt_bridge.publishing.payloads import number
from evse_mqtt_bridge.support.errors import ConfigError, EditError, Problem
from evse_mqtt_bridge.support.text import clean

__all__ = ["add_to_file", "print_stations", "remove_from_file"]

_NEW_FILE = """\
# evse-mqtt-bridge; every setting is explained in config.toml.example.

[mqtt]
host = "localhost"
"""

_PLACEHOLDER = "placeholder"
"""A token with which a station is validated before its own token is known."""

_OPTION_KEYS = ("edge_device_id", "uuid", "token", "token_file", "name", "alias")


def add_to_file(  # noqa: PLR0913  # one argument per kind of option
    config: Path | None,
    options: Mapping[str, Any],
    *,
    token_file: Path | None,
    token_stdin: bool,
    is_polled: bool,
    is_interactive: bool,
) -> bool:
    """Add a station to the configuration file, and create the file if there is none; return whether it is new.

    Args:
        config: The configuration file, as named on the command line.
        options: The fields of `StationAnswers` that are given as options.
        token_file: File that contains the token; `None`: use standard input or a prompt.
        token_stdin: Whether to read the token from standard input instead of a prompt.
        is_polled: Whether to poll the station first and print its plugs.
        is_interactive: Whether to prompt for the token, and for names and aliases that are not given.

    Raises:
        EditError: The API rejects the station, or it cannot be added.
        UnavailableError: The API does not answer.
        ConfigError: The configuration is invalid.
        click.UsageError: The token is missing, or given twice.
    """
    path = choose_file(config, os.environ) or DEFAULT_FILE
    prompter = Prompter(is_interactive)
    text, _ = _text_of(path)
    parse(text, path, os.environ)
    # Errors are reported before the token is typed.
    station = _with_names(StationAnswers(**options, token=_PLACEHOLDER), text, path, prompter)
    station = _with_token(station, token_file, token_stdin=token_stdin, folder=path.parent, prompter=prompter)
    loaded = _parse_with_station(text, path, station)
    title = station_title(station.name, station.alias, station.uuid)
    if is_polled:
        reported = _poll(loaded, station.uuid, title)
        for plug in (station.plugs.keys() | station.plug_names.keys()) - {plug.plug_uuid for plug in reported}:
            click.echo(f"warning: the station has no plug {plug} at present", err=True)
        aliases, names = ask_plugs(prompter, reported, station.plugs, station.plug_names)
        station = replace(station, plugs=aliases, plug_names=names)
    with locked(path):
        text, is_new = _text_of(path)  # another command may have changed it
        _parse_with_station(text, path, station)
        save(path, add_station(text, station_fields(station)))
    click.echo(f"added {title} to {path}")
    for warning in load(path, os.environ).warnings:
        click.echo(f"warning: {warning}", err=True)
    if is_new:
        note = "is new and expects the broker on this machine; if it is elsewhere, change host in [mqtt]"
        click.echo(f"note: {path} {note} (`evse-mqtt-bridge init` asks for the broker)", err=True)
    return is_new


def print_stations(config: Path | None, *, as_json: bool) -> None:
    """Print the stations of the configuration, as a table or as JSON, without their tokens.

    Raises:
        ConfigError: The configuration is invalid.
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
    pairs = zip(rows, loaded.stations, strict=True)
    if as_json:
        content = [row | {"plugs": dict(item.plugs), "plug_names": dict(item.plug_names)} for row, item in pairs]
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    elif rows:
        headings = ["name", "uuid", "alias", "edge device", "interval", "token", "plugs"]
        print_table(headings, [[*row.values(), ", ".join(_plug_texts(item))] for row, item in pairs])
    else:
        click.echo("no station is configured; add one with `evse-mqtt-bridge station add`")


def remove_from_file(config: Path | None, name: str, *, confirmed: bool) -> None:
    """Remove a station from the configuration file.

    Args:
        config: The configuration file, as named on the command line.
        name: Uuid, alias or name of the station.
        confirmed: Whether to remove the station without a prompt.

    Raises:
        EditError: No station or several stations match, or the file cannot be edited.
        ConfigError: The configuration is invalid.
        click.Abort: The user does not confirm.
    """
    path = choose_file(config, os.environ) or DEFAULT_FILE
    text = read_text(path)
    stations = read_toml(text, path).get("stations", [])
    edited = remove_station(text, name)
    found = stations[find_station(stations, name)]
    title = clean(station_title(*(str(found.get(key, "")) for key in ("name", "alias", "uuid"))))
    if sys.stdin.isatty() and not confirmed:
        click.confirm(f"Remove {title} ({found.get('uuid')}) from {path}?", abort=True)
    try:
        parse(edited, path, os.environ)
    except ConfigError:
        parse(text, path, os.environ)  # existing errors are reported with the line numbers of the file
        raise
    with locked(path):
        if (current := read_text(path)) != text:  # another command has changed it
            edited = remove_station(current, str(found.get("uuid")))
            parse(edited, path, os.environ)
        save(path, edited)
    click.echo(f"removed {title} from {path}")


def _text_of(path: Path) -> tuple[str, bool]:
    """Return the content of the configuration file, and whether the file is new or empty."""
    text = read_text(path) if os.access(path, os.F_OK) else ""
    return (text, False) if text.strip() else (_NEW_FILE, True)


def _with_names(station: StationAnswers, text: str, path: Path, prompter: Prompter) -> StationAnswers:
    """Return the station with its name and alias, from the options, else from prompts.

    Raises:
        EditError: An option is invalid.
    """

    def conflict(alias: str) -> str | None:
        try:
            _parse_with_station(text, path, replace(station, alias=alias))
        except EditError as error:
            return str(error).removeprefix("--alias: ")
        return None

    _parse_with_station(text, path, station)
    if not station.name:
        question = Question("Display name", "--name", ("stations", EACH, "name"), default="")
        station = replace(station, name=prompter.text(question))
    if not station.alias:
        question = Question(ALIAS_QUESTION, "--alias", ("stations", EACH, "alias"), default="")
        alias = prompter.text(question, proposal=suggest_alias(station.name), conflict=conflict)
        station = replace(station, alias=alias)
    return station


def _with_token(
    station: StationAnswers, file: Path | None, *, token_stdin: bool, folder: Path, prompter: Prompter
) -> StationAnswers:
    """Return the station with its token, or with the file that contains it, relative to the configuration's folder.

    Raises:
        click.UsageError: The token is missing, not text, or given twice.
    """
    if file is not None and token_stdin:
        raise click.UsageError("--token-file and --token-stdin exclude each other.")
    if file is not None:
        return replace(station, token="", token_file=relative_to_config(folder, str(file)))
    if token_stdin:
        try:
            token = without_newline(sys.stdin.buffer.read().decode())
        except UnicodeDecodeError:
            raise click.UsageError("--token-stdin: standard input is not UTF-8 text.") from None
        if not token:
            raise click.UsageError("--token-stdin: standard input is empty; expected the token.")
        return replace(station, token=token)
    missing = "The token is missing: add --token-file or --token-stdin, or use a terminal."
    return replace(station, token=prompter.hidden("Token", ("stations", EACH, "token"), missing))


def _plug_texts(station: StationConfig) -> Iterator[str]:
    """Yield each plug with an alias or a name: its alias, else its uuid, and its name in brackets."""
    for uuid in dict.fromkeys((*station.plugs, *station.plug_names)):
        name = station.plug_names.get(uuid)
        yield station.plugs.get(uuid, uuid) + (f" ({name})" if name else "")


def _parse_with_station(text: str, path: Path, station: StationAnswers) -> Loaded:
    """Return the configuration in `text` with the new station.

    Raises:
        EditError: An option of the station is invalid, or the environment replaces the stations of the file.
    """
    try:
        loaded = parse(add_station(text, station_fields(station)), path, os.environ)
    except ConfigError as error:
        raise EditError("\n".join(_with_option(problem) for problem in error.problems)) from None
    if all(item.uuid != station.uuid for item in loaded.config.stations):
        raise EditError("EVSE_MQTT_BRIDGE__STATIONS replaces the stations of the file; add the station there")
    return loaded


def _with_option(problem: Problem) -> str:
    """Return a problem with the name of the option that caused it, instead of the key in the file."""
    table, _, key = problem.key.rpartition(".")
    for name, option in (("plugs", "--plug"), ("plug_names", "--plug-name")):
        if table.endswith(f".{name}"):
            return f"{option} {key}: {problem.message}"
    # The token has no option of the same name.
    option = {"token": "the token", "token_file": "--token-file"}.get(key) or f"--{key.replace('_', '-')}"
    return f"{option if key in _OPTION_KEYS else problem.key}: {problem.message}"


def _poll(loaded: Loaded, uuid: str, title: str) -> Sequence[PlugReading]:
    """Poll the station once, and print and return its plugs.

    Raises:
        EditError: The API rejects the station.
        UnavailableError: The API does not answer.
    """
    station = next(item for item in loaded.config.stations if item.uuid == uuid)
    outcome = asyncio.run(poll_once(loaded.config.cloud, [station]))[0]
    if isinstance(outcome, Failure):
        raise poll_error(outcome, f"{title} was not added", "; --no-check adds it without polling it")
    print_plugs(outcome)
    return outcome.plugs
