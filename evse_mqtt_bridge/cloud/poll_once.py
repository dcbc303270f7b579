"""Polls stations once each, within the limits of the configuration, for commands such as `check --online`."""

import asyncio
import math
from collections.abc import Sequence
from time import monotonic

from evse_mqtt_bridge.cloud.client import CloudClient
from evse_mqtt_bridge.config.schema import Cloud, StationConfig
from evse_mqtt_bridge.domain.model import Failure, Reading, Repeat

__all__ = ["poll_once"]


async def poll_once(settings: Cloud, stations: Sequence[StationConfig]) -> list[Reading | Failure]:
    """Return the outcome of one poll per station, in the order of the stations.

    Raises:
        ConfigError: `settings.transport` or `settings.ca_file` cannot be used.
    """
    slots = asyncio.Semaphore(settings.max_concurrency)
    dispatch_lock = asyncio.Lock()
    pause = 1 / settings.max_requests_per_second if settings.max_requests_per_second else 0.0
    last_start = -math.inf

    async with CloudClient(settings) as client:

        async def poll(station: StationConfig) -> Reading | Failure:
            nonlocal last_start
            async with slots:
                async with dispatch_lock:  # the pause counts from the last start, and delays are not caught up
                    await asyncio.sleep(last_start + pause - monotonic())
                    last_start = monotonic()
                token = station.token.get_secret_value()
                outcome = await client.fetch(client.prepare(station.edge_device_id, station.uuid, token))
                return outcome.parsed() if isinstance(outcome, Repeat) else outcome

        return await asyncio.gather(*(poll(station) for station in stations))
