"""Hundreds of odd HTTP responses: both transports reach the same verdict, over real sockets."""

import asyncio
from dataclasses import replace

from evse_mqtt_bridge.cloud.parser import ResponseParser
from evse_mqtt_bridge.domain.model import Failure
from tests.cloud.clients import Clients, is_example, request_for
from tests.cloud.odd_responses import ODD_RESPONSES, READ
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, raw


async def test_odd_response_has_the_same_verdict_everywhere(clients: Clients, server: MisbehavingServer) -> None:
    assert len(ODD_RESPONSES) > 250
    for number, response in enumerate(ODD_RESPONSES):
        server.set_behaviour(str(number), raw(response))
    # One connection per request: the server closes each, and a client that reuses it meanwhile gets no response.
    async with clients.client(server.url, timeout=20, max_concurrency=len(ODD_RESPONSES)) as client:
        outcomes = await asyncio.gather(
            *(
                client.fetch(replace(request_for(client, str(number)), parser=ResponseParser(EXAMPLE_EVSE)))
                for number in range(len(ODD_RESPONSES))
            )
        )
    wrong = []
    for (response, verdict), outcome in zip(ODD_RESPONSES.items(), outcomes, strict=True):
        actual = outcome.detail if isinstance(outcome, Failure) else READ if is_example(outcome) else repr(outcome)
        if actual != verdict:
            wrong.append(f"{response[:150]!r} of {len(response)} bytes: {actual}; expected: {verdict}")
    assert not wrong, "\n".join(wrong)
