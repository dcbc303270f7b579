"""Asks stations once each, within the bounds of the configuration: for the commands that look."""

import asyncio
import math
from collections.abc import Sequence
from time import monotonic

from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.config.schema import Cloud, StationConfig
from evse_mqtt_bridge.domain.model import Outcome

__all__ = ["poll_once"]


async def poll_once(settings: Cloud, stations: Sequence[StationConfig]) -> list[Outcome]:
    """What each station answers, in order.

    Raises:
        ConfigError: `settings.ca_file` cannot be used.
    """
    places = asyncio.Semaphore(settings.max_concurrency)
    turnstile = asyncio.Lock()
    pause = 1 / settings.max_requests_per_second if settings.max_requests_per_second else 0.0
    last_start = -math.inf

    async with CloudClient(settings) as client:

        async def ask(station: StationConfig) -> Outcome:
            nonlocal last_start
            async with places:
                async with turnstile:  # counted from the last start, so that nobody who had to wait is caught up with
                    await asyncio.sleep(last_start + pause - monotonic())
                    last_start = monotonic()
                token = station.token.get_secret_value()
                return await client.fetch(client.prepare(station.edge_device_id, station.uuid, token))

        return await asyncio.gather(*(ask(station) for station in stations))
