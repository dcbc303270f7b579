"""Reads the trusted CAs as PEM, for libcurl.

libcurl includes its own OpenSSL, which does not know the location of the system's CAs. So the bridge passes it the CAs
that Python's ssl module uses, including those in SSL_CERT_FILE and SSL_CERT_DIR.
"""

import os
import re
import ssl
from pathlib import Path

__all__ = ["authorities"]

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def authorities(ca_file: str) -> bytes:
    """Return the CAs that `support.tls.client_context` trusts, as PEM, one after the other.

    A folder of CAs is read if SSL_CERT_DIR names it, or if there is no file: the default folder repeats the file.
    """
    system = ssl.get_default_verify_paths()
    file = Path(os.environ.get(system.openssl_cafile_env, system.openssl_cafile))
    folders = os.environ.get(system.openssl_capath_env, "" if file.is_file() else system.openssl_capath)
    found = [path for folder in folders.split(os.pathsep) if folder for path in sorted(_hashed(Path(folder)))]
    return b"\n".join(_read(path) for path in [file, *found, *([Path(ca_file)] if ca_file else [])])


def _hashed(folder: Path) -> list[Path]:
    """Return the files of a folder that OpenSSL would load."""
    try:
        return [path for path in folder.iterdir() if _HASHED.fullmatch(path.name)]
    except OSError:
        return []


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # `ca_file` was validated before; OpenSSL too ignores an unreadable file of the system
        return b""
