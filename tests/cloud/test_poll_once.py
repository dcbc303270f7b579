"""Stations asked once each: in order, and within the bounds of the configuration."""

import asyncio
import time
from pathlib import Path

import pytest

from evse_mqtt_bridge.cloud.poll_once import poll_once
from evse_mqtt_bridge.config.schema import Cloud, StationConfig
from evse_mqtt_bridge.domain.model import Failure, Outcome, Reading, Reason
from evse_mqtt_bridge.support.errors import ConfigError
from tests.cloud.loops import settings_of
from tests.harness import Answer, CloudServer, Request, free_port, plug_object

pytestmark = pytest.mark.usefixtures("transport")


def _stations(count: int) -> list[StationConfig]:
    return [
        StationConfig.model_validate({"edge_device_id": f"edge-{n}", "uuid": f"evse-{n}", "token": f"token-{n}"})
        for n in range(count)
    ]


def _settings(url: str, **changed: object) -> Cloud:
    return settings_of(url, **{"max_requests_per_second": 0, **changed})


def _survey(cloud: CloudServer, count: int, **changed: object) -> list[Outcome]:
    return asyncio.run(asyncio.wait_for(poll_once(_settings(cloud.url, **changed), _stations(count)), 30))


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _plugs(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Reading), outcome
    return [plug.plug_uuid for plug in outcome.plugs]


def test_outcomes_come_in_the_order_of_the_stations(cloud: CloudServer) -> None:
    """Also where the first to be asked is the last to answer, and one does not answer as it should."""

    def answer(request: Request) -> Answer:
        number = int(request.uuid.removeprefix("evse-"))
        return Answer(
            [plug_object(plug_uuid=f"plug-{number}", evse_uuid=request.uuid)], delay=0.1 if number == 0 else 0
        )

    for number in range(6):
        cloud.answer(f"evse-{number}", answer, token=f"token-{number}")
    cloud.answer("evse-3", b"", status=503)
    outcomes = _survey(cloud, 6)
    assert outcomes[3] == Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")
    del outcomes[3]
    assert [_plugs(outcome) for outcome in outcomes] == [["plug-0"], ["plug-1"], ["plug-2"], ["plug-4"], ["plug-5"]]
    assert {request.edge_device_id for request in cloud.requests} == {f"edge-{number}" for number in range(6)}


@pytest.mark.parametrize(("allowed", "expected"), [(1, 1), (3, 3), (50, 8)])
def test_there_are_never_more_requests_under_way_than_allowed(allowed: int, expected: int) -> None:
    """Each answer takes a while, in which all that may be under way have come."""
    under_way = most = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        while await _head(reader):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.05)
            under_way -= 1
            writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def test() -> list[Outcome]:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            return await poll_once(_settings(url, max_concurrency=allowed), _stations(8))
        finally:
            server.close()

    assert (
        asyncio.run(asyncio.wait_for(test(), 30)) == [Failure(Reason.SERVER_ERROR, "HTTP 503 Service Unavailable")] * 8
    )
    assert most == expected


def test_requests_start_no_quicker_than_allowed(cloud: CloudServer) -> None:
    """Also after a station that took long, when all the others are overdue."""
    count, rate = 7, 20
    for number in range(count):
        body = [plug_object(plug_uuid="plug", evse_uuid=f"evse-{number}")]
        cloud.answer(f"evse-{number}", Answer(body, delay=0.35 if number == 0 else 0))
    outcomes = _survey(cloud, count, max_concurrency=1, max_requests_per_second=rate)
    assert [_plugs(outcome) for outcome in outcomes] == [["plug"]] * count
    starts = [request.at for request in cloud.requests]
    # From the second on, at least as long as the rate asks for; arrivals are not to the millisecond.
    assert starts[-1] - starts[1] > 0.8 * (count - 2) / rate


def test_without_a_limit_nobody_waits(cloud: CloudServer) -> None:
    for number in range(20):
        cloud.answer(f"evse-{number}", [plug_object(evse_uuid=f"evse-{number}")])
    before = time.monotonic()
    assert len(_survey(cloud, 20)) == 20
    assert time.monotonic() - before < 5


def test_nobody_is_asked_where_there_is_no_station(cloud: CloudServer) -> None:
    assert _survey(cloud, 0) == []
    assert cloud.requests == []


def test_a_cloud_that_does_not_answer_is_an_outcome_of_each_station() -> None:
    outcomes = asyncio.run(poll_once(settings_of(f"http://127.0.0.1:{free_port()}"), _stations(2)))
    assert outcomes == [Failure(Reason.UNREACHABLE, "connection refused")] * 2


def test_a_ca_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cloud\.ca_file: "):
        asyncio.run(poll_once(settings_of("https://127.0.0.1:1", ca_file=str(tmp_path / "none.pem")), _stations(1)))
