"""Writes the first configuration: checks the options, runs the wizard, writes the file."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from evse_mqtt_bridge.cli.common.given_answers import GivenAnswers
from evse_mqtt_bridge.cli.common.options import config_argument
from evse_mqtt_bridge.cli.common.status_client import page_address
from evse_mqtt_bridge.cli.common.wizard import Wizard
from evse_mqtt_bridge.config import environment
from evse_mqtt_bridge.config.answers import value_error
from evse_mqtt_bridge.config.files import create_file, replace_file
from evse_mqtt_bridge.config.load import Loaded, parse
from evse_mqtt_bridge.config.location import DEFAULT_FILE, choose_file
from evse_mqtt_bridge.config.schema_index import KeyPath, format_path
from evse_mqtt_bridge.support.errors import ConfigError, EditError, Problem

__all__ = ["create_config"]

_SECRETS = ("password", "password_file", "token", "token_file")


def create_config(config: Path | None, options: Mapping[str, Any], *, force: bool) -> None:
    """Write a new configuration file.

    Args:
        config: The configuration file, as named on the command line.
        options: The fields of `GivenAnswers`.
        force: Whether to replace an existing file, of which a copy is kept.

    Raises:
        ConfigError, EditError, UnavailableError: An answer is invalid, rejected, or cannot be tested.
        click.UsageError: An option is invalid or missing.
        click.exceptions.Exit: The user cancelled (code 1).
    """
    path = choose_file(config, os.environ) or DEFAULT_FILE
    given = GivenAnswers(**options)
    _check_options(given)
    _check_writable(path, force=force)
    _check_environment()
    with _cancellable():
        text = Wizard(path, given, os.environ).run()
    if force and path.exists():
        click.echo(f"kept the previous {path} as {replace_file(path, text)}")
    else:
        create_file(path, text)
    _print_next_steps(path, parse(text, path, os.environ))


def _check_options(given: GivenAnswers) -> None:
    """Check the options before the first question.

    Raises:
        click.UsageError: An option is invalid, or contradicts another.
    """
    values: tuple[tuple[str, KeyPath, object], ...] = (
        ("--host", ("mqtt", "host"), given.host),
        ("--port", ("mqtt", "port"), given.port),
        ("--username", ("mqtt", "username"), given.username),
        ("--cloud-url", ("cloud", "base_url"), given.cloud_url or None),
        ("--interval", ("polling", "interval"), given.interval),
    )
    for option, path, value in values:
        if value is not None and (error := value_error(path, value)):
            raise click.UsageError(f"{option}: {error}")
    if given.password_file is not None and given.password_stdin:
        raise click.UsageError("--password-file and --password-stdin exclude each other.")
    if given.station and given.no_stations:
        raise click.UsageError("--station and --no-stations exclude each other.")
    if given.tls is False and (given.ca_file or given.cert_file or given.key_file):
        raise click.UsageError("--no-tls and files for TLS exclude each other.")
    if (given.password_stdin or given.token_stdin) and sys.stdin.isatty():
        raise click.UsageError(
            "--password-stdin and --token-stdin read from a pipe or a file; leave them out to be prompted."
        )


def _check_writable(path: Path, *, force: bool) -> None:
    """Check that the file can be written.

    Raises:
        EditError: The file exists already, or cannot be written.
    """
    if os.path.lexists(path) and not force:
        advice = "add a station to it with `evse-mqtt-bridge station add`, or use --force to keep a copy and start over"
        raise EditError(f"{path} exists and was not changed; {advice}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        reason = "no permission to write to the folder" if path.parent.is_dir() else "the folder does not exist"
        raise EditError(f"{path} cannot be written: {reason}")


def _check_environment() -> None:
    """Check the environment, whose variables override the file, and print a note for each setting in it.

    Raises:
        EditError: A variable replaces all stations of the file.
        ConfigError: A variable is unknown or invalid.
    """
    variables, issues = environment.read_variables(os.environ)
    if issues:
        raise ConfigError(*(Problem(issue.message, format_path(issue.path), issue.variable) for issue in issues))
    for variable in variables:
        if variable.path == ("stations",):
            raise EditError(f"{variable.name} replaces the stations of the file; unset it first")
        if variable.path[-1] not in _SECRETS:
            click.echo(f"note: {variable.name} in the environment overrides the answer given here", err=True)


@contextmanager
def _cancellable() -> Iterator[None]:
    """Report cancellation by the user on one line."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ncancelled; nothing was written", err=True)
        raise click.exceptions.Exit(1) from None


def _print_next_steps(path: Path, loaded: Loaded) -> None:
    click.echo(f"wrote {path}, readable by its owner only")
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    argument = config_argument(path)
    steps = [
        (f"check --online{argument}", "test the broker and the stations again"),
        (f"run{argument}", "run the bridge until Ctrl-C"),
    ]
    width = max(len(command) for command, _ in steps)
    click.echo("Next:")
    for command, purpose in steps:
        click.echo(f"  evse-mqtt-bridge {command:{width}}   {purpose}")
    if loaded.config.http.enabled:
        click.echo(f"While the bridge runs, its status page is at {page_address(loaded.config.http)}")
