"""Builds and writes configuration files for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from tests.harness.cloud import EXAMPLE_EVSE, CloudServer
from tests.harness.mosquitto import Mosquitto

__all__ = ["config_tables", "station_table", "write_config"]


def station_table(uuid: str = EXAMPLE_EVSE, **changed: object) -> dict[str, Any]:
    """Return a `[[stations]]` table, by default with the token `token-<uuid>`."""
    return {"edge_device_id": "edge-1", "uuid": uuid, "token": f"token-{uuid}", **changed}


def config_tables(
    broker: Mosquitto,
    cloud: CloudServer,
    stations: Sequence[Mapping[str, Any]] = (),
    **tables: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a complete configuration that polls every second, serves no status page and keeps no history.

    Args:
        broker: The broker to connect to.
        cloud: The API to poll.
        stations: `[[stations]]` tables; by default one for the vendor's example station.
        tables: Further settings to merge in, such as `polling={"interval": 2}`.
    """
    content: dict[str, Any] = {
        "mqtt": {"host": broker.host, "port": broker.port},
        "cloud": {"base_url": cloud.url},
        "polling": {"interval": 1},
        "http": {"enabled": False},
        "history": {"enabled": False},
    }
    for name, table in tables.items():
        content[name] = {**content.get(name, {}), **table}
    return {**content, "stations": [dict(station) for station in stations] or [station_table()]}


def write_config(path: Path, tables: Mapping[str, Any]) -> Path:
    """Write the file atomically (as an editor does), with mode 0600, and return its path."""
    temporary = path.with_name(path.name + ".part")
    temporary.touch(mode=0o600)
    temporary.write_text(tomlkit.dumps(tables))
    temporary.replace(path)
    return path
