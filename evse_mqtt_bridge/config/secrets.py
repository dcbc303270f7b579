"""The files that a configuration names: secrets are read in their place, certificates and keys are tried.

The names are relative to the folder of the configuration file. Under systemd, a secret with such a name is first looked
for among the service's credentials, with _ in the place of /, as `LoadCredential=` of a folder names them: with
`LoadCredential=secrets:/etc/evse-mqtt-bridge/secrets` the service finds `secrets/mqtt.password` where it may read it,
and a command by hand finds it beside the configuration.

A secret loses one newline at its end, which editors and `echo` leave there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evse_mqtt_bridge.config.certificates import ca_file_error, key_pair_error
from evse_mqtt_bridge.config.errors import QUOTES_HINT, Issue, printable
from evse_mqtt_bridge.config.location import path_exists
from evse_mqtt_bridge.config.schema import is_line
from evse_mqtt_bridge.config.schema_index import KeyPath

__all__ = ["Resolved", "holds_secrets", "resolve"]

_LIMIT = 65_536
_TLS = ("mqtt", "tls")
_CLOUD = ("cloud",)
_CERTIFICATES: tuple[tuple[KeyPath, str], ...] = (
    (_TLS, "ca_file"),
    (_TLS, "cert_file"),
    (_TLS, "key_file"),
    (_CLOUD, "ca_file"),
)


@dataclass(slots=True)
class Resolved:
    """What came of the files.

    `read_from` says for a secret which file it was read from; `unknown` are the secrets that could not be had.
    """

    issues: list[Issue] = field(default_factory=list)
    read_from: dict[KeyPath, Path] = field(default_factory=dict)
    unknown: set[KeyPath] = field(default_factory=set)


def resolve(data: dict[str, Any], folder: Path, credentials: Path | None = None) -> Resolved:
    """Sets, in place, each secret that stands in a file, and makes the names of files absolute.

    `credentials` is the folder in which systemd hands secrets over, if any.
    """
    resolved = Resolved()
    for path, name, table in _secrets(data):
        try:
            if file := _secret_file(name, table):
                place = _credential(file, credentials) or folder / file
                table[f"{name}_file"] = str(place)
                table[name] = _read(place)
                resolved.read_from[*path, name] = place
        except ValueError as error:
            resolved.issues.append(Issue((*path, f"{name}_file"), str(error)))
            resolved.unknown.add((*path, name))
    resolved.issues += _certificate_issues(data, folder)
    return resolved


def holds_secrets(data: dict[str, Any]) -> bool:
    """Whether a secret stands in `data` itself."""
    return any(table.get(name) for _, name, table in _secrets(data))


def _certificate_issues(data: dict[str, Any], folder: Path) -> Iterator[Issue]:
    """Makes the names of PEM files absolute, in place, and tells which of them cannot be used."""
    files: dict[KeyPath, Path] = {}
    for path, name in _CERTIFICATES:
        table = _table(data, *path)
        if isinstance(table.get(name), str) and table[name] and is_line(table[name]):
            file = folder / table[name]
            table[name] = str(file)
            try:
                with file.open("rb") as stream:
                    stream.read(1)
            except OSError as error:
                yield Issue((*path, name), _unreadable(file, error))
            else:
                files[*path, name] = file
    for path in ((*_TLS, "ca_file"), (*_CLOUD, "ca_file")):
        if path in files and (words := ca_file_error(files[path])):
            yield Issue(path, f"{printable(files[path])}: {words}")
    cert_file, key_file = (files.get((*_TLS, name)) for name in ("cert_file", "key_file"))
    if (
        cert_file
        and (key_file or not _table(data, *_TLS).get("key_file"))
        and (found := key_pair_error(cert_file, key_file))
    ):
        path = (*_TLS, found[0])
        yield Issue(path, f"{printable(files[path])}: {found[1]}")


def _secrets(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, dict[str, Any]]]:
    """Each table in which a secret may stand: its path, the secret's key, the table."""
    yield ("mqtt",), "password", _table(data, "mqtt")
    stations = data.get("stations")
    for index, station in enumerate(stations if isinstance(stations, list) else ()):
        if isinstance(station, dict):
            yield ("stations", index), "token", station


def _table(data: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """The table at `path`; an empty one where there is none."""
    for part in path:
        inner = data.get(str(part))
        data = inner if isinstance(inner, dict) else {}
    return data


def _secret_file(name: str, table: dict[str, Any]) -> str:
    """The file that a secret has to be read from, if any; ValueError where the table names it in a wrong way.

    Empty text says the same as leaving the key out.
    """
    file = table.get(f"{name}_file", "")
    if table.get(name) == "":
        del table[name]
    if file and name in table:
        raise ValueError(f"two {name}s; set {name}, or {name}_file, not both")
    if not isinstance(file, str):
        raise ValueError(f"expected the name of a file{QUOTES_HINT}")  # noqa: TRY004  # of the user's, as the others are
    if not is_line(file):
        raise ValueError("expected the name of a file")
    return file


def _credential(file: str, credentials: Path | None) -> Path | None:
    """The credential that stands for a relative name, where there is one."""
    if credentials is None or Path(file).is_absolute():
        return None
    place = credentials / file.replace("/", "_")
    return place if path_exists(place) else None


def _read(file: Path) -> str:
    """A secret's text; ValueError in words where it cannot be had."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_LIMIT + 1)
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{printable(file)} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(_unreadable(file, error)) from None
    if len(content) > _LIMIT:
        raise ValueError(
            f"{printable(file)} is larger than {_LIMIT // 1024} KiB; expected nothing but the secret in it"
        )
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{printable(file)} is empty; expected the secret in it")
    return text


def _unreadable(file: Path, error: OSError) -> str:
    return f"{printable(file)} cannot be read: {error.strerror}"
