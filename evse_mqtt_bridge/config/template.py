"""A configuration file with every setting explained: some set, the rest as comments at their default."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import tomlkit

from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, format_path, setting_at, settings

__all__ = ["header_and_purpose", "render_template", "sections", "toml_literal"]

_EXAMPLES: Mapping[str, object] = {
    "mqtt.host": "localhost",
    "mqtt.port": 1883,
    "mqtt.username": "bridge",
    "mqtt.password": "change-me",
    "mqtt.password_file": "mqtt.password",
    "mqtt.tls.ca_file": "ca.pem",
    "mqtt.tls.cert_file": "bridge.pem",
    "mqtt.tls.key_file": "bridge.key",
    "cloud.ca_file": "cloud-ca.pem",
    "stations[].edge_device_id": "1234",
    "stations[].uuid": "25104c56d7f848af830af4300193efb3",
    "stations[].token": "change-me",
    "stations[].token_file": "garage-north.token",
    "stations[].name": "Garage north",
    "stations[].alias": "garage-north",
    "stations[].plugs": {"c99838f9eb5b423d98f8ba33389a255c": "left"},
    "stations[].interval": 10,
}


def render_template(head: str, tables: Mapping[str, Any]) -> str:
    """A file that begins with `head` (comments) and means `tables`: what `tomllib` reads from it.

    Each table of the schema stands there once with its keys, one that is not in `tables` as a comment; the stations of
    `tables` follow the explanation of their keys. `tables` has to be a configuration.
    """
    parts = [head]
    for header, keys in sections():
        is_array = header.path[-1] == EACH
        given = None if is_array else _table(tables, header.path)
        parts.append(_explained(header, keys, given))
        if is_array:
            parts += [_block(header_and_purpose(header)[0], element) for element in tables.get(str(header.path[0]), ())]
    return "\n".join(parts)


def sections() -> Iterator[tuple[Setting, list[Setting]]]:
    """Each table of the file with its own keys."""
    leaves = (setting for setting in settings() if setting.section is None and setting.path[-1] != EACH)
    for path, keys in groupby(leaves, key=lambda setting: setting.path[:-1]):
        header = setting_at(path)
        if header is not None:
            yield header, list(keys)


def header_and_purpose(header: Setting) -> tuple[str, str]:
    """How a table's header is written, and what it is for: both stand in the docstring of its class."""
    written, _, words = str(header.section.__doc__).partition(": ")
    return written.strip("`"), words


def toml_literal(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{key} = {toml_literal(inner)}" for key, inner in value.items()) + " }" if value else "{}"
        )
    return tomlkit.item(value).as_string()


def _table(tables: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any] | None:
    """The table at `path`; `None` where there is none."""
    found: Any = tables
    for part in path:
        found = found.get(part)
        if found is None:
            return None
    return dict(found)


def _explained(header: Setting, keys: Sequence[Setting], given: Mapping[str, Any] | None) -> str:
    """A table with all its keys; a comment as a whole where its mere presence would mean something."""
    written, words = header_and_purpose(header)
    is_there = given is not None or header.default is not None
    lines = [*_comment(words), f"{'' if is_there else '#'}{written}", ""]
    for key in keys:
        name = str(key.path[-1])
        mark, value = "#", _EXAMPLES.get(format_path(key.path), key.default)
        if given is not None and name in given:
            mark, value = "", given[name]
        lines += [
            *_comment(key.description),
            *_comment(f"Value: {key.expected}."),
            f"{mark}{name} = {toml_literal(value)}",
            "",
        ]
    return "\n".join(lines)


def _block(written: str, element: Mapping[str, object]) -> str:
    return "\n".join([written, *(f"{key} = {toml_literal(value)}" for key, value in element.items()), ""])


def _comment(words: str) -> list[str]:
    return textwrap.wrap(words[0].upper() + words[1:], 110, initial_indent="# ", subsequent_indent="# ")
