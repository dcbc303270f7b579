"""Finds the configuration file of a command, and names the environment variables.

This module imports the standard library only, so that commands that need one path do not load the schema.
"""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CONFIG_VARIABLE", "DEFAULT_FILE", "VARIABLE_PREFIX", "choose_file", "path_exists", "unquoted"]

CONFIG_VARIABLE = "EVSE_MQTT_BRIDGE_CONFIG"
"""Name of the environment variable with the path of the configuration file."""

DEFAULT_FILE = Path("config.toml")
"""Default configuration file, in the working directory."""

VARIABLE_PREFIX = "EVSE_MQTT_BRIDGE__"
"""Prefix of the environment variables that are settings."""

_BROKER_VARIABLES = frozenset({f"{VARIABLE_PREFIX}MQTT", f"{VARIABLE_PREFIX}MQTT__HOST"})


def choose_file(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to load: `named`, else EVSE_MQTT_BRIDGE_CONFIG, else config.toml in the working directory.

    Return `None` if none is named, config.toml does not exist, and the environment names the broker: then the
    environment can contain the complete configuration.
    """
    if named is not None:
        return named
    if environ.get(CONFIG_VARIABLE):
        return Path(unquoted(environ[CONFIG_VARIABLE]))
    names_broker = not _BROKER_VARIABLES.isdisjoint(name.upper() for name in environ)
    return None if names_broker and not path_exists(DEFAULT_FILE) else DEFAULT_FILE


def unquoted(text: str) -> str:
    """Return the value of an environment variable without matching quotes around it.

    A shell, systemd and Compose remove them from the lines of an env file; `docker run --env-file` and others do not.
    Text with further quotes of the same kind is unchanged, because the outer ones are not a pair.
    """
    if len(text) > 1 and text[0] in "\"'" and text[0] == text[-1] and text[0] not in text[1:-1]:
        return text[1:-1]
    return text


def path_exists(path: Path) -> bool:
    """Return whether `path` exists; false in a folder that may not be searched, where `Path.exists` raises."""
    return os.path.exists(path)  # noqa: PTH110  # Path.exists raises PermissionError up to Python 3.11
