"""Edits a configuration file: text in, text out, every comment, blank line and the order kept; saved all or nothing.

Lines are inserted and taken out around what stands there. Each result is read again before it is handed back: it has to
mean what the text before meant, plus or minus the one station.
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
"""The keys of a station that is added, in the order in which they are written."""

_OWNERS_ALONE = 0o600

_BY_HAND = "the stations are written in a way that cannot be edited safely; change the file by hand"


def add_station(text: str, fields: Fields) -> str:
    """`text`, which has to be valid TOML, with one more station, after the last one.

    Raises:
        EditError: a station of this uuid is there, or the text does not allow the edit.
    """
    data = tomllib.loads(text)
    stations = _stations(data)
    for index, station in enumerate(stations):
        if station.get("uuid") == fields["uuid"]:
            line = line_of(text, ("stations", index))
            raise EditError(f"line {line}: station {fields['uuid']} is there already; remove it first")
    add = _add_inline if "stations" in data and _is_inline(text) else _add_block
    return _verified(add(text, fields), data, [*stations, dict(fields)])


def remove_station(text: str, name: str) -> str:
    """`text`, which has to be valid TOML, without the station of this uuid, alias or name, and without its comment.

    Raises:
        EditError: there is none, there are several, or the text does not allow the edit.
    """
    data = tomllib.loads(text)
    stations = _stations(data)
    index = find_station(stations, name)
    remove = _remove_inline if _is_inline(text) else _remove_blocks
    return _verified(remove(text, index), data, stations[:index] + stations[index + 1 :])


def find_station(stations: Sequence[Mapping[str, Any]], name: str) -> int:
    """The index of the station of this uuid, alias or name, in this order of precedence.

    Raises:
        EditError: there is none, or there are several.
    """
    for key in ("uuid", "alias", "name"):
        found = [index for index, station in enumerate(stations) if station.get(key) == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise EditError(f"{len(found)} stations have the {key} {name!r}; name the one that is meant by its uuid")
    raise EditError(f"no station has the uuid, alias or name {name!r}; `evse-mqtt-bridge station list` shows them")


def save(path: Path, text: str, mode: int | None = None) -> None:
    """Replaces a file as a whole, or not at all; a link stays one, and the file it points to is replaced.

    Owner and group, where that is allowed, and the mode, unless one is given, stay what they were; a file that was not
    there gets mode 0600.

    Raises:
        EditError: it cannot be written; the file is what it was.
    """
    temporary = None
    try:
        target = _followed(path)
        before = target.stat() if target.exists() else None
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            if before is not None:
                for owner in ((before.st_uid, -1), (-1, before.st_gid)):
                    with contextlib.suppress(PermissionError):
                        os.fchown(descriptor, *owner)
                os.fchmod(descriptor, before.st_mode & 0o7777 if mode is None else mode)
                if mode is None:
                    _copy_attributes(target, descriptor)
            stream.write(text.encode())
            stream.flush()
            os.fsync(descriptor)
        Path(temporary).replace(target)
        temporary = None
        with contextlib.suppress(OSError):
            _sync_folder(target.parent)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.errno != errno.ELOOP else "a loop of links"
        raise EditError(f"{path} cannot be written, and is what it was: {reason}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _copy_attributes(source: Path, descriptor: int) -> None:
    """Lists of who may read a file (acl(5)) stand there; without them, its mode tells something else (Linux)."""
    if not hasattr(os, "listxattr"):
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(source, name))


def create_file(path: Path, text: str) -> None:
    """Writes a file that is not there yet, as a whole or not at all, with mode 0600.

    Raises:
        EditError: it is there, or cannot be written.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNERS_ALONE))  # nobody else can begin it now
    except FileExistsError:
        raise EditError(f"{path} is there already, and is what it was") from None
    except OSError as error:
        raise EditError(f"{path} cannot be written: {error.strerror}") from None
    try:
        save(path, text)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def back_up(path: Path) -> Path:
    """Copies a file to a new one beside it, with mode 0600, and returns that one's name: `config.toml.bak`, `.bak2`...

    Raises:
        EditError: it cannot be read, or the copy cannot be written.
    """
    number = 1
    while True:
        copy = path.with_name(f"{path.name}.bak{number if number > 1 else ''}")
        try:
            content = path.read_bytes()
            with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNERS_ALONE), "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except FileExistsError:
            number += 1
        except OSError as error:
            raise EditError(f"{path} cannot be kept as {copy}, and is what it was: {error.strerror}") from None
        else:
            return copy


def _followed(path: Path) -> Path:
    """Where links lead to, whether or not there is a file.

    Raises:
        OSError, RuntimeError: they lead in a circle; which of the two depends on the version of Python.
    """
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        return path.resolve()


def _sync_folder(folder: Path) -> None:
    """Makes a rename outlast a power cut."""
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
    """`edited`, where it means what was wanted; a file can be written in more ways than an edit understands."""
    try:
        after = tomllib.loads(edited)
    except tomllib.TOMLDecodeError:
        after = {}
    if {**before, "stations": list(stations)} != {"stations": [], **after}:
        raise EditError(_BY_HAND)
    return edited


# stations as [[stations]]


def _spans(text: str) -> list[tuple[KeyPath, int, int]]:
    """Each table of a station, and each table inside of it, as a slice of lines, with its path.

    A comment is part of a table when it stands directly above the header or directly below the last value.
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
    return_ = "\r" if "\r\n" in text else ""
    if lines[-1]:
        lines[-1] += return_
        lines.append("")
    block = ["[[stations]]", *(f"{key} = {tomlkit.item(value).as_string()}" for key, value in fields.items())]
    place = spans[-1][2] if spans else len(lines) - 1
    lines[place:place] = [line + return_ for line in (["", *block] if place else block)]
    return "\n".join(lines)


def _remove_blocks(text: str, index: int) -> str:
    """Takes the lines out, and for each gap one of the blank lines around it."""
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
    """The text as a document that keeps its form, and the array of stations in it."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError:
        document = tomlkit.document()
    stations = document.get("stations")
    if not isinstance(stations, Array):
        raise EditError(_BY_HAND)
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
