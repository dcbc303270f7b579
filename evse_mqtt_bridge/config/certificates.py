"""What is wrong with the PEM files of a configuration, in words.

OpenSSL says for most of it "no certificate or crl found" or "PEM lib"; why that is so, the files tell.
"""

import re
import ssl
from pathlib import Path

__all__ = ["ca_file_error", "key_pair_error"]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_DER = b"\x30"
"""What every certificate and key in binary form begins with: the tag of an ASN.1 sequence."""


def ca_file_error(file: Path) -> str | None:
    """Why the certificates in `file` cannot be trusted as CAs; `None` where they can.

    Raises:
        OSError: it cannot be read.
    """
    return _certificate_fault(file.read_bytes(), file)


def key_pair_error(cert_file: Path, key_file: Path | None) -> tuple[str, str] | None:
    """Why a certificate cannot be shown with its key: the setting at fault and what is wrong; `None` where it can.

    Without `key_file` the key has to be in `cert_file`.

    Raises:
        OSError: a file cannot be read.
    """
    if words := _certificate_fault(cert_file.read_bytes(), cert_file):
        return "cert_file", words
    setting, holder = ("key_file", key_file) if key_file else ("cert_file", cert_file)
    content = holder.read_bytes()
    if words := _key_fault(content, holder, has_file_of_its_own=key_file is not None):
        return setting, words
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return setting, f"the key is not that of the certificate in {cert_file.name}"
        return setting, f"the key cannot be used: {_reason(error)}"
    return None


def _certificate_fault(content: bytes, file: Path) -> str | None:
    """The first thing that is wrong with the certificates of a file."""
    kinds = [kind.decode() for kind in _BEGIN.findall(content)]
    if not any(kind.endswith("CERTIFICATE") for kind in kinds):
        return _no(content, file, kinds, "certificate", "x509")
    blocks = [block for block in _BLOCK.finditer(content) if block[1].endswith(b"CERTIFICATE")]
    if len(blocks) < sum(kind.endswith("CERTIFICATE") for kind in kinds):
        return "it ends in the middle of a certificate"
    if _is_taken(cafile=str(file)):
        return None
    for block in blocks:
        if not _is_taken(cadata=block[0].decode("latin-1")):
            line = content.count(b"\n", 0, block.start()) + 1
            return f"the certificate that begins on line {line} is damaged"
    return "OpenSSL cannot read it"


def _is_taken(*, cafile: str | None = None, cadata: str | None = None) -> bool:
    """Whether OpenSSL takes every certificate of a file, or of a text."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=cafile, cadata=cadata)
    except (ssl.SSLError, ValueError):  # the latter for text that is not ASCII
        return False
    return True


def _key_fault(content: bytes, file: Path, *, has_file_of_its_own: bool) -> str | None:
    kinds = [kind.decode() for kind in _BEGIN.findall(content)]
    if not any(kind.endswith("PRIVATE KEY") for kind in kinds):
        if not has_file_of_its_own:
            return "there is no private key in it; name the key's file in mqtt.tls.key_file"
        return _no(content, file, kinds, "private key", "pkey")
    if "ENCRYPTED PRIVATE KEY" in kinds or b"Proc-Type: 4,ENCRYPTED" in content:
        how = f"`openssl pkey -in {file.name} -out open.key` takes it off"
        return f"the key is encrypted, and nobody is there to type its passphrase; {how}"
    return None


def _no(content: bytes, file: Path, kinds: list[str], wanted: str, command: str) -> str:
    """Why there is nothing of the kind that is wanted."""
    if not content.strip():
        return "it is empty"
    if kinds:
        return f"there is no {wanted} in it, but: {', '.join(dict.fromkeys(kind.lower() for kind in kinds))}"
    if content.startswith(_DER):
        return f"it is binary (DER); `openssl {command} -inform der -in {file.name} -out new.pem` makes PEM of it"
    return f"it is not PEM: no line says -----BEGIN {wanted.upper()}-----"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "OpenSSL does not read it").replace("_", " ").lower()
