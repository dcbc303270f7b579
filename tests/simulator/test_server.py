"""The HTTP server of the simulated API."""

import asyncio
import json
import logging
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from evse_mqtt_bridge.simulator.faults import Fault, Faults
from evse_mqtt_bridge.simulator.server import SimulatorError, SimulatorServer
from evse_mqtt_bridge.simulator.simulation import SimulatedStation, Simulation, generate_stations
from evse_mqtt_bridge.support.tls import server_context
from tests.harness import Authority, free_port

START = datetime(2024, 3, 25, 11, 12, 15, tzinfo=UTC)
STATIONS = generate_stations(6, 3)
RESPONSE_TIMEOUT = 10
"""Seconds within which an undelayed response arrives on any machine."""


TRUST_NONE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no certificate; it is created much faster than a context with the system's certificates."""

DISCONNECTED = (httpx.RemoteProtocolError, httpx.ReadError)


@dataclass
class ManualClock:
    """A clock that the test sets."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time


@dataclass
class RequestLog:
    """The lines that a server passes to `on_request`."""

    lines: list[str] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.first.set()


def path_of(station: SimulatedStation) -> str:
    return f"/edgedevices/{station.edge_device_id}/evses/{station.uuid}/status"


def client_of(server: SimulatorServer, trusting: ssl.SSLContext = TRUST_NONE) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, verify=trusting, timeout=RESPONSE_TIMEOUT)


async def get(
    client: httpx.AsyncClient,
    station: SimulatedStation,
    token: str | None = None,
    *,
    read_timeout: float = RESPONSE_TIMEOUT,
) -> httpx.Response:
    headers = {"evsetoken": station.token if token is None else token}
    return await client.get(
        path_of(station), headers=headers, timeout=httpx.Timeout(RESPONSE_TIMEOUT, read=read_timeout)
    )


async def test_server_responds_with_all_plugs_of_each_station() -> None:
    simulation = Simulation(STATIONS, START)
    clock = ManualClock(START + timedelta(hours=5))
    async with SimulatorServer(simulation, now=clock.now) as server, client_of(server) as client:
        assert server.url == f"http://127.0.0.1:{server.port}"
        for station in STATIONS:
            response = await get(client, station)
            assert response.status_code == 200
            assert response.headers["content-type"] == "application/json; charset=utf-8"
            assert response.json() == simulation.response(station, clock.now())
            assert [plug["plug_uuid"] for plug in response.json()] == [plug.uuid for plug in station.plugs]
        statuses = {plug["status"] for station in STATIONS for plug in (await get(client, station)).json()}
        assert len(statuses) > 1


async def test_server_simulates_time_at_configured_speed() -> None:
    clock = ManualClock()
    simulation = Simulation(STATIONS, START, 60)
    async with SimulatorServer(simulation, now=clock.now) as server, client_of(server) as client:
        observed = []
        for _ in range(60):
            observed.append((await get(client, STATIONS[0])).json()[0])
            elapsed = (clock.now() - START).total_seconds()
            assert observed[-1]["status"] == STATIONS[0].plugs[0].scenario.at(60 * elapsed).status
            clock.time += timedelta(seconds=6)
        assert {"idle", "connected", "charging"} <= {plug["status"] for plug in observed}
        assert [plug["time"] for plug in observed] == sorted(plug["time"] for plug in observed)


async def test_server_checks_tokens_and_paths() -> None:
    log = RequestLog()
    async with (
        SimulatorServer(Simulation(STATIONS, START), on_request=log) as server,
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
    assert log.lines[0] == "Simulated station 1: status 401"
    assert log.lines[-1] == "Simulated station 1: status 200"
    assert f"status 404: GET {path_of(first)}/more" in log.lines
    assert log.lines.count("status 404: GET /a b [31m") == 1
    assert all(line.isprintable() for line in log.lines)
    assert all(station.token not in line for station in STATIONS for line in log.lines)


async def _observed_fault(client: httpx.AsyncClient, station: SimulatedStation, expected: Fault | None) -> Fault | None:
    """Return the fault of the next response."""
    try:
        # A slow response takes an hour, so a short timeout detects it as reliably as a long one.
        response = await get(client, station, read_timeout=0.1 if expected is Fault.SLOW else RESPONSE_TIMEOUT)
    except httpx.ReadTimeout:
        return Fault.SLOW
    except DISCONNECTED:
        return Fault.DROPPED
    if response.status_code == 200:
        return _fault_of_body(response)
    if response.status_code == 503:
        until, sent = (parsedate_to_datetime(response.headers[name]) for name in ("retry-after", "date"))
        assert timedelta(seconds=5) <= until - sent <= timedelta(seconds=9)
    if response.status_code == 429:
        assert response.headers["retry-after"] == "7"
    return {500: Fault.SERVER_ERROR, 503: Fault.UNAVAILABLE, 429: Fault.RATE_LIMITED}[response.status_code]


def _fault_of_body(response: httpx.Response) -> Fault | None:
    if response.headers["content-type"].startswith("text/html"):
        assert "<html>" in response.text
        return Fault.HTML
    try:
        response.json()
    except json.JSONDecodeError:
        assert response.text.startswith('[{"time": ')
        return Fault.TRUNCATED
    return None


async def test_server_injects_faults_of_seed_per_station() -> None:
    faults = Faults(seed=5, rate=0.6, slow=3600, retry_after=7)
    count = 25
    expected = {station.uuid: [faults.of(station.uuid, number) for number in range(count)] for station in STATIONS[:3]}
    assert {kind for kinds in expected.values() for kind in kinds} == {None, *Fault}

    async with (
        SimulatorServer(Simulation(STATIONS, START), faults=faults) as server,
        client_of(server) as client,
    ):

        async def request_all(station: SimulatedStation) -> list[Fault | None]:
            return [await _observed_fault(client, station, kind) for kind in expected[station.uuid]]

        assert (await get(client, STATIONS[0], "wrong")).status_code == 401  # not counted as a request
        observed = await asyncio.gather(*(request_all(station) for station in STATIONS[:3]))
        assert observed == list(expected.values())


async def test_slow_response_arrives_after_delay() -> None:
    number = next(number for number in range(100) if Faults(rate=1).of(STATIONS[0].uuid, number) is Fault.SLOW)
    async with (
        SimulatorServer(Simulation(STATIONS, START), faults=Faults(rate=1, slow=0.001)) as server,
        client_of(server) as client,
    ):
        kinds = [await _observed_fault(client, STATIONS[0], None) for _ in range(number + 1)]
        assert kinds[-1] is None


async def test_server_stops_while_client_waits() -> None:
    seed = next(seed for seed in range(100) if Faults(seed, 1).of(STATIONS[0].uuid, 0) is Fault.SLOW)
    log = RequestLog()
    server = SimulatorServer(Simulation(STATIONS, START), faults=Faults(seed, 1, slow=3600), on_request=log)
    async with httpx.AsyncClient(verify=TRUST_NONE) as client:
        async with server:
            client.base_url = httpx.URL(server.url)
            waiting = asyncio.create_task(get(client, STATIONS[0], read_timeout=3600))
            await log.first.wait()
        with pytest.raises(DISCONNECTED):
            await asyncio.wait_for(waiting, 30)
        with pytest.raises(httpx.ConnectError):
            await get(client, STATIONS[0])


async def test_malformed_request_gets_400_and_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async with SimulatorServer(Simulation(STATIONS, START)) as server:
        for garbage in (
            b"\x16\x03\x01\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n bad\r\n\r\n",
            b"GET /" + b"a" * 20_000,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(garbage + b"\r\n\r\n")
            assert (await reader.readline()).endswith(b" 400 Bad Request\r\n")
            assert b"\r\nServer: evse-mqtt-bridge-simulator\r\n" in await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_response_does_not_disclose_the_library() -> None:
    async with SimulatorServer(Simulation(STATIONS, START)) as server, client_of(server) as client:
        response = await client.get("/nowhere")
        assert (response.status_code, response.headers["Server"]) == (404, "evse-mqtt-bridge-simulator")


async def test_handler_exception_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> datetime:
        raise RuntimeError("no time")

    async with (
        SimulatorServer(Simulation(STATIONS, START), now=broken) as server,
        client_of(server) as client,
    ):
        assert (await get(client, STATIONS[0])).status_code == 500

    assert "no time" in caplog.text


async def test_server_with_tls_serves_https(authority: Authority) -> None:
    certificate = authority.issue("simulator")
    context = server_context(str(certificate.cert_file), str(certificate.key_file))
    trusting = ssl.create_default_context(cafile=authority.ca_file)

    async with SimulatorServer(Simulation(STATIONS, START), tls=context) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        async with client_of(server, trusting) as client:
            assert (await get(client, STATIONS[0])).status_code == 200
        async with client_of(server) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await get(client, STATIONS[0])


async def test_server_on_unusable_address_raises_error() -> None:
    simulation = Simulation(STATIONS, START)
    async with SimulatorServer(simulation, port=free_port()) as server:
        with pytest.raises(SimulatorError) as caught:
            async with SimulatorServer(simulation, port=server.port):
                pass
        expected = (
            f"cannot listen on 127.0.0.1 port {server.port}: another program uses this port; choose another --port"
        )
        assert str(caught.value).startswith(expected)
    with pytest.raises(SimulatorError, match=r"cannot listen on 192\.0\.2\.1 port 0: this machine does not have"):
        async with SimulatorServer(simulation, host="192.0.2.1"):
            pass


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
async def test_url_is_reachable_from_this_machine(host: str, url: str) -> None:
    assert SimulatorServer(Simulation(STATIONS, START), host, 3032).url == url
