"""Adds and removes stations in a configuration file, and saves files atomically.

An edit takes text and returns text. It keeps all other lines as they are, with comments, blank lines and their order.
Each result is parsed and compared with the text before: only the one station may differ.
"""

import contextlib
import errno
import os
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from evse_mqtt_bridge.config.schema_index import KeyPath
from evse_mqtt_bridge.config.source_positions import blocks, line_of
from evse_mqtt_bridge.support.errors import EditError

__all__ = ["add_station", "back_up", "create_file", "find_station", "remove_station", "save"]

Fields = Mapping[str, str | int | float]
"""The keys and values of a new station, in the order in which they are written."""

_OWNER_ONLY = 0o600

_NOT_EDITABLE = "the stations are written in a form that cannot be edited automatically; edit the file by hand"


def add_station(text: str, fields: Fields) -> str:
    """Return `text`, which must be valid TOML, with a new station after the last one.

    Raises:
        EditError: There is a station with this uuid already, or the text cannot be edited.
    """
    data = tomllib.loads(text)
    stations = _stations(data)
    for index, station in enumerate(stations):
        if station.get("uuid") == fields["uuid"]:
            line = line_of(text, ("stations", index))
            raise EditError(f"line {line}: station {fields['uuid']} already exists; remove it first")
    add = _add_inline if "stations" in data and _is_inline(text) else _add_block
    return _verified(add(text, fields), data, [*stations, dict(fields)])


def remove_station(text: str, name: str) -> str:
    """Return `text`, which must be valid TOML, without the station with this uuid, alias or name, and its comment.

    Raises:
        EditError: No station or several stations match, or the text cannot be edited.
    """
    data = tomllib.loads(text)
    stations = _stations(data)
    index = find_station(stations, name)
    remove = _remove_inline if _is_inline(text) else _remove_blocks
    return _verified(remove(text, index), data, stations[:index] + stations[index + 1 :])


def find_station(stations: Sequence[Mapping[str, Any]], name: str) -> int:
    """Return the index of the station with this uuid, alias or name, in this order of precedence.

    Raises:
        EditError: No station or several stations match.
    """
    for key in ("uuid", "alias", "name"):
        matches = [index for index, station in enumerate(stations) if station.get(key) == name]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise EditError(f"{len(matches)} stations have the {key} {name!r}; use the uuid instead")
    raise EditError(f"no station has the uuid, alias or name {name!r}; run `evse-mqtt-bridge station list`")


def save(path: Path, text: str, mode: int | None = None) -> None:
    """Replace the content of a file atomically, or that of the file to which a symbolic link points.

    Owner and group stay the same, if permitted.

    Args:
        path: The file; it is created if it does not exist.
        text: The new content.
        mode: The new permissions; `None`: unchanged, or 0600 for a new file.

    Raises:
        EditError: The file cannot be written; it was not changed.
    """
    temporary = None
    try:
        file = _resolve_links(path)
        before = file.stat() if file.exists() else None
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                for owner in ((before.st_uid, -1), (-1, before.st_gid)):
                    with contextlib.suppress(PermissionError):
                        os.fchown(descriptor, *owner)
                os.fchmod(descriptor, before.st_mode & 0o7777 if mode is None else mode)
                if mode is None:
                    _copy_attributes(file, descriptor)
            stream.write(text.encode())
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(file)
        temporary = None
        with contextlib.suppress(OSError):
            _sync_folder(file.parent)
    except (OSError, RuntimeError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) and error.errno != errno.ELOOP else "its links form a loop"
        )
        raise EditError(f"{path} cannot be written and was not changed: {reason}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _copy_attributes(source: Path, descriptor: int) -> None:
    """Copy extended attributes: they contain access control lists (acl(5)), without which the mode is misleading."""
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(source, name))


