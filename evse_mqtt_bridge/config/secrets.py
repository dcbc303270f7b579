"""Reads secrets from files, and checks the certificate and key files of a configuration.

File names are relative to the directory of the configuration file. Under systemd, the service's credentials take
precedence over the files, with `_` in place of `/`, as `LoadCredential=` names them for a directory. With
`LoadCredential=secrets:/etc/evse-mqtt-bridge/secrets` the service thus finds `secrets/mqtt.password` among its
credentials, and a command run by hand finds it next to the configuration file.

One newline at the end of a secret is ignored, as editors and `echo` add it.
"""

import errno
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evse_mqtt_bridge.config.certificates import ca_file_error, key_pair_error
from evse_mqtt_bridge.config.errors import QUOTES_HINT, Issue, printable
from evse_mqtt_bridge.config.location import path_exists
from evse_mqtt_bridge.config.schema_index import KeyPath
from evse_mqtt_bridge.config.value_types import is_line
from evse_mqtt_bridge.support.files import check_regular, read_file

__all__ = [
    "Resolved",
    "exposed_files",
    "has_secrets",
    "others_can_read",
    "read_secret",
    "resolve",
    "without_newline",
]

_LIMIT = 65_536
"""Maximum size of a file with a secret, in bytes."""

_CERTIFICATE_LIMIT = 16 * 1024**2
"""Maximum size of a file with certificates, in bytes. All public CAs together have less than one MiB."""

_SQLITE = "sqlite:///"
_TLS: tuple[tuple[str, ...], ...] = (("mqtt", "tls"), ("fleet", "tls"))
"""The tables with the files of a TLS connection."""
_CLOUD = ("cloud",)
_CERTIFICATES: tuple[tuple[tuple[str, ...], str], ...] = (
    *((path, name) for path in _TLS for name in ("ca_file", "cert_file", "key_file")),
    (_CLOUD, "ca_file"),
)


@dataclass(slots=True)
class Resolved:
    """The result of reading the files.

    Attributes:
        issues: Errors in the files.
        read_from: The file of each secret that was read from a file.
        unreadable: The secrets that could not be read.
    """

    issues: list[Issue] = field(default_factory=list)
    read_from: dict[KeyPath, Path] = field(default_factory=dict)
    unreadable: set[KeyPath] = field(default_factory=set)


def resolve(data: dict[str, Any], folder: Path, credentials: Path | None = None) -> Resolved:
    """Set each secret that is in a file, and make file names absolute.

    Args:
        data: The configuration, which is changed in place.
        folder: The directory to which file names are relative.
        credentials: The directory of systemd's credentials, if any.
    """
    resolved = Resolved()
    for path, name, table in _secrets(data):
        try:
            if file := _secret_file(name, table):
                source = _credential(file, credentials) or folder / file
                table[f"{name}_file"] = str(source)
                table[name] = read_secret(source)
                resolved.read_from[*path, name] = source
        except ValueError as error:
            resolved.issues.append(Issue((*path, f"{name}_file"), str(error)))
            resolved.unreadable.add((*path, name))
    resolved.issues += _certificate_errors(data, folder)
    history = _table(data, "history")
    if isinstance(url := history.get("url"), str):
        history["url"] = _with_absolute_file(url, folder)
    return resolved


def _with_absolute_file(url: str, folder: Path) -> str:
    """Return the URL of a SQLite file with an absolute path; any other URL unchanged."""
    file = url.removeprefix(_SQLITE)
    return f"{_SQLITE}{folder / file}" if file and url.startswith(_SQLITE) and is_line(file) else url


def has_secrets(data: dict[str, Any]) -> bool:
    """Return whether a configuration contains a secret itself, rather than the name of a file."""
    has_headers = bool(_table(data, "mqtt").get("websocket_headers"))  # often with a key of the service
    return has_headers or any(table.get(name) for _, name, table in _secrets(data))


def others_can_read(file: Path) -> bool:
    """Return whether the mode of a file allows every user to read it; false if the file no longer exists."""
    return bool(_mode(file) & stat.S_IROTH)


def exposed_files(read_from: Mapping[KeyPath, Path]) -> Iterator[Issue]:
    """Yield a warning for each file with a secret that every user may read or change.

    A file on a read-only file system yields none: it cannot be changed there, and containers mount secrets like this,
    with modes that matter only on the host.

    Args:
        read_from: The file of each secret.
    """
    for path, file in read_from.items():
        mode = _mode(file)
        allowed = " and ".join(verb for bit, verb in ((stat.S_IROTH, "read"), (stat.S_IWOTH, "change")) if mode & bit)
        if allowed and not _is_read_only(file):
            advice = f"run `chmod 600 {shlex.quote(printable(file))}`"
            message = f"mode {stat.S_IMODE(mode):04o} lets other users {allowed} {printable(file)}; {advice}"
            yield Issue((*path[:-1], f"{path[-1]}_file"), message)


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError:  # the file was removed after it was read
        return 0


