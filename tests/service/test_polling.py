"""Polling as a component: the effect of a reload on the poller and its client."""

import math
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from evse_mqtt_bridge.config.plan import publishing_plan
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.availability import Moment
from evse_mqtt_bridge.domain.model import Outcome, StationState
from evse_mqtt_bridge.polling.poller import Clock
from evse_mqtt_bridge.publishing.plan import Plan
from evse_mqtt_bridge.service.components.polling import Polling
from evse_mqtt_bridge.support.errors import ConfigError
from tests.harness import Authority

_FIRST, _SECOND = "a" * 32, "b" * 32


def _station(uuid: str, **changed: object) -> dict[str, Any]:
    return {"edge_device_id": "edge-1", "uuid": uuid, "token": f"token-{uuid}", **changed}


def _config(**changed: object) -> Config:
    tables = {
        "mqtt": {"host": "broker.test"},
        "cloud": {"base_url": "http://cloud.test"},
        "stations": [_station(_FIRST)],
    }
    return Config.model_validate({**tables, **changed})


def _on_result(_uuid: str, _outcome: Outcome, _moment: Moment, _seconds: float) -> StationState:
    return StationState()


class _All:
    """Stands in for the shards of a bridge without a fleet."""

    held_part = 1.0

    @property
    def plan(self) -> Plan:
        return publishing_plan(_config(stations=[_station(_FIRST), _station(_SECOND)]))


@pytest.fixture
async def polling() -> AsyncIterator[Polling]:
    """Polling that is prepared, and not started."""
    config = _config()
    component = Polling(config, Clock(lambda: 1000.0, lambda: 0.5), _on_result, _All())
    await component.prepare(config)
    yield component
    await component.stop()


@pytest.mark.parametrize(
    ("cloud", "held_until"),
    [
        ({"base_url": "http://cloud.test", "timeout": 5}, 2000.0),
        ({"base_url": "http://other.test"}, -math.inf),
    ],
    ids=["same base_url", "other base_url"],
)
async def test_reconfigure_keeps_a_pause_for_the_same_cloud(
    polling: Polling, cloud: dict[str, object], held_until: float
) -> None:
    polling.poller.hold(2000.0)
    await polling.stop()
    new = _config(cloud=cloud)
    await polling.prepare(new)
    polling.reconfigure(new)
    assert (polling.poller.held_until, polling.settings) == (held_until, new.cloud)


async def test_reconfigure_stations_keeps_the_poller(polling: Polling) -> None:
    poller = polling.poller
    polling.reconfigure(_config(stations=[_station(_FIRST), _station(_SECOND)]))
    polling.reconfigure(_config(stations=[_station(_SECOND, token="other")]))
    assert polling.poller is poller


async def test_prepare_with_an_unusable_ca_file_raises(polling: Polling) -> None:
    settings, poller = polling.settings, polling.poller
    with pytest.raises(ConfigError, match="ca_file"):
        await polling.prepare(_config(cloud={"base_url": "https://cloud.test", "ca_file": "/nowhere/ca.pem"}))
    polling.reconfigure(_config(polling={"interval": 5}))
    assert (polling.settings, polling.poller) == (settings, poller)


async def test_prepare_with_a_renewed_ca_file_replaces_the_client(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    ca_file = tmp_path / "ca.pem"
    shutil.copy(old.ca_file, ca_file)
    config = _config(cloud={"base_url": "https://cloud.test", "ca_file": str(ca_file)})
    polling = Polling(config, Clock(lambda: 1000.0, lambda: 0.5), _on_result, _All())
    await polling.prepare(config)
    poller, digest = polling.poller, polling.ca_digest
    await polling.prepare(config)
    polling.reconfigure(config)
    assert (polling.poller, polling.ca_digest) == (poller, digest)
    shutil.copy(new.ca_file, ca_file)
    await polling.stop()
    await polling.prepare(config)
    polling.reconfigure(config)
    assert polling.poller is not poller
    assert polling.ca_digest != digest
    await polling.stop()