def create_file(path: Path, text: str) -> None:
    """Create a file atomically, with mode 0600.

    Raises:
        EditError: The file exists already, or cannot be written.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))  # reserves the name
    except FileExistsError:
        raise EditError(f"{path} already exists and was not changed") from None
    except OSError as error:
        raise EditError(f"{path} cannot be written: {error.strerror}") from None
    try:
        save(path, text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def back_up(path: Path) -> Path:
    """Copy a file to a new one in the same directory, with mode 0600, and return its path.

    The copies of `config.toml` are `config.toml.bak`, `config.toml.bak2`, and so on.

    Raises:
        EditError: The file cannot be read, or the copy cannot be written.
    """
    number = 1
    while True:
        copy = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        try:
            content = path.read_bytes()
            with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            number += 1
        except OSError as error:
            raise EditError(f"{path} cannot be backed up to {copy} and was not changed: {error.strerror}") from None
        else:
            return copy


def _resolve_links(path: Path) -> Path:
    """Return the path to which symbolic links point, whether or not it exists.

    Raises:
        OSError, RuntimeError: The links form a loop; which of the two depends on the version of Python.
    """
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        return path.resolve()


def _sync_folder(folder: Path) -> None:
    """Make sure that a rename survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stations(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    stations = data.get("stations", [])
    if not isinstance(stations, list) or not all(isinstance(station, dict) for station in stations):
        raise EditError("stations: expected an array of tables, each written as [[stations]]")
    return stations


def _verified(edited: str, before: Mapping[str, Any], stations: Sequence[Mapping[str, Any]]) -> str:
    """Return `edited` if it contains these stations and is otherwise unchanged; TOML has forms that an edit breaks.

    Raises:
        EditError: The edit changed something else.
    """
    try:
        after = tomllib.loads(edited)
    except tomllib.TOMLDecodeError:
        after = {}
    if {**before, "stations": list(stations)} != {"stations": [], **after}:
        raise EditError(_NOT_EDITABLE)
    return edited


# stations as [[stations]]


def _spans(text: str) -> list[tuple[KeyPath, int, int]]:
    """Return each table of a station, including nested tables: its path and its slice of lines.

    A comment belongs to a table if it is directly above the header or directly below the last value.
    """
    lines = text.split("\n")
    tables = blocks(text)
    starts = []
    for previous, table in pairwise(tables):
        start = table.first - 1
        while start > previous.last and _is_comment(lines[start - 1]):
            start -= 1
        starts.append(start)
    spans = []
    for table, start, limit in zip(tables[1:], starts, [*starts, len(lines)][1:], strict=True):
        end = table.last
        while end < limit and _is_comment(lines[end]):
            end += 1
        if table.path[0] == "stations":
            spans.append((table.path, start, end))
    return spans


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _add_block(text: str, fields: Fields) -> str:
    spans = _spans(text)
    lines = text.split("\n")
    carriage_return = "\r" if "\r\n" in text else ""
    if lines[-1]:
        lines[-1] += carriage_return
        lines.append("")
    block = ["[[stations]]", *(f"{key} = {tomlkit.item(value).as_string()}" for key, value in fields.items())]
    position = spans[-1][2] if spans else len(lines) - 1
    lines[position:position] = [line + carriage_return for line in (["", *block] if position else block)]
    return "\n".join(lines)


def _remove_blocks(text: str, index: int) -> str:
    """Remove the lines of a station, and one of the blank lines around each of its tables."""
    lines = text.split("\n")
    for path, start, end in reversed(_spans(text)):
        if path[:2] == ("stations", index):
            del lines[start:end]
            if start and not lines[start - 1].strip():
                del lines[start - 1]
            elif not start and len(lines) > 1 and not lines[0].strip():
                del lines[0]
    return "\n".join(lines)


# stations as one array: stations = [{...}, {...}]


def _is_inline(text: str) -> bool:
    return not any(table.path[:1] == ("stations",) for table in blocks(text))


def _inline(text: str) -> tuple[TOMLDocument, Array]:
    """Return the text as a TOML document that preserves formatting, and its array of stations."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError:
        document = tomlkit.document()
    stations = document.get("stations")
    if not isinstance(stations, Array):
        raise EditError(_NOT_EDITABLE)
    return document, stations


def _add_inline(text: str, fields: Fields) -> str:
    document, stations = _inline(text)
    station = tomlkit.inline_table()
    station.update(fields)
    if "\n" in stations.as_string():
        stations.add_line(station, indent="  ")
    else:
        stations.append(station)
    return tomlkit.dumps(document)


def _remove_inline(text: str, index: int) -> str:
    document, stations = _inline(text)
    del stations[index]
    return tomlkit.dumps(document)
