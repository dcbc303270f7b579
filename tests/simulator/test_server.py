import asyncio
import json
import logging
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from evse_mqtt_bridge.simulator.faults import Fault, Faults
from evse_mqtt_bridge.simulator.server import SimulatorError, SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, living_stations
from evse_mqtt_bridge.support.tls import server_context
from tests.harness import Authority, free_port

START = datetime(2024, 3, 25, 11, 12, 15, tzinfo=UTC)
STATIONS = living_stations(6, 3)
PROMPT = 10
"""Seconds within which what comes at once has come, on any machine."""


NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no certificate, and is made much quicker than one that trusts the usual ones."""

GONE = (httpx.RemoteProtocolError, httpx.ReadError)


@dataclass
class Day:
    """The time of day, moved by hand."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time


@dataclass
class Said:
    """The lines that a server said."""

    lines: list[str] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.first.set()


def run(test: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def path_of(station: SimulatedStation) -> str:
    return f"/edgedevices/{station.edge_device_id}/evses/{station.uuid}/status"


def client_of(server: SimulatorServer, trusting: ssl.SSLContext = NOBODY) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, verify=trusting, timeout=PROMPT)


async def get(
    client: httpx.AsyncClient, station: SimulatedStation, token: str | None = None, *, patience: float = PROMPT
) -> httpx.Response:
    headers = {"evsetoken": station.token if token is None else token}
    return await client.get(path_of(station), headers=headers, timeout=httpx.Timeout(PROMPT, read=patience))


def test_each_station_answers_with_all_its_plugs() -> None:
    simulation = Simulation(STATIONS, START)

    async def test() -> None:
        day = Day(START + timedelta(hours=5))
        async with SimulatorServer(simulation, now=day.now) as server, client_of(server) as client:
            assert server.url == f"http://127.0.0.1:{server.port}"
            for station in STATIONS:
                response = await get(client, station)
                assert response.status_code == 200
                assert response.headers["content-type"] == "application/json; charset=utf-8"
                assert response.json() == simulation.answer(station, day.now())
                assert [plug["plug_uuid"] for plug in response.json()] == [plug.uuid for plug in station.plugs]
            statuses = {plug["status"] for station in STATIONS for plug in (await get(client, station)).json()}
            assert len(statuses) > 1

    run(test())


def test_time_passes_at_the_speed_that_was_asked_for() -> None:
    async def test() -> None:
        day = Day()
        simulation = Simulation(STATIONS, START, 60)
        async with SimulatorServer(simulation, now=day.now) as server, client_of(server) as client:
            seen = []
            for _ in range(60):
                seen.append((await get(client, STATIONS[0])).json()[0])
                elapsed = (day.now() - START).total_seconds()
                assert seen[-1]["status"] == STATIONS[0].plugs[0].life.at(60 * elapsed).status
                day.time += timedelta(seconds=6)
            assert {"idle", "connected", "charging"} <= {plug["status"] for plug in seen}
            assert [plug["time"] for plug in seen] == sorted(plug["time"] for plug in seen)

    run(test())


def test_tokens_and_paths_are_checked() -> None:
    async def test() -> None:
        said = Said()
        async with (
            SimulatorServer(Simulation(STATIONS, START), on_request=said) as server,
            client_of(server) as client,
        ):
            first, _, _, _, fifth, _ = STATIONS
            assert (await get(client, first, "wrong")).status_code == 401
            assert (await get(client, first, fifth.token)).status_code == 401
            assert (await client.get(path_of(first))).status_code == 401
            for path in (
                path_of(first).replace(first.uuid, "0" * 32),
                path_of(first).replace(first.edge_device_id, "other"),
                path_of(first).replace(first.edge_device_id, fifth.edge_device_id),
                path_of(first) + "/more",
                "/",
                "/a%0ab%1b[31m",
            ):
                assert (await client.get(path, headers={"evsetoken": first.token})).status_code == 404, path
            assert (await client.post(path_of(first), headers={"evsetoken": first.token})).status_code == 404
            assert (await get(client, first)).status_code == 200
        assert said.lines[0] == "Simulated station 1: status 401"
        assert said.lines[-1] == "Simulated station 1: status 200"
        assert f"status 404: GET {path_of(first)}/more" in said.lines
        assert said.lines.count("status 404: GET /a b [31m") == 1
        assert all(line.isprintable() for line in said.lines)
        assert all(station.token not in line for station in STATIONS for line in said.lines)

    run(test())


async def _kind(client: httpx.AsyncClient, station: SimulatedStation, expected: Fault | None) -> Fault | None:
    """What an answer turned out to be."""
    try:
        # An answer that is to be late takes an hour, so waiting for it briefly proves as much as waiting long.
        response = await get(client, station, patience=0.1 if expected is Fault.SLOW else PROMPT)
    except httpx.ReadTimeout:
        return Fault.SLOW
    except GONE:
        return Fault.DROPPED
    if response.status_code == 200:
        return _kind_of_body(response)
    if response.status_code == 503:
        until, sent = (parsedate_to_datetime(response.headers[name]) for name in ("retry-after", "date"))
        assert timedelta(seconds=5) <= until - sent <= timedelta(seconds=9)
    if response.status_code == 429:
        assert response.headers["retry-after"] == "7"
    return {500: Fault.SERVER_ERROR, 503: Fault.UNAVAILABLE, 429: Fault.RATE_LIMITED}[response.status_code]


