"""The files that a configuration names: secrets are read in their place, certificates are looked for.

The names are relative to the folder of the configuration file. A secret loses one newline at its end, which editors and
`echo` leave there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evse_mqtt_bridge.config.describe import KeyPath
from evse_mqtt_bridge.config.faults import Fault, named
from evse_mqtt_bridge.config.schema import is_line

__all__ = ["Resolved", "holds_secrets", "resolve"]

_LIMIT = 65_536
_CERTIFICATES = (
    ("mqtt", "tls", "ca_file"),
    ("mqtt", "tls", "cert_file"),
    ("mqtt", "tls", "key_file"),
    ("cloud", "ca_file"),
)


@dataclass(slots=True)
class Resolved:
    """What came of the files.

    `read_from` says for a secret which file it was read from; `unknown` are the secrets that could not be had.
    """

    faults: list[Fault] = field(default_factory=list)
    read_from: dict[KeyPath, Path] = field(default_factory=dict)
    unknown: set[KeyPath] = field(default_factory=set)


def resolve(data: dict[str, Any], folder: Path) -> Resolved:
    """Sets, in place, each secret that stands in a file, and makes the names of files absolute."""
    resolved = Resolved()
    for path, name, table in _secrets(data):
        try:
            if file := _secret_file(name, table):
                table[f"{name}_file"] = str(folder / file)
                table[name] = _read(folder / file)
                resolved.read_from[*path, name] = folder / file
        except ValueError as error:
            resolved.faults.append(Fault((*path, f"{name}_file"), str(error)))
            resolved.unknown.add((*path, name))
    for *tables, name in _CERTIFICATES:
        table = _table(data, *tables)
        if isinstance(table.get(name), str) and table[name] and is_line(table[name]):
            file = folder / table[name]
            table[name] = str(file)
            try:
                with file.open("rb"):
                    pass
            except OSError as error:
                resolved.faults.append(Fault((*tables, name), _unreadable(file, error)))
    return resolved


def holds_secrets(data: dict[str, Any]) -> bool:
    """Whether a secret stands in `data` itself."""
    return any(table.get(name) for _, name, table in _secrets(data))


def _secrets(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, dict[str, Any]]]:
    """Each table in which a secret may stand: its path, the secret's key, the table."""
    yield ("mqtt",), "password", _table(data, "mqtt")
    stations = data.get("stations")
    for index, station in enumerate(stations if isinstance(stations, list) else ()):
        if isinstance(station, dict):
            yield ("stations", index), "token", station


def _table(data: dict[str, Any], *path: str) -> dict[str, Any]:
    """The table at `path`; an empty one where there is none."""
    for part in path:
        inner = data.get(part)
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
    if not isinstance(file, str) or not is_line(file):
        raise ValueError("expected the name of a file")
    return file


def _read(file: Path) -> str:
    """A secret's text; ValueError in words where it cannot be had."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_LIMIT + 1)
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{named(file)} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(_unreadable(file, error)) from None
    if len(content) > _LIMIT:
        raise ValueError(f"{named(file)} is larger than {_LIMIT // 1024} KiB; expected nothing but the secret in it")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{named(file)} is empty; expected the secret in it")
    return text


def _unreadable(file: Path, error: OSError) -> str:
    return f"{named(file)} cannot be read: {error.strerror}"
