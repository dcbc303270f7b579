"""Asking on an event loop of its own, with the transport under test."""

import asyncio
import json
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from evse_mqtt_bridge.cloud.client import CloudClient, StationRequest
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.domain.model import Outcome, Reading
from tests.cloud.fetching import TOKEN
from tests.harness import status_example
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS

__all__ = ["EXAMPLE", "HEADERS", "PATIENCE", "TRANSPORT", "Loop", "ask", "is_example", "settings_of", "target_of"]

PATIENCE = 30
"""Seconds within which each test has ended, on any machine."""

EXAMPLE = json.dumps(status_example()).encode()
HEADERS = {"evsetoken", "accept", "accept-encoding", "user-agent", "host"}
"""All that a request has."""

TRANSPORT = ContextVar("TRANSPORT", default="auto")
"""What `settings_of` puts into `cloud.transport`."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loop:
    """Runs a coroutine on a new event loop; `transport` is what carries requests."""

    transport: str

    def __call__(self, test: Coroutine[object, object, T]) -> T:
        with asyncio.Runner() as runner:
            return runner.run(_hung_up_after(asyncio.wait_for(test, PATIENCE)))


async def _hung_up_after(test: Coroutine[object, object, T]) -> T:
    """The result of a test, whose connections are closed when its loop ends.

    aiohttp does not wait for the end of a TLS connection that the server closes after its answer.
    """
    try:
        return await test
    finally:
        for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
            transport.abort()
        await asyncio.sleep(0)


def settings_of(url: str, **changed: object) -> Cloud:
    return Cloud.model_validate({"base_url": url, "transport": TRANSPORT.get(), **changed})


def target_of(client: CloudClient, uuid: str = EXAMPLE_EVSE) -> StationRequest:
    return client.prepare("edge-1", uuid, TOKEN)


async def ask(url: str, uuid: str = EXAMPLE_EVSE, **changed: object) -> Outcome:
    """What a client gets for one station."""
    async with CloudClient(settings_of(url, **changed)) as client:
        outcome = await client.fetch(target_of(client, uuid))
    assert TOKEN not in repr(outcome)
    return outcome


def is_example(outcome: Outcome) -> bool:
    return isinstance(outcome, Reading) and [plug.plug_uuid for plug in outcome.plugs] == list(EXAMPLE_PLUGS)
