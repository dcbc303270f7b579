"""Polling stations once: in the order of the configuration, and within its limits."""

import asyncio
import time
from pathlib import Path

import pytest

from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.schema import StationConfig, StationTable
from evse_mqtt_bridge.domain.model import Failure, Reading, Reason
from evse_mqtt_bridge.support.errors import ConfigError
from tests.cloud.clients import Clients
from tests.cloud.servers import serving
from tests.harness import Answer, CloudServer, Request, free_port, plug_object

_BUSY = Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")


def _stations(count: int) -> list[StationConfig]:
    return [
        StationConfig.of(
            StationTable.model_validate({"edge_device_id": f"edge-{n}", "uuid": f"evse-{n}", "token": f"token-{n}"})
        )
        for n in range(count)
    ]


async def _poll(clients: Clients, url: str, count: int, **changed: object) -> list[Reading | Failure]:
    settings = clients.settings(url, **{"max_requests_per_second": 0, **changed})
    async with asyncio.timeout(30):
        return await poll_once(settings, _stations(count))


def _plugs(outcome: Reading | Failure) -> list[str]:
    assert isinstance(outcome, Reading), outcome
    return [plug.plug_uuid for plug in outcome.plugs]


async def test_outcomes_are_in_the_order_of_the_stations(clients: Clients, cloud: CloudServer) -> None:
    """The first station answers last, and one fails."""

    def answer(request: Request) -> Answer:
        number = int(request.uuid.removeprefix("evse-"))
        body = [plug_object(plug_uuid=f"plug-{number}", evse_uuid=request.uuid)]
        return Answer(body, delay=0.1 if number == 0 else 0)

    for number in range(6):
        cloud.answer(f"evse-{number}", answer, token=f"token-{number}")
    cloud.answer("evse-3", b"", status=503)
    outcomes = await _poll(clients, cloud.url, 6)
    assert outcomes[3] == _BUSY
    del outcomes[3]
    assert [_plugs(outcome) for outcome in outcomes] == [["plug-0"], ["plug-1"], ["plug-2"], ["plug-4"], ["plug-5"]]
    assert {request.edge_device_id for request in cloud.requests} == {f"edge-{number}" for number in range(6)}


@pytest.mark.parametrize(("allowed", "expected"), [(1, 1), (3, 3), (50, 8)])
async def test_concurrent_requests_never_exceed_the_setting(clients: Clients, allowed: int, expected: int) -> None:
    """Each response takes a while, in which all concurrent requests arrive."""
    concurrent = most = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal concurrent, most
        while await reader.readuntil(b"\r\n\r\n"):
            concurrent += 1
            most = max(most, concurrent)
            await asyncio.sleep(0.2)
            concurrent -= 1
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")

    async with serving(handle) as port:
        assert await _poll(clients, f"http://127.0.0.1:{port}", 8, max_concurrency=allowed) == [_BUSY] * 8
    assert most == expected


async def test_requests_never_exceed_the_rate(clients: Clients, cloud: CloudServer) -> None:
    """After a slow station all others are overdue, and the rate still applies."""
    count, rate = 7, 20
    for number in range(count):
        body = [plug_object(plug_uuid="plug", evse_uuid=f"evse-{number}")]
        cloud.answer(f"evse-{number}", Answer(body, delay=0.35 if number == 0 else 0))
    outcomes = await _poll(clients, cloud.url, count, max_concurrency=1, max_requests_per_second=rate)
    assert [_plugs(outcome) for outcome in outcomes] == [["plug"]] * count
    starts = [request.at for request in cloud.requests]
    # From the second request on, as long as the rate demands; arrivals are not exact to the millisecond.
    assert starts[-1] - starts[1] > 0.8 * (count - 2) / rate


async def test_requests_without_a_rate_do_not_wait(clients: Clients, cloud: CloudServer) -> None:
    for number in range(20):
        cloud.answer(f"evse-{number}", [plug_object(evse_uuid=f"evse-{number}")])
    before = time.monotonic()
    assert len(await _poll(clients, cloud.url, 20)) == 20
    assert time.monotonic() - before < 5


async def test_no_station_means_no_request(clients: Clients, cloud: CloudServer) -> None:
    assert await _poll(clients, cloud.url, 0) == []
    assert cloud.requests == []


async def test_unreachable_cloud_is_a_failure_of_each_station(clients: Clients) -> None:
    settings = clients.settings(f"http://127.0.0.1:{free_port()}")
    assert await poll_once(settings, _stations(2)) == [Failure(Reason.UNREACHABLE, "connection refused")] * 2


async def test_unusable_ca_file_is_a_configuration_error(clients: Clients, tmp_path: Path) -> None:
    settings = clients.settings("https://127.0.0.1:1", ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"^cloud\.ca_file: "):
        await poll_once(settings, _stations(1))
