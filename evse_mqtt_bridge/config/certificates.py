"""Explains why a PEM file of the configuration cannot be used.

OpenSSL's own errors, mostly "no certificate or crl found" or "PEM lib", do not help to find the cause.
"""

import re
import ssl
from pathlib import Path

__all__ = ["ca_file_error", "key_pair_error"]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_DER = b"\x30"
"""First byte of every certificate and key in binary form: the tag of an ASN.1 sequence."""


def ca_file_error(file: Path) -> str | None:
    """Return why the certificates in `file` cannot be used as CAs, or `None` if they can.

    Raises:
        OSError: The file cannot be read.
    """
    return _certificate_error(file.read_bytes(), file)


def key_pair_error(cert_file: Path, key_file: Path | None) -> tuple[str, str] | None:
    """Return the setting and the reason if a client certificate and its key cannot be used, or `None` if they can.

    Args:
        cert_file: The certificate, and its key if there is no `key_file`.
        key_file: The key, if it has a file of its own.

    Raises:
        OSError: A file cannot be read.
    """
    if reason := _certificate_error(cert_file.read_bytes(), cert_file):
        return "cert_file", reason
    setting, key_source = ("key_file", key_file) if key_file else ("cert_file", cert_file)
    if reason := _key_error(key_source.read_bytes(), key_source, is_separate=key_file is not None):
        return setting, reason
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return setting, f"the key does not match the certificate in {cert_file.name}"
        return setting, f"the key cannot be used: {_openssl_reason(error)}"
    return None


def _certificate_error(content: bytes, file: Path) -> str | None:
    """Return the first error in the certificates of a file."""
    kinds = [kind.decode() for kind in _BEGIN.findall(content)]
    if not any(kind.endswith("CERTIFICATE") for kind in kinds):
        return _not_found(content, file, kinds, "certificate", "x509")
    blocks = [block for block in _BLOCK.finditer(content) if block[1].endswith(b"CERTIFICATE")]
    if len(blocks) < sum(kind.endswith("CERTIFICATE") for kind in kinds):
        return "the file ends in the middle of a certificate"
    if _is_loadable(cafile=str(file)):
        return None
    for block in blocks:
        if not _is_loadable(cadata=block[0].decode("latin-1")):
            line = content.count(b"\n", 0, block.start()) + 1
            return f"the certificate that starts on line {line} is damaged"
    return "OpenSSL cannot read the file"


def _is_loadable(*, cafile: str | None = None, cadata: str | None = None) -> bool:
    """Return whether OpenSSL loads every certificate of a file or text."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=cafile, cadata=cadata)
    except (ssl.SSLError, ValueError):  # ValueError: the text is not ASCII
        return False
    return True


def _key_error(content: bytes, file: Path, *, is_separate: bool) -> str | None:
    """Return why there is no usable key in `content`; `is_separate`: the file is not that of the certificate."""
    kinds = [kind.decode() for kind in _BEGIN.findall(content)]
    if not any(kind.endswith("PRIVATE KEY") for kind in kinds):
        if not is_separate:
            return "the file contains no private key; set key_file"
        return _not_found(content, file, kinds, "private key", "pkey")
    if "ENCRYPTED PRIVATE KEY" in kinds or b"Proc-Type: 4,ENCRYPTED" in content:
        command = f"openssl pkey -in {file.name} -out decrypted.key"
        return f"the key is encrypted, and a service cannot enter its passphrase; decrypt it with `{command}`"
    return None


def _not_found(content: bytes, file: Path, kinds: list[str], expected: str, command: str) -> str:
    """Return why a file contains no PEM block of the expected kind.

    Args:
        content: The content of the file.
        file: The name of the file.
        kinds: The kinds of PEM blocks in the file, in upper case.
        expected: The expected kind, in lower case.
        command: The openssl subcommand that converts the expected kind to PEM.
    """
    if not content.strip():
        return "the file is empty"
    if kinds:
        return f"the file contains no {expected}, only: {', '.join(dict.fromkeys(kind.lower() for kind in kinds))}"
    if content.startswith(_DER):
        conversion = f"openssl {command} -inform der -in {file.name} -out new.pem"
        return f"the file is in binary form (DER); convert it to PEM with `{conversion}`"
    return f"the file is not PEM: it has no line -----BEGIN {expected.upper()}-----"


def _openssl_reason(error: ssl.SSLError) -> str:
    return (error.reason or "OpenSSL cannot read it").replace("_", " ").lower()
