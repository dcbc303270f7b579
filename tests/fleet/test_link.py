"""The connection of a member to the broker, with a real broker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.domain.events import Listener
from evse_mqtt_bridge.fleet.link import Link
from tests.harness import Mosquitto
from tests.harness.strict_proxy import StrictProxy


def _link(broker: Mosquitto | StrictProxy, may_connect: Callable[[], bool] = lambda: True) -> Link:
    tables: dict[str, Any] = {
        "mqtt": {"host": broker.host, "port": broker.port},
        "fleet": {"engine": "etcd", "endpoints": ["http://127.0.0.1:2379"], "member": "m1"},
    }
    return Link(Config.model_validate(tables), "m1", Listener(), lambda: 0.0, may_connect)


@asynccontextmanager
async def _running(link: Link) -> AsyncIterator[None]:
    task = asyncio.create_task(link.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # nothing reports the change
            await asyncio.sleep(0.02)


async def test_name_that_is_not_confirmed_is_not_used(broker: Mosquitto) -> None:
    is_confirmed = False
    link = _link(broker, lambda: is_confirmed)
    async with _running(link):
        await asyncio.sleep(0.5)
        assert not link.is_current
        is_confirmed = True
        await _until(lambda: link.is_current)


async def test_broker_that_closes_at_the_reading_blocks_no_shard(broker: Mosquitto) -> None:
    with StrictProxy(broker.port, subscribe=["evse/+/info"]) as proxy:
        link = _link(proxy)
        async with _running(link):
            await _until(lambda: not link.is_expected)
            assert len(proxy.connections) == 2
