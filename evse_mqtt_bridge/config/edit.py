"""Adds and removes stations in the text of a configuration file.

An edit takes text and returns text. It keeps all other lines as they are, with comments, blank lines and their order.
Each result is parsed and compared with the text before: only the one station may differ.
"""

import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from evse_mqtt_bridge.config.schema_index import KeyPath
from evse_mqtt_bridge.config.source_positions import blocks, line_of
from evse_mqtt_bridge.config.template import toml_literal
from evse_mqtt_bridge.support.errors import EditError

__all__ = ["add_station", "find_station", "remove_station"]

Fields = Mapping[str, str | int | float | Mapping[str, str]]
"""The keys and values of a new station, in the order in which they are written."""

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
    block = ["[[stations]]", *(f"{key} = {toml_literal(value)}" for key, value in fields.items())]
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
