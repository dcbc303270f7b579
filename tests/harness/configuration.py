"""Configuration files for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from tests.harness.cloud import EXAMPLE_EVSE, CloudServer
from tests.harness.mosquitto import Mosquitto

__all__ = ["config_tables", "station_table", "write_config"]


def station_table(uuid: str = EXAMPLE_EVSE, **changed: object) -> dict[str, Any]:
    """A `[[stations]]` table; the token is `token-` and the uuid, unless told otherwise."""
    return {"edge_device_id": "edge-1", "uuid": uuid, "token": f"token-{uuid}", **changed}


def config_tables(
    broker: Mosquitto,
    cloud: CloudServer,
    stations: Sequence[Mapping[str, Any]] = (),
    **tables: Mapping[str, Any],
) -> dict[str, Any]:
    """A whole configuration: polls every second, no page; `tables` (`polling={"interval": 2}`) are merged into it."""
    content: dict[str, Any] = {
        "mqtt": {"host": broker.host, "port": broker.port},
        "cloud": {"base_url": cloud.url},
        "polling": {"interval": 1},
        "http": {"enabled": False},
    }
    for name, table in tables.items():
        content[name] = {**content.get(name, {}), **table}
    return {**content, "stations": [dict(station) for station in stations] or [station_table()]}


def write_config(path: Path, tables: Mapping[str, Any]) -> Path:
    """Writes the file in one step (as an editor does), readable by its owner alone, and returns its path."""
    beside = path.with_name(path.name + ".part")
    beside.touch(mode=0o600)
    beside.write_text(tomlkit.dumps(tables))
    beside.replace(path)
    return path
