"""Asks stations once each, within the bounds of the configuration: for the commands that look."""

import asyncio
from collections.abc import Sequence

from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.config.schema import Cloud, StationConfig
from evse_mqtt_bridge.core.model import Outcome

__all__ = ["survey"]


async def survey(settings: Cloud, stations: Sequence[StationConfig]) -> list[Outcome]:
    """What each station answers, in order.

    Raises:
        ConfigError: `settings.ca_file` cannot be used.
    """
    places = asyncio.Semaphore(settings.max_concurrency)
    pause = 1 / settings.max_requests_per_second if settings.max_requests_per_second else 0.0

    async with CloudClient(settings) as client:

        async def ask(number: int, station: StationConfig) -> Outcome:
            await asyncio.sleep(number * pause)
            async with places:
                token = station.token.get_secret_value()
                return await client.fetch(client.prepare(station.edge_device_id, station.uuid, token))

        return await asyncio.gather(*(ask(number, station) for number, station in enumerate(stations)))
