"""TLS, on both transports: a server that fails verification gets no request, and the words say why."""

import ssl
from pathlib import Path

import pytest

from evse_mqtt_bridge.domain.model import Failure, Reason
from evse_mqtt_bridge.support.errors import ConfigError
from evse_mqtt_bridge.support.tls import client_context
from tests.cloud.fetching import TOKEN
from tests.cloud.loops import EXAMPLE, Loop, ask, is_example
from tests.harness import Authority, Certificate, CloudServer, status_example
from tests.harness.cloud import EXAMPLE_EVSE
from tests.harness.misbehaving_server import MisbehavingServer, answer


def _serving(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def test_an_own_ca_is_trusted(run: Loop, authority: Authority) -> None:
    with CloudServer(tls=_serving(authority.issue())) as cloud:
        cloud.answer(EXAMPLE_EVSE, status_example(), token=TOKEN)
        assert is_example(run(ask(cloud.url, ca_file=str(authority.ca_file))))


@pytest.mark.parametrize(
    ("trusted", "hosts", "expires_in", "words"),
    [
        (False, ("127.0.0.1",), 3600, "unable to get local issuer certificate"),
        (True, ("station.example", "127.0.0.2"), 3600, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (True, ("127.0.0.1",), -3600, "certificate has expired"),
    ],
    ids=["unknown CA", "another's", "expired"],
)
def test_a_server_that_fails_verification_gets_no_request(
    run: Loop, authority: Authority, trusted: bool, hosts: tuple[str, ...], expires_in: float, words: str
) -> None:
    certificate = authority.issue("refused", hosts=hosts, expires_in=expires_in)
    with MisbehavingServer(tls=_serving(certificate)) as server:
        server.set_behaviour(EXAMPLE_EVSE, answer(EXAMPLE))
        outcome = run(ask(server.url, ca_file=str(authority.ca_file) if trusted else ""))
        assert isinstance(outcome, Failure)
        assert outcome.reason is Reason.UNREACHABLE
        assert outcome.detail.startswith("TLS: the certificate was refused: ")
        assert words[:40] in outcome.detail
        assert server.requests == []


def test_a_server_that_speaks_no_tls(run: Loop, cloud: CloudServer) -> None:
    outcome = run(ask(cloud.url.replace("http:", "https:")))
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.UNREACHABLE
    assert outcome.detail.startswith("TLS: ")
    assert cloud.requests == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "no certificate in PEM form"),
        (b"\0\xff not PEM", "no certificate in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no certificate in PEM form"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no certificate in PEM form"),
    ],
)
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, run: Loop, content: bytes | None, words: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        run(ask("https://127.0.0.1:1", ca_file=str(file)))
    assert str(caught.value) == f"cloud.ca_file: {file} cannot be used: {words}"
    assert caught.value.exit_code == 78


def test_a_folder_is_no_ca_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cloud\.ca_file: .* cannot be used: "):
        client_context("cloud", str(tmp_path))


def test_every_context_verifies(authority: Authority) -> None:
    for context in (client_context("cloud"), client_context("cloud", str(authority.ca_file))):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
