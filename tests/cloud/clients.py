"""Clients for the tests of the cloud package, each with the transport under test."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from evse_mqtt_bridge.cloud.client import CloudClient, StationRequest
from evse_mqtt_bridge.config.schema import Cloud
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Repeat
from tests.harness import status_example
from tests.harness.cloud import EXAMPLE_EVSE, EXAMPLE_PLUGS

__all__ = ["EXAMPLE", "HEADERS", "TOKEN", "Clients", "failure_of", "is_example", "reading_of", "request_for"]

TOKEN = "s3cr3t-t0ken"
EXAMPLE = json.dumps(status_example()).encode()
HEADERS = {"evsetoken", "accept", "accept-encoding", "user-agent", "host"}
"""The names of all headers of a status request."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Creates clients with one transport.

    Attributes:
        transport: The name of the transport in the settings.
        create_transport: Creates the transport of each client; `None`: the client chooses it by its settings.
    """

    transport: str
    create_transport: Callable[[], httpx.AsyncBaseTransport] | None = None

    def settings(self, url: str, **changed: object) -> Cloud:
        """Return settings for a server, with some of them changed."""
        return Cloud.model_validate({"base_url": url, "transport": self.transport, **changed})

    def client(self, url: str, **changed: object) -> CloudClient:
        """Return a client that has not been entered."""
        return CloudClient(self.settings(url, **changed), self.create_transport and self.create_transport())

    async def poll(self, url: str, uuid: str = EXAMPLE_EVSE, /, **changed: object) -> Outcome:
        """Return the outcome of one poll by a new client."""
        async with self.client(url, **changed) as client:
            outcome = await client.fetch(request_for(client, uuid))
        assert TOKEN not in repr(outcome)
        return outcome


def request_for(client: CloudClient, uuid: str = EXAMPLE_EVSE) -> StationRequest:
    return client.prepare("edge-1", uuid, TOKEN)


def is_example(outcome: Outcome) -> bool:
    if isinstance(outcome, Repeat):
        outcome = outcome.parsed()
    return isinstance(outcome, Reading) and [plug.plug_uuid for plug in outcome.plugs] == list(EXAMPLE_PLUGS)


def reading_of(outcome: Outcome) -> Reading:
    assert isinstance(outcome, Reading), outcome
    return outcome


def failure_of(outcome: Outcome) -> Failure:
    assert isinstance(outcome, Failure), outcome
    assert outcome.detail.isprintable()
    return outcome
