"""What the environment says: a proxy is used on request only, and nothing else is taken from it."""

from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Failure, Reason
from tests.cloud.fetching import TOKEN
from tests.cloud.loops import EXAMPLE, HEADERS, Loop, ask, is_example
from tests.harness import CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, answer


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, server: MisbehavingServer) -> MisbehavingServer:
    """A proxy that the environment names, and that answers by itself."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("https_proxy", server.url)
    server.set_behaviour("", answer(EXAMPLE))
    return server


def test_a_proxy_is_used_on_request_only(run: Loop, proxy: MisbehavingServer, cloud: CloudServer) -> None:
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(run(ask(cloud.url)))
    assert proxy.connections == 0
    assert is_example(run(ask(cloud.url, environment_proxy=True)))
    (request,) = proxy.requests
    assert request.path == f"{cloud.url}/edgedevices/edge-1/evses/{EXAMPLE_EVSE}/status"
    assert set(request.headers) == HEADERS
    assert len(cloud.requests) == 1


def test_a_proxy_on_the_way_to_a_tls_server_does_not_see_the_request(run: Loop, proxy: MisbehavingServer) -> None:
    outcome = run(ask("https://station.invalid:3032", environment_proxy=True))
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.UNREACHABLE
    (request,) = proxy.requests
    assert (request.method, request.path) == ("CONNECT", "station.invalid:3032")
    assert TOKEN not in str(request)


def test_a_proxy_is_not_used_for_hosts_that_the_environment_excepts(
    run: Loop, proxy: MisbehavingServer, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(run(ask(cloud.url, environment_proxy=True)))
    assert proxy.connections == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_told_the_credentials_that_are_its_own(
    run: Loop, proxy: MisbehavingServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", proxy.url.replace("//", "//us%C3%A9r:p%40ss@"))
    run(ask(f"{scheme}://station.invalid", environment_proxy=True))
    (request,) = proxy.requests
    assert request.headers["proxy-authorization"] == "Basic dXPDqXI6cEBzcw=="
    assert "authorization" not in request.headers


def test_a_proxy_may_be_named_without_http(
    run: Loop, proxy: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
    assert is_example(run(ask("http://station.invalid", environment_proxy=True)))


@pytest.mark.parametrize("named", ["socks5://a:hunter2@127.0.0.1:1080", "https://127.0.0.1:1", "http://x:y", "http://"])
def test_a_proxy_that_cannot_be_used_is_not_passed_by(
    run: Loop, proxy: MisbehavingServer, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("http_proxy", named)
    outcome = run(ask(cloud.url, environment_proxy=True))
    words = "the environment names a proxy that is not http://host:port"
    assert outcome == Failure(Reason.UNREACHABLE, words)
    assert proxy.connections == 0
    assert cloud.requests == []


@pytest.mark.parametrize("environment_proxy", [True, False])
def test_no_credentials_of_a_netrc_file_are_sent(
    run: Loop, cloud: CloudServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment_proxy: bool
) -> None:
    netrc = tmp_path / "netrc"
    netrc.touch(mode=0o600)
    netrc.write_text("machine 127.0.0.1 login user password hunter2\ndefault login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    cloud.answer(EXAMPLE_EVSE, status_example())
    assert is_example(run(ask(cloud.url, environment_proxy=environment_proxy)))
    assert [set(request.headers) for request in cloud.requests] == [HEADERS]
