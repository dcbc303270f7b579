"""TLS on both transports: a server that fails verification gets no request, and the failure names the reason."""

import ssl
import subprocess
from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.support.errors import ConfigError
from evse_mqtt_bridge.support.tls import client_context
from tests.cloud.clients import EXAMPLE, TOKEN, Clients, is_example
from tests.harness import Authority, Certificate, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, answer


def _serving(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


async def test_ca_file_is_trusted(clients: Clients, authority: Authority) -> None:
    with CloudServer(tls=_serving(authority.issue())) as cloud:
        cloud.answer(EXAMPLE_EVSE, status_example(), token=TOKEN)
        assert is_example(await clients.poll(cloud.url, ca_file=str(authority.ca_file)))


@pytest.mark.parametrize(
    ("trusted", "hosts", "expires_in", "text"),
    [
        (False, ("127.0.0.1",), 3600, "unable to get local issuer certificate"),
        (True, ("station.example", "127.0.0.2"), 3600, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (True, ("127.0.0.1",), -3600, "certificate has expired"),
    ],
    ids=["unknown CA", "another's", "expired"],
)
async def test_server_that_fails_verification_gets_no_request(
    clients: Clients, authority: Authority, trusted: bool, hosts: tuple[str, ...], expires_in: float, text: str
) -> None:
    certificate = authority.issue("refused", hosts=hosts, expires_in=expires_in)
    with MisbehavingServer(tls=_serving(certificate)) as server:
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
        outcome = await clients.poll(server.url, ca_file=str(authority.ca_file) if trusted else "")
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.UNREACHABLE
        assert outcome.detail.startswith("TLS: the certificate was rejected: ")
        assert text[:40] in outcome.detail
        assert server.requests == []


async def test_server_without_tls_gets_no_request(clients: Clients, cloud: CloudServer) -> None:
    outcome = await clients.poll(cloud.url.replace("http:", "https:"))
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.UNREACHABLE
    assert outcome.detail.startswith("TLS: ")
    assert cloud.requests == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file or directory"),
        (b"", "no certificate in PEM form"),
        (b"\0\xff not PEM", "no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no certificate in PEM form"),
    ],
)
async def test_unusable_ca_file_is_a_configuration_error(
    tmp_path: Path, clients: Clients, content: bytes | None, text: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        await clients.poll("https://127.0.0.1:1", ca_file=str(file))
    assert str(caught.value) == f"cloud.ca_file: {file} cannot be used: {text}"
    assert caught.value.exit_code == 78


def test_folder_as_ca_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cloud\.ca_file: .* cannot be used: "):
        client_context("cloud", str(tmp_path))


def test_every_context_verifies(authority: Authority) -> None:
    for context in (client_context("cloud"), client_context("cloud", str(authority.ca_file))):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_cas_of_the_system_are_trusted(
    clients: Clients, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    folder = tmp_path / "hashed"
    folder.mkdir()
    (name,) = _hashes(authority.ca_file)
    (folder / f"{name}.0").write_bytes(authority.ca_file.read_bytes())
    with MisbehavingServer(tls=_serving(authority.issue())) as server:
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
        assert isinstance(await clients.poll(server.url), Failure)
        monkeypatch.setenv(variable, str(folder if variable == "SSL_CERT_DIR" else authority.ca_file))
        assert is_example(await clients.poll(server.url))


async def test_ca_file_is_trusted_beside_the_systems_cas(
    clients: Clients, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = Authority(tmp_path, "own CA")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    for issuer in (authority, own):
        with MisbehavingServer(tls=_serving(issuer.issue())) as server:
            server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
            assert is_example(await clients.poll(server.url, ca_file=str(own.ca_file)))


async def test_server_is_rejected_if_there_is_no_ca(
    clients: Clients, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with MisbehavingServer(tls=_serving(authority.issue())) as server:
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
        outcome = await clients.poll(server.url)
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.UNREACHABLE
        assert outcome.detail.startswith("TLS: ")
        assert server.requests == []


def _hashes(file: Path) -> list[str]:
    """Return the names by which OpenSSL finds a certificate in a folder."""
    result = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", file], capture_output=True, check=True)
    return result.stdout.decode().split()
