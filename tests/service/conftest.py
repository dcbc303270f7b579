"""Fixtures for the tests of the running bridge."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import BridgeProcess, CloudServer, Mosquitto
from tests.harness.cloud import EXAMPLE_EVSE, status_example
from tests.harness.configuration import config_tables, write_config

Start = Callable[..., BridgeProcess]


@pytest.fixture
def tables(broker: Mosquitto, cloud: CloudServer) -> dict[str, Any]:
    """A configuration with the station of the vendor's example. No measurement is stale, as that one is years old."""
    cloud.answer(EXAMPLE_EVSE, status_example(), token=f"token-{EXAMPLE_EVSE}")
    return config_tables(broker, cloud, polling={"stale_after": 0})


@pytest.fixture
def config(tmp_path: Path, tables: dict[str, Any]) -> Path:
    """The file with this configuration."""
    return write_config(tmp_path / "config.toml", tables)
