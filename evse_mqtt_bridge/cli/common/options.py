"""Options that several commands share."""

import os
import shlex
from pathlib import Path
from typing import Any

import click

from evse_mqtt_bridge.config.load import Loaded, load
from evse_mqtt_bridge.config.location import CONFIG_VARIABLE, DEFAULT_FILE, choose_file

__all__ = ["config_option", "load_config", "naming"]


def config_option(command: Any) -> Any:  # noqa: ANN401  # a decorator of click's
    """`--config FILE`, also from the environment variable EVSE_MQTT_BRIDGE_CONFIG."""
    return click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, readable=False),  # what cannot be read is told as of any configuration
        envvar=CONFIG_VARIABLE,
        show_envvar=True,
        help="The configuration file.  [default: config.toml]",
    )(command)


def load_config(path: Path | None) -> Loaded:
    """The configuration of a command: the file that was named, else config.toml, else the environment alone.

    Raises:
        ConfigError: it is wrong.
    """
    return load(choose_file(path, os.environ), os.environ)


def naming(path: Path | None) -> str:
    """What has to follow a command, so that it means this configuration: nothing where it is found without."""
    is_found = path in (None, DEFAULT_FILE) or os.environ.get(CONFIG_VARIABLE) == str(path)
    return "" if is_found else f" --config {shlex.quote(str(path))}"
