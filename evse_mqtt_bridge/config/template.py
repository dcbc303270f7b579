"""Renders a configuration file that explains every setting; settings without a value are comments."""

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
    "mqtt.websocket_headers": {"Authorization": "Bearer change-me"},
    "mqtt.tls.ca_file": "ca.pem",
    "mqtt.tls.cert_file": "bridge.pem",
    "mqtt.tls.key_file": "bridge.key",
    "mqtt.tls.server_name": "broker.example.com",
    "fleet.engine": "etcd",
    "fleet.endpoints": ["https://192.0.2.11:2379", "https://192.0.2.12:2379"],
    "fleet.member": "bridge-1",
    "fleet.name": "evse",
    "fleet.share": "0-7",
    "fleet.namespace": "evse",
    "fleet.username": "bridge",
    "fleet.password": "change-me",
    "fleet.password_file": "fleet.password",
    "fleet.tls.ca_file": "etcd-ca.pem",
    "fleet.tls.cert_file": "etcd.pem",
    "fleet.tls.key_file": "etcd.key",
    "cloud.ca_file": "cloud-ca.pem",
    "http.public_url": "https://evse.example.com",
    "history.url": "postgresql+psycopg://bridge@localhost/evse",
    "history.password": "change-me",
    "history.password_file": "history.password",
    "history.time_zone": "Europe/Berlin",
    "stations[].edge_device_id": "1234",
    "stations[].uuid": "25104c56d7f848af830af4300193efb3",
    "stations[].token": "change-me",
    "stations[].token_file": "garage-north.token",
    "stations[].name": "Garage north",
    "stations[].alias": "garage-north",
    "stations[].plugs": {"c99838f9eb5b423d98f8ba33389a255c": "left"},
    "stations[].plug_names": {"c99838f9eb5b423d98f8ba33389a255c": "Left bay"},
    "stations[].interval": 10,
}


def render_template(head: str, tables: Mapping[str, Any]) -> str:
    """Return a configuration file with the values of `tables`.

    The file lists every key of the schema once, as a comment if it has no value. The stations follow the explanation
    of their keys.

    Args:
        head: Comments for the top of the file.
        tables: A valid configuration, as `tomllib` would return it.
    """
    parts = [head]
    for section, keys in sections():
        is_array = section.path[-1] == EACH
        values = None if is_array else _table(tables, section.path)
        parts.append(_render_section(section, keys, values))
        if is_array:
            header, _ = header_and_purpose(section)
            parts += [_render_element(header, element) for element in tables.get(str(section.path[0]), ())]
    return "\n".join(parts)


def sections() -> Iterator[tuple[Setting, list[Setting]]]:
    """Yield each table of the file with its own keys."""
    leaves = (setting for setting in settings() if setting.section is None and setting.path[-1] != EACH)
    for path, keys in groupby(leaves, key=lambda setting: setting.path[:-1]):
        section = setting_at(path)
        if section is not None:
            yield section, list(keys)


def header_and_purpose(section: Setting) -> tuple[str, str]:
    """Return the header of a table as written in TOML, and its purpose, both from the docstring of its class."""
    header, _, purpose = str(section.section.__doc__).partition(": ")
    return header.strip("`"), purpose


def toml_literal(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{tomlkit.key(key).as_string()} = {toml_literal(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}" if value else "{}"
    return tomlkit.item(value).as_string()


def _table(tables: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any] | None:
    """Return the table at `path`, or `None`."""
    table: Any = tables
    for part in path:
        table = table.get(part)
        if table is None:
            return None
    return dict(table)


def _render_section(section: Setting, keys: Sequence[Setting], values: Mapping[str, Any] | None) -> str:
    """Return a table with all its keys. The header is a comment if an empty table would differ from no table.

    Args:
        section: The table.
        keys: The keys of the table.
        values: The values of the keys; `None` if the configuration does not contain the table.
    """
    header, purpose = header_and_purpose(section)
    is_present = values is not None or section.default is not None
    lines = [*_comment(purpose), f"{'' if is_present else '#'}{header}", ""]
    for key in keys:
        name = str(key.path[-1])
        prefix, value = "#", _EXAMPLES.get(format_path(key.path), key.default)
        if values is not None and name in values:
            prefix, value = "", values[name]
        lines += [
            *_comment(key.description),
            *_comment(f"Value: {key.expected}."),
            f"{prefix}{name} = {toml_literal(value)}",
            "",
        ]
    return "\n".join(lines)


def _render_element(header: str, values: Mapping[str, object]) -> str:
    """Return a table of an array, without explanations."""
    return "\n".join([header, *(f"{key} = {toml_literal(value)}" for key, value in values.items()), ""])


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text[0].upper() + text[1:], 110, initial_indent="# ", subsequent_indent="# ")
