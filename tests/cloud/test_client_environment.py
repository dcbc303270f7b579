"""The environment: a proxy is used only if the settings enable it, and the client reads nothing else."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Failure, Reason
from tests.cloud.clients import EXAMPLE, HEADERS, TOKEN, Clients, is_example
from tests.harness import CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, answer


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, server: MisbehavingServer) -> MisbehavingServer:
    """A proxy that the environment names, and that answers requests itself."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("https_proxy", server.url)
    server.set_behaviour("", answer(EXAMPLE))
    return server


async def test_proxy_is_used_only_if_configured(clients: Clients, proxy: MisbehavingServer, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(await clients.poll(cloud.url))
    assert proxy.connections == 0
    assert is_example(await clients.poll(cloud.url, environment_proxy=True))
    (request,) = proxy.requests
    assert request.path == f"{cloud.url}/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/status"
    assert set(request.headers) == HEADERS
    assert len(cloud.requests) == 1


async def test_proxy_for_https_does_not_see_the_request(clients: Clients, proxy: MisbehavingServer) -> None:
    outcome = await clients.poll("https://station.invalid:3032", environment_proxy=True)
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.UNREACHABLE
    (request,) = proxy.requests
    assert (request.method, request.path) == ("CONNECT", "station.invalid:3032")
    assert TOKEN not in str(request)


async def test_proxy_is_not_used_for_hosts_in_no_proxy(
    clients: Clients, proxy: MisbehavingServer, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(await clients.poll(cloud.url, environment_proxy=True))
    assert proxy.connections == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_gets_its_own_credentials(
    clients: Clients, proxy: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("//", "//us%C3%A9r:p%40ss@"))
    await clients.poll(f"{scheme}://station.invalid", environment_proxy=True)
    (request,) = proxy.requests
    assert request.headers["proxy-authorization"] == "Basic dXPDqXI6cEBzcw=="
    assert "authorization" not in request.headers


async def test_proxy_may_be_named_without_a_scheme(
    clients: Clients, proxy: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
    assert is_example(await clients.poll("http://station.invalid", environment_proxy=True))


@pytest.mark.parametrize("named", ["socks5://a:hunter2@127.0.0.1:1080", "https://127.0.0.1:1", "http://x:y", "http://"])
async def test_invalid_proxy_is_not_bypassed(
    clients: Clients, proxy: MisbehavingServer, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("http_proxy", named)
    outcome = await clients.poll(cloud.url, environment_proxy=True)
    text = "the environment names a proxy that is not http://host:port"
    assert outcome == Failure(Reason.UNREACHABLE, text)
    assert proxy.connections == 0
    assert cloud.requests == []


@pytest.mark.parametrize("environment_proxy", [True, False])
async def test_credentials_of_a_netrc_file_are_not_sent(
    clients: Clients, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment_proxy: bool
) -> None:
    netrc = tmp_path / "netrc"
    netrc.touch(mode=0o600)
    netrc.write_text("machine 127.0.0.1 login user password hunter2\ndefault login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(await clients.poll(cloud.url, environment_proxy=environment_proxy))
    assert [set(request.headers) for request in cloud.requests] == [HEADERS]
