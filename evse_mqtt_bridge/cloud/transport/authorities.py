"""Whom to trust: the system's CAs and a file of one's own, for Python's TLS and for a library with its own OpenSSL.

A library that brings its own OpenSSL does not know where this system keeps its CAs. It is told what Python's knows,
which honours SSL_CERT_FILE and SSL_CERT_DIR.
"""

import os
import re
import ssl
from pathlib import Path

__all__ = ["authorities"]

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def authorities(ca_file: str) -> bytes:
    """The CAs that `support.tls.client_context` trusts, as PEM, one after the other.

    A folder of CAs is read where it is asked for, or where there is no file: the usual one has the same CAs once more.
    """
    system = ssl.get_default_verify_paths()
    file = Path(os.environ.get(system.openssl_cafile_env, system.openssl_cafile))
    folders = os.environ.get(system.openssl_capath_env, "" if file.is_file() else system.openssl_capath)
    found = [path for folder in folders.split(os.pathsep) if folder for path in sorted(_hashed(Path(folder)))]
    return b"\n".join(_read(path) for path in [file, *found, *([Path(ca_file)] if ca_file else [])])


def _hashed(folder: Path) -> list[Path]:
    """The files in a folder that OpenSSL would find."""
    try:
        return [path for path in folder.iterdir() if _HASHED.fullmatch(path.name)]
    except OSError:
        return []


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # one's own was read a moment ago, and a system's that cannot be read is none to OpenSSL either
        return b""