def _is_read_only(file: Path) -> bool:
    try:
        return bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def without_newline(text: str) -> str:
    """Return a secret without the newline at its end, which editors and `echo` add."""
    return text.removesuffix("\n").removesuffix("\r")


def _certificate_errors(data: dict[str, Any], folder: Path) -> Iterator[Issue]:
    """Make the names of PEM files absolute, in place, and yield an error for each that cannot be used."""
    files: dict[KeyPath, Path] = {}
    for path, name in _CERTIFICATES:
        table = _table(data, *path)
        if isinstance(table.get(name), str) and table[name] and is_line(table[name]):
            file = folder / table[name]
            table[name] = str(file)
            try:
                _check_certificate(file)
            except OSError as error:
                yield Issue((*path, name), _unreadable(file, error))
            else:
                files[*path, name] = file
    for path, name in _CERTIFICATES:
        file = files.get((*path, name))
        if name == "ca_file" and file and (reason := ca_file_error(file)):
            yield Issue((*path, name), f"{printable(file)}: {reason}")
    for path in _TLS:
        yield from _key_pair_errors(path, files, has_key_file=bool(_table(data, *path).get("key_file")))


def _key_pair_errors(path: KeyPath, files: Mapping[KeyPath, Path], *, has_key_file: bool) -> Iterator[Issue]:
    """Yield the error in the client certificate of a TLS table, and in its key.

    Args:
        path: The table.
        files: The files that can be read.
        has_key_file: Whether the table names a file with the key.
    """
    cert_file, key_file = (files.get((*path, name)) for name in ("cert_file", "key_file"))
    if cert_file and (key_file or not has_key_file) and (key_pair := key_pair_error(cert_file, key_file)):
        setting, reason = key_pair
        yield Issue((*path, setting), f"{printable(files[*path, setting])}: {reason}")


def _check_certificate(file: Path) -> None:
    """Check that OpenSSL can read a file, which it opens by its name.

    Raises:
        OSError: It cannot.
    """
    check_regular(file)
    with file.open("rb") as stream:
        if len(stream.read(_CERTIFICATE_LIMIT + 1)) > _CERTIFICATE_LIMIT:
            raise OSError(errno.EFBIG, f"it is larger than {_CERTIFICATE_LIMIT // 1024**2} MiB")


def _secrets(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, dict[str, Any]]]:
    """Yield each table that may contain a secret: its path, the key of the secret, the table."""
    yield ("mqtt",), "password", _table(data, "mqtt")
    yield ("history",), "password", _table(data, "history")
    yield ("fleet",), "password", _table(data, "fleet")
    stations = data.get("stations")
    for index, station in enumerate(stations if isinstance(stations, list) else ()):
        if isinstance(station, dict):
            yield ("stations", index), "token", station


def _table(data: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """Return the table at `path`, or an empty one."""
    for part in path:
        inner = data.get(str(part))
        data = inner if isinstance(inner, dict) else {}
    return data


def _secret_file(name: str, table: dict[str, Any]) -> str:
    """Return the file from which to read a secret; empty if there is none. Removes an empty secret from the table.

    Raises:
        ValueError: The table contains both the secret and a file, or the file name is invalid.
    """
    file = table.get(f"{name}_file", "")
    if table.get(name) == "":
        del table[name]
    if file and name in table:
        raise ValueError(f"{name} is set too; set either {name} or {name}_file")
    if not isinstance(file, str):
        raise ValueError(f"expected a file path{QUOTES_HINT}")  # noqa: TRY004  # the user's error, like the others
    if not is_line(file):
        raise ValueError("expected a file path")
    return file


def _credential(file: str, credentials: Path | None) -> Path | None:
    """Return the credential that takes precedence over a relative file name, or `None`."""
    if credentials is None or Path(file).is_absolute():
        return None
    credential = credentials / file.replace("/", "_")
    return credential if path_exists(credential) else None


def read_secret(file: Path) -> str:
    """Return the secret in a file.

    Raises:
        ValueError: The file cannot be read, or contains no secret.
    """
    try:
        content = read_file(file, _LIMIT)
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{printable(file)} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(_unreadable(file, error)) from None
    if len(content) > _LIMIT:
        raise ValueError(f"{printable(file)} is larger than {_LIMIT // 1024} KiB; it must contain only the secret")
    text = without_newline(text)
    if not text:
        raise ValueError(f"{printable(file)} is empty; it must contain the secret")
    return text


def _unreadable(file: Path, error: OSError) -> str:
    return f"{printable(file)} cannot be read: {error.strerror}"
