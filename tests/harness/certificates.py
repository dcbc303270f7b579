"""Certificates for TLS tests, created in each run."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Certificate", "Extension", "Key", "key_usage"]

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

Extension = tuple[x509.ExtensionType, bool]
"""An extension, and whether it is critical."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files of a certificate and its private key."""

    cert_file: Path
    key_file: Path


class Authority:
    """A certificate authority.

    Args:
        folder: Folder for the files.
        name: Subject of its certificate.
        issuer: The authority that signs its certificate; `None`: itself.
        extensions: The extensions of its certificate instead of the usual ones.
        expires_in: Seconds until its certificate expires.

    Attributes:
        ca_file: Its own certificate.
        own: Its own certificate and key, for a server that is its own CA.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "test CA",
        *,
        issuer: "Authority | None" = None,
        extensions: Sequence[Extension] | None = None,
        expires_in: float = 86_400,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        if extensions is None:
            extensions = [
                (x509.BasicConstraints(ca=True, path_length=None), True),
                (key_usage(ca=True), True),
                (x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False),
                *((issuer.identifier,) if issuer else ()),
            ]
        certificate = (issuer or self)._sign(self._name, self._key, extensions, expires_in)  # noqa: SLF001  # same class
        self.own = self._write("ca", certificate, self._key)
        self.ca_file = self.own.cert_file

    @property
    def identifier(self) -> Extension:
        """The extension Authority Key Identifier of the certificates that it issues."""
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False

    def issue(
        self,
        name: str = "server",
        *,
        hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
        expires_in: float = 86_400,
        extensions: Sequence[Extension] | None = None,
        key: Key | None = None,
    ) -> Certificate:
        """Issue a server certificate.

        Args:
            name: Subject, and base name of the files.
            hosts: DNS names and IP addresses that it is valid for.
            expires_in: Seconds until it expires; a negative number makes it expired already.
            extensions: Its extensions instead of the usual ones, beside that for `hosts`.
            key: Its key; `None`: a new one.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        if extensions is None:
            extensions = [
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (key_usage(ca=False), True),
                self.identifier,
            ]
        if hosts:
            extensions = [*extensions, (x509.SubjectAlternativeName([_host(host) for host in hosts]), False)]
        return self._write(name, self._sign(_name(name), key, extensions, expires_in), key)

    def _write(self, name: str, certificate: x509.Certificate, key: Key) -> Certificate:
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key_file.touch(mode=0o600)
        files.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _sign(
        self, subject: x509.Name, key: Key, extensions: Sequence[Extension], expires_in: float
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(seconds=expires_in))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """Return the key usage of a CA, or of a server."""
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
