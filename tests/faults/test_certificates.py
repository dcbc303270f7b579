"""Certificates of every shape have the same verdict with every client and every version of Python."""

import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from evse_mqtt_bridge.config.schema import Mqtt, Tls
from evse_mqtt_bridge.domain.model import Failure
from evse_mqtt_bridge.mqtt.one_shot import one_shot_client
from evse_mqtt_bridge.support.errors import UnavailableError
from tests.cloud.clients import Clients
from tests.cloud.servers import serving
from tests.harness import Authority, Certificate
from tests.harness.certificates import Extension, key_usage

_IS_CA: Extension = (x509.BasicConstraints(ca=True, path_length=None), True)
_IS_NO_CA: Extension = (x509.BasicConstraints(ca=False, path_length=None), True)
_SIGNS: Extension = (key_usage(ca=True), True)


@dataclass(frozen=True, slots=True)
class _Case:
    """A server for `localhost` and a client.

    Attributes:
        trusted: The CA file of the client; "": none.
        certificate: The server's certificate and key.
        chain: The certificates of CAs that the server sends too.
    """

    trusted: Path | str
    certificate: Certificate
    chain: tuple[Path, ...] = ()

    def server_context(self, folder: Path) -> ssl.SSLContext:
        """Return the context of the server, which accepts weak keys too."""
        chain = folder / "chain.pem"
        chain.write_bytes(b"".join(file.read_bytes() for file in (self.certificate.cert_file, *self.chain)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(chain, self.certificate.key_file)
        return context


def _signed_by(folder: Path, *ca_extensions: Extension) -> _Case:
    authority = Authority(folder, extensions=ca_extensions)
    return _Case(authority.ca_file, authority.issue())


def _no_key_identifiers(folder: Path) -> _Case:
    authority = Authority(folder, extensions=[_IS_CA, _SIGNS])
    return _Case(authority.ca_file, authority.issue(extensions=[]))


def _server_with(folder: Path, *extensions: Extension) -> _Case:
    authority = Authority(folder)
    return _Case(authority.ca_file, authority.issue(extensions=[*extensions, authority.identifier]))


def _intermediate(folder: Path, trusted: str, sent: str) -> _Case:
    root = Authority(folder / "root")
    intermediate = Authority(folder / "intermediate", "intermediate CA", issuer=root)
    files = {"root": (root.ca_file,), "intermediate": (intermediate.ca_file,), "": ()}
    (file,) = files[trusted]
    return _Case(file, intermediate.issue(), files[sent])


def _server_trusted_itself(folder: Path) -> _Case:
    certificate = Authority(folder).issue()
    return _Case(certificate.cert_file, certificate)


def _self_signed(folder: Path, *, is_trusted: bool) -> _Case:
    """Return the usual result of `openssl req -x509`: a CA that serves its own certificate."""
    authority = Authority(folder, "localhost", extensions=[_IS_CA])
    return _Case(authority.ca_file if is_trusted else "", authority.own)


def _unknown(folder: Path) -> _Case:
    return _Case(Authority(folder / "other").ca_file, Authority(folder).issue())


def _expired(folder: Path, *, ca_in: float = 86_400, server_in: float = 86_400) -> _Case:
    authority = Authority(folder, expires_in=ca_in)
    return _Case(authority.ca_file, authority.issue(expires_in=server_in))


def _for_host(folder: Path, common_name: str, *alternatives: str) -> _Case:
    authority = Authority(folder)
    return _Case(authority.ca_file, authority.issue(common_name, hosts=alternatives))


def _weak_key(folder: Path) -> _Case:
    authority = Authority(folder)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  # weak on purpose
    return _Case(authority.ca_file, authority.issue(key=weak))


_ACCEPTED: dict[str, Callable[[Path], _Case]] = {
    "complete": lambda folder: _server_with(folder, _IS_NO_CA, (key_usage(ca=False), True)),
    "without key identifiers": _no_key_identifiers,
    "CA without key usage": lambda folder: _signed_by(folder, _IS_CA),
    "CA with uncritical constraints": lambda folder: _signed_by(folder, (_IS_CA[0], False), _SIGNS),
    "name of the host in the subject only": lambda folder: _for_host(folder, "localhost"),
    "server is a CA": lambda folder: _server_with(folder, _IS_CA),
    "intermediate CA, root trusted": lambda folder: _intermediate(folder, "root", "intermediate"),
    "intermediate CA trusted": lambda folder: _intermediate(folder, "intermediate", ""),
    "server trusted itself": _server_trusted_itself,
    "self-signed, trusted": lambda folder: _self_signed(folder, is_trusted=True),
}

_REJECTED: dict[str, tuple[Callable[[Path], _Case], str, str]] = {
    "unknown CA": (_unknown, "unable to get local issuer certificate", "ca_file name the CA that signed it?"),
    "no CA": (lambda folder: _Case("", Authority(folder).issue()), "unable to get", "ca_file name the CA"),
    "intermediate CA not sent": (
        lambda folder: _intermediate(folder, "root", ""),
        "unable to get local issuer certificate",
        "ca_file name the CA that signed it?",
    ),
    "self-signed": (lambda folder: _self_signed(folder, is_trusted=False), "self-signed certificate", "name it in"),
    "expired": (
        lambda folder: _expired(folder, server_in=-3600),
        "certificate has expired",
        "the clock of this machine",
    ),
    "CA expired": (lambda folder: _expired(folder, ca_in=-3600), "certificate has expired", "those of its CA"),
    "another host": (
        lambda folder: _for_host(folder, "localhost", "elsewhere"),
        "Hostname mismatch, certificate is not valid for 'localhost'",
        "subject alternative name",
    ),
    "CA:FALSE": (lambda folder: _signed_by(folder, _IS_NO_CA), "invalid CA certificate", "CA:TRUE"),
    "CA may not sign": (
        lambda folder: _signed_by(folder, _IS_CA, (key_usage(ca=False), True)),
        "invalid CA certificate",
        "keyCertSign",
    ),
    "for clients": (
        lambda folder: _server_with(folder, (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
        "unsuitable certificate purpose",
        "serverAuth",
    ),
    "weak key": (_weak_key, "EE certificate key too weak", "2048 bits"),
}


@pytest.fixture(params=["libcurl", "httpx", "mqtt"])
def client(request: pytest.FixtureRequest) -> str:
    """The client under test: a transport of the cloud, or the connection to the broker."""
    if request.param == "libcurl" and find_spec("pycurl") is None:
        pytest.skip("pycurl is not installed")
    return str(request.param)


async def _error(client: str, case: _Case, folder: Path) -> str:
    """Connect, and return the error; the server disconnects after the handshake."""

    async def disconnect(reader: StreamReader, _writer: StreamWriter) -> None:
        await reader.read(1)

    ca_file = str(case.trusted)
    async with serving(disconnect, tls=case.server_context(folder)) as port:
        if client != "mqtt":
            outcome = await Clients(client).poll(f"https://localhost:{port}", ca_file=ca_file)
            assert isinstance(outcome, Failure)
            return outcome.detail
        with pytest.raises(UnavailableError) as caught:
            async with one_shot_client(Mqtt(host="localhost", port=port, tls=Tls(ca_file=ca_file)), "test"):
                pass
        return str(caught.value)


@pytest.mark.parametrize("case", _ACCEPTED.values(), ids=_ACCEPTED)
async def test_certificate_is_accepted_by_every_client(
    tmp_path: Path, client: str, case: Callable[[Path], _Case]
) -> None:
    error = await _error(client, case(tmp_path), tmp_path)
    assert "closed the connection" in error


@pytest.mark.parametrize(("case", "reason", "advice"), _REJECTED.values(), ids=_REJECTED)
async def test_certificate_is_rejected_by_every_client(
    tmp_path: Path, client: str, case: Callable[[Path], _Case], reason: str, advice: str
) -> None:
    error = await _error(client, case(tmp_path), tmp_path)
    assert f"certificate was rejected: {reason}" in error
    assert advice in error
    assert "cloud.ca_file" not in error or client != "mqtt"
    assert "mqtt.tls.ca_file" not in error or client == "mqtt"
