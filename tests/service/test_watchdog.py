"""The watchdog as a component: it reports to the service manager while the bridge is healthy."""

import asyncio
import os
from pathlib import Path

import pytest

from evse_mqtt_bridge.service.components.watchdog import Watchdog
from evse_mqtt_bridge.service.systemd import ServiceNotifier
from tests.harness.service_manager import ServiceManager


@pytest.mark.parametrize("is_healthy", [True, False], ids=["healthy", "unhealthy"])
async def test_watchdog_is_fed_only_while_healthy(tmp_path: Path, is_healthy: bool) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        notifier = ServiceNotifier.from_environment({**manager.environment, "WATCHDOG_USEC": "200000"}, os.getpid())
        watchdog = Watchdog(notifier, asyncio.get_running_loop().time, lambda: is_healthy)
        await watchdog.start()
        await asyncio.sleep(1.2)
        await watchdog.stop()
        assert manager.receives_nothing(0.1) is not is_healthy
        if is_healthy:
            assert manager.next_message() == {"WATCHDOG": "1"}


async def test_watchdog_without_a_manager_measures_the_loop() -> None:
    watchdog = Watchdog(ServiceNotifier(), asyncio.get_running_loop().time, lambda: True)
    await watchdog.start()
    await asyncio.sleep(0)
    assert watchdog.task.current is not None
    assert watchdog.loop_lag.worst >= 0
    await watchdog.stop()
    assert watchdog.task.current is None