def _kind_of_body(response: httpx.Response) -> Fault | None:
    if response.headers["content-type"].startswith("text/html"):
        assert "<html>" in response.text
        return Fault.HTML
    try:
        response.json()
    except json.JSONDecodeError:
        assert response.text.startswith('[{"time": ')
        return Fault.TRUNCATED
    return None


def test_faults_are_those_of_the_seed_for_each_station() -> None:
    faults = Faults(seed=5, rate=0.6, slow=3600, retry_after=7)
    count = 25
    expected = {station.uuid: [faults.of(station.uuid, number) for number in range(count)] for station in STATIONS[:3]}
    assert {kind for kinds in expected.values() for kind in kinds} == {None, *Fault}

    async def test() -> None:
        async with (
            SimulatorServer(Simulation(STATIONS, START), faults=faults) as server,
            client_of(server) as client,
        ):

            async def ask(station: SimulatedStation) -> list[Fault | None]:
                return [await _kind(client, station, kind) for kind in expected[station.uuid]]

            assert (await get(client, STATIONS[0], "wrong")).status_code == 401  # is no answer that could be a fault
            seen = await asyncio.gather(*(ask(station) for station in STATIONS[:3]))
            assert seen == list(expected.values())

    run(test())


def test_a_slow_answer_comes_at_last() -> None:
    number = next(number for number in range(100) if Faults(rate=1).of(STATIONS[0].uuid, number) is Fault.SLOW)

    async def test() -> None:
        async with (
            SimulatorServer(Simulation(STATIONS, START), faults=Faults(rate=1, slow=0.001)) as server,
            client_of(server) as client,
        ):
            kinds = [await _kind(client, STATIONS[0], None) for _ in range(number + 1)]
            assert kinds[-1] is None

    run(test())


def test_the_server_ends_while_a_client_waits() -> None:
    seed = next(seed for seed in range(100) if Faults(seed, 1).of(STATIONS[0].uuid, 0) is Fault.SLOW)

    async def test() -> None:
        said = Said()
        server = SimulatorServer(Simulation(STATIONS, START), faults=Faults(seed, 1, slow=3600), on_request=said)
        async with httpx.AsyncClient(verify=NOBODY) as client:
            async with server:
                client.base_url = httpx.URL(server.url)
                waiting = asyncio.create_task(get(client, STATIONS[0], patience=3600))
                await said.first.wait()
            with pytest.raises(GONE):
                await waiting
            with pytest.raises(httpx.ConnectError):
                await get(client, STATIONS[0])

    run(test())


def test_what_is_no_http_is_answered_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with SimulatorServer(Simulation(STATIONS, START)) as server:
            for garbage in (
                b"\x16\x03\x01\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\n bad\r\n\r\n",
                b"GET /" + b"a" * 20_000,
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(garbage + b"\r\n\r\n")
                assert (await reader.readline()).endswith(b" 400 Bad Request\r\n")
                writer.close()
                await writer.wait_closed()

    run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_bug_is_not_silenced(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> datetime:
        raise RuntimeError("no time")

    async def test() -> None:
        async with (
            SimulatorServer(Simulation(STATIONS, START), now=broken) as server,
            client_of(server) as client,
        ):
            assert (await get(client, STATIONS[0])).status_code == 500

    run(test())
    assert "no time" in caplog.text


def test_tls(authority: Authority) -> None:
    certificate = authority.issue("simulator")
    context = server_context(str(certificate.cert_file), str(certificate.key_file))
    trusting = ssl.create_default_context(cafile=authority.ca_file)

    async def test() -> None:
        async with SimulatorServer(Simulation(STATIONS, START), tls=context) as server:
            assert server.url == f"https://127.0.0.1:{server.port}"
            async with client_of(server, trusting) as client:
                assert (await get(client, STATIONS[0])).status_code == 200
            async with client_of(server) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await get(client, STATIONS[0])

    run(test())


def test_a_port_that_is_taken_is_told() -> None:
    async def test() -> None:
        simulation = Simulation(STATIONS, START)
        async with SimulatorServer(simulation, port=free_port()) as server:
            with pytest.raises(SimulatorError) as caught:
                async with SimulatorServer(simulation, port=server.port):
                    pass
            words = f"cannot listen on 127.0.0.1 port {server.port}: address already in use; choose another --port"
            assert str(caught.value).startswith(words)
        with pytest.raises(SimulatorError, match=r"cannot listen on 192\.0\.2\.1 port 0: cannot assign"):
            async with SimulatorServer(simulation, host="192.0.2.1"):
                pass

    run(test())


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3032"),
        ("0.0.0.0", "http://127.0.0.1:3032"),
        ("::", "http://[::1]:3032"),
        ("::1", "http://[::1]:3032"),
        ("localhost", "http://localhost:3032"),
    ],
)
def test_the_address_can_be_used_on_this_machine(host: str, url: str) -> None:
    async def test() -> None:
        assert SimulatorServer(Simulation(STATIONS, START), host, 3032).url == url

    run(test())
