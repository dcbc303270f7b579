"""Finds the database of a configuration."""

import os
from collections.abc import Mapping
from datetime import timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from evse_mqtt_bridge.config.schema import History
from evse_mqtt_bridge.storage.url import with_password
from evse_mqtt_bridge.storage.writer import Retention
from evse_mqtt_bridge.support.errors import ConfigError, Problem

__all__ = ["database_url", "retention", "time_zone"]

_FILE = "history.sqlite"
_SERVICE_FOLDER = Path("/var/lib/evse-mqtt-bridge")
_UNKNOWN_ZONE = (
    "is not set, and TZ and /etc/localtime do not name the time zone of the machine; "
    'set it to a time zone such as "Europe/Berlin"'
)


def database_url(settings: History, environ: Mapping[str, str]) -> str:
    """Return the URL with the password.

    Without `history.url`, the file is in the first of these folders: the one that the service manager passes as
    STATE_DIRECTORY; that of the service, so that a command run by hand finds it; the user's, by the XDG Base Directory
    Specification.

    Args:
        settings: The settings of the history.
        environ: The environment variables.
    """
    if settings.url:
        password = settings.password
        return settings.url if password is None else with_password(settings.url, password.get_secret_value())
    return f"sqlite:///{_state_folder(environ) / _FILE}"


def retention(settings: History) -> Retention:
    """Return how long rows are kept."""
    sessions, energy = settings.keep_sessions, settings.keep_energy
    return Retention(timedelta(days=sessions) if sessions else None, timedelta(days=energy) if energy else None)


def time_zone(settings: History) -> tzinfo:
    """Return the time zone of days and months: the configured one, else that of the machine.

    Raises:
        ConfigError: That of the machine cannot be used, for example because TZ is a rule such as `CET-1CEST`.
    """
    if settings.time_zone:
        return ZoneInfo(settings.time_zone)
    from tzlocal import get_localzone  # noqa: PLC0415  # only reports need it

    try:
        return get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(Problem(_UNKNOWN_ZONE, key="history.time_zone")) from None


def _state_folder(environ: Mapping[str, str]) -> Path:
    if state_directory := environ.get("STATE_DIRECTORY"):
        return Path(state_directory.split(":")[0])  # systemd passes several as a list
    if os.access(_SERVICE_FOLDER, os.X_OK):
        return _SERVICE_FOLDER
    state_home = environ.get("XDG_STATE_HOME", "")
    base = Path(state_home) if state_home.startswith("/") else Path.home() / ".local" / "state"
    return base / "evse-mqtt-bridge"
