"""The few settings that find a running bridge, read with the standard library only.

The schema (config/schema.py) defines which values are valid. `read_health_settings` accepts plain, valid values only
and leaves every other case to the complete loader, which also explains errors. It ignores all other settings. If the
file has errors elsewhere, `usable_settings` still finds the bridge, which keeps its configuration and stays healthy.
"""

import itertools
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evse_mqtt_bridge.config.location import VARIABLE_PREFIX, unquoted
from evse_mqtt_bridge.support.files import read_file

__all__ = ["HealthSettings", "read_health_settings", "usable_settings"]

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_FILE_LIMIT = 64 * 1024**2  # bytes
_CLIENT_ID_LENGTH = 128
_PORTS = range(1, 65536)
_HTTP_KEYS = ("enabled", "host", "port")
_TEXT_KEYS = frozenset({"host", "client_id"})


class HealthSettings(NamedTuple):
    """The settings that `health` needs; the defaults are those of the schema.

    Attributes:
        enabled: Whether the bridge serves /healthz (`http.enabled`).
        host: Name or address that the bridge listens on (`http.host`).
        port: Port that the bridge listens on, 1 to 65535 (`http.port`).
        client_id: MQTT client ID of the bridge (`mqtt.client_id`); empty: unknown.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 9480
    client_id: str = "evse-mqtt-bridge"


def read_health_settings(path: Path | None, environ: Mapping[str, str]) -> HealthSettings | None:
    """Return the settings from the file at `path` and the environment; `None` if the complete loader is needed."""
    try:
        data = tomllib.loads(read_file(path, _FILE_LIMIT).decode().removeprefix("\ufeff")) if path is not None else {}
        variables = _variables(environ)
        http = _table(data, variables, "http", _HTTP_KEYS)
        mqtt = _table(data, variables, "mqtt", ("host", "client_id"))
    except (OSError, ValueError, RecursionError):
        return None
    has_unknown_keys = not http.keys() <= set(_HTTP_KEYS)
    if has_unknown_keys or not isinstance(mqtt.get("host"), str):
        return None
    client_id = {"client_id": mqtt["client_id"]} if "client_id" in mqtt else {}
    values = {**HealthSettings()._asdict(), **http, **client_id}
    return HealthSettings(**values) if _are_valid(**values) else None


def usable_settings(path: Path | None, environ: Mapping[str, str]) -> HealthSettings | None:
    """Return the settings of a file or an environment with errors; `None` if one of them is itself wrong.

    The line of each setting is read by itself, so that errors elsewhere, also in the syntax, do not matter.
    """
    try:
        text = read_file(path, _FILE_LIMIT).decode(errors="replace").removeprefix("\ufeff") if path is not None else ""
        variables = _variables(environ)
        http = _table({"http": _read_lines(text, "http", _HTTP_KEYS)}, variables, "http", _HTTP_KEYS)
        mqtt = _table({"mqtt": _read_lines(text, "mqtt", ("client_id",))}, variables, "mqtt", ("client_id",))
    except (OSError, ValueError, RecursionError):
        return None
    values = {**HealthSettings()._asdict(), **http, **mqtt}
    settings = HealthSettings(**values) if _are_valid(**values) else None
    return settings._replace(client_id="") if settings and "client_id" not in mqtt else settings


def _read_lines(text: str, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of these keys of a table that has a header.

    Raises:
        ValueError: The line of one of the keys is not valid TOML.
    """
    header = re.search(rf"^[ \t]*\[[ \t]*{name}[ \t]*\][ \t\r]*(?:#.*)?$", text, re.MULTILINE)
    lines = text[header.end() :].splitlines() if header else ()
    values: dict[str, Any] = {}
    for line in itertools.takewhile(lambda line: not line.lstrip().startswith("["), lines):
        if line.partition("=")[0].strip() in keys:
            values |= tomllib.loads(line)
    return values


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that set settings, with their names in capitals.

    Raises:
        ValueError: A variable is set twice, or sets a whole table or an unknown setting.
    """
    variables: dict[str, str] = {}
    known = {f"{VARIABLE_PREFIX}HTTP__{key.upper()}" for key in _HTTP_KEYS}
    for name, value in environ.items():
        key = name.upper()
        if not key.startswith(VARIABLE_PREFIX):
            continue
        is_unknown = key.startswith(f"{VARIABLE_PREFIX}HTTP") and key not in known
        if key in variables or is_unknown or key == f"{VARIABLE_PREFIX}MQTT":
            raise ValueError(name)
        variables[key] = unquoted(value)
    return variables


def _table(data: dict[str, Any], variables: Mapping[str, str], name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return one table of the file, overlaid with the variables that set `keys`.

    Raises:
        ValueError: The value in the file is not a table, or a variable is not JSON.
    """
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(name)  # noqa: TRY004  # handled like every other wrong value
    for key in keys:
        text = variables.get(f"{VARIABLE_PREFIX}{name}__{key}".upper())
        if text is not None:
            table[key] = text if key in _TEXT_KEYS else json.loads(text.lower())
    return table


def _are_valid(*, enabled: object, host: object, port: object, client_id: object) -> bool:
    """Return whether the schema accepts the values as they are."""
    return (
        isinstance(enabled, bool)
        and isinstance(host, str)
        and _HOST.fullmatch(host) is not None
        and host.count(":") != 1
        and type(port) is int  # a bool is an int, too
        and port in _PORTS
        and isinstance(client_id, str)
        and 0 < len(client_id) <= _CLIENT_ID_LENGTH
        and client_id.isprintable()
    )
