"""Options that several commands share, and the configuration that they select.

This module imports nothing heavy at its top, because every command imports it.
"""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from evse_mqtt_bridge.config.location import CONFIG_VARIABLE, DEFAULT_FILE, choose_file, unquoted

if TYPE_CHECKING:
    from evse_mqtt_bridge.config.load import Loaded

__all__ = ["config_argument", "config_option", "load_config", "url_option"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """Add `--config FILE`, which the environment variable EVSE_MQTT_BRIDGE_CONFIG can also set."""
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, readable=False),  # the loader reports unreadable files, with exit code 78
        envvar=CONFIG_VARIABLE,
        callback=_unquote_variable,
        show_envvar=True,
        help="The configuration file.  [default: config.toml]",
    )(command)


def url_option(command: _Command) -> _Command:
    """Add `--url URL`, the address of a running bridge."""
    return click.option(
        "--url",
        metavar="URL",
        callback=_validate_url,
        help="Address of the bridge, such as http://192.0.2.10:9480. Overrides the configuration.",
    )(command)


def load_config(named: Path | None) -> "Loaded":
    """Return the configuration of a command: the file `named`, else config.toml, else the environment alone.

    Raises:
        ConfigError: The configuration is invalid.
    """
    from evse_mqtt_bridge.config.load import load  # noqa: PLC0415  # only commands that need it load the schema

    return load(choose_file(named, os.environ), os.environ)


def config_argument(path: Path | None) -> str:
    """Return the text to append to a command to select this configuration: ` --config FILE`, or an empty text."""
    is_found = path in (None, DEFAULT_FILE) or unquoted(os.environ.get(CONFIG_VARIABLE, "")) == str(path)
    return "" if is_found else f" --config {shlex.quote(str(path))}"


def _unquote_variable(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    is_variable = option.name and context.get_parameter_source(option.name) is ParameterSource.ENVIRONMENT
    return Path(unquoted(str(value))) if value is not None and is_variable else value


def _validate_url(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Return the address without a trailing slash."""
    if value is None:
        return None
    from evse_mqtt_bridge.cli.common.status_client import address_error  # noqa: PLC0415  # as above

    if error := address_error(value):
        raise click.BadParameter(error)
    return value.rstrip("/")
