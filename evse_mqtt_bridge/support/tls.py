"""TLS contexts: for the clients of the broker and of the cloud, and for the simulator's server.

No context ever prompts for a passphrase, as a prompt would hang a service: an encrypted private key is an error.

Servers are verified by the rules of libcurl, with every version of Python:

- Every certificate in a CA file is trusted, also an intermediate one or that of the server itself (partial chains).
  Python before 3.13 trusts only self-signed ones by default.
- Certificates may lack extensions that RFC 5280 demands but no verification needs, such as Authority Key Identifier, as
  many CAs made with the openssl command do. Python 3.13 and later reject them by default (VERIFY_X509_STRICT), libcurl
  and most other clients do not.
"""

import re
import ssl
from pathlib import Path

from evse_mqtt_bridge.support.errors import CertificateError, ConfigError, Problem

__all__ = ["LONGEST_ERROR", "check_ca_file", "client_context", "explain_rejection", "server_context"]

LONGEST_ERROR = 256
"""Maximum length of an error text of a connection; it has room for OpenSSL's text with the name of a host."""

_NO_CERTIFICATE = "no certificate in PEM form"
_NO_KEY_PAIR = "expected a certificate and its unencrypted key, both in PEM form"

_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        ("not valid for|mismatch", "use a host name or address that the certificate lists as subject alternative name"),
        (
            "unable to get|unable to verify the first|self-signed certificate in",
            "does {ca_file} name the CA that signed it?",
        ),
        ("self-signed", "if you trust it, name it in {ca_file}"),
        ("expired|not yet valid", "check its dates, those of its CA, and the clock of this machine"),
        ("invalid CA", "the CA needs the basic constraint CA:TRUE, and keyCertSign if it has a key usage"),
        ("purpose", "it needs serverAuth if it has an extended key usage, and digitalSignature if it has a key usage"),
        ("too weak", "it needs an EC key or an RSA key of at least 2048 bits, and a signature with SHA-256 or better"),
    )
)
"""What to check, by OpenSSL's text for the result of a verification (X509_verify_cert_error_string)."""


def client_context(section: str, ca_file: str = "", cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """Return a context that verifies the server, and presents a client certificate if there is one.

    Args:
        section: The table of the configuration that names the files, such as `mqtt.tls`. Errors start with it.
        ca_file: CA certificates (PEM) that are trusted in addition to the system's; empty: none.
        cert_file: The client's certificate (PEM), followed by intermediate certificates if any; empty: none.
        key_file: The private key (PEM) of `cert_file`; empty: the key is in `cert_file`.

    Raises:
        ConfigError: A file cannot be read or is not PEM, or the key does not belong to the certificate.
    """
    context = ssl.create_default_context()
    context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_STRICT) | ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_cas(context, section, ca_file)
    if not cert_file:
        return context
    for setting, file in (("cert_file", cert_file), ("key_file", key_file)):
        if file and (reason := _why_unreadable(file)):
            raise _unusable(section, setting, file, reason)
    try:
        context.load_cert_chain(cert_file, key_file or None, password="")
    except (ssl.SSLError, ValueError):
        raise _unusable(section, "cert_file", cert_file, _NO_KEY_PAIR) from None
    return context


def check_ca_file(section: str, ca_file: str) -> None:
    """Check that `ca_file` can be used, without loading the system's CAs, which takes about 30 ms.

    Raises:
        ConfigError: The file cannot be read or is not PEM.
    """
    _load_cas(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), section, ca_file)


def explain_rejection(reason: str, section: str) -> str:
    """Return why the certificate of a server was rejected, and what to check.

    Args:
        reason: OpenSSL's reason.
        section: The table of the configuration that names the CA file, such as `mqtt.tls`.
    """
    for pattern, advice in _ADVICE:
        if pattern.search(reason):
            return f"{reason.rstrip('.')}; {advice.format(ca_file=f'{section}.ca_file')}"
    return reason


def server_context(cert_file: str, key_file: str = "") -> ssl.SSLContext:
    """Return the context of a server with this certificate (PEM); without `key_file` the key is in `cert_file`.

    Raises:
        CertificateError: A file cannot be read or is not PEM, or the key does not belong to the certificate.
    """
    for file in filter(None, (cert_file, key_file)):
        if reason := _why_unreadable(file):
            raise CertificateError(f"{file} cannot be read: {reason}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert_file, key_file or None, password="")
    except (ssl.SSLError, ValueError):
        files = f"{cert_file} with the key in {key_file}" if key_file else cert_file
        raise CertificateError(f"{files} cannot be used for TLS: {_NO_KEY_PAIR}") from None
    return context


def _load_cas(context: ssl.SSLContext, section: str, ca_file: str) -> None:
    if not ca_file:
        return
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        raise _unusable(section, "ca_file", ca_file, _NO_CERTIFICATE) from None
    except OSError as error:
        raise _unusable(section, "ca_file", ca_file, error.strerror) from None


def _why_unreadable(file: str) -> str | None:
    """Return why a file cannot be read; OpenSSL's own errors do not name the file."""
    try:
        Path(file).read_bytes()
    except OSError as error:
        return error.strerror
    return None


def _unusable(section: str, setting: str, file: str, reason: str | None) -> ConfigError:
    return ConfigError(Problem(f"{Path(file)} cannot be used: {reason}", key=f"{section}.{setting}"))
