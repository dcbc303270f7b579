"""The configuration reference, made from the schema: the tables in docs/configuration.md, and config.toml.example.

    python -m evse_mqtt_bridge.config.reference

writes both anew, when it is run in the folder of the project.
"""

import textwrap
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import tomlkit

from evse_mqtt_bridge.config.describe import EACH, KeyPath, Setting, setting_at, settings, shown, variable

__all__ = ["DOCUMENT", "EXAMPLE", "example", "refreshed", "tables"]

DOCUMENT = Path("docs/configuration.md")
EXAMPLE = Path("config.toml.example")

_BEGIN = "<!-- made from the schema: begin -->\n"
_END = "<!-- made from the schema: end -->\n"

_EXAMPLE_HEAD = """\
# The configuration of evse-mqtt-bridge, with every setting. Copy it to config.toml and change what is different
# with you: a line that begins with # and no space is a setting at its default, or an example of one that has none.
#
# Everything is checked when the bridge starts, and by `evse-mqtt-bridge check`. Each setting can also come from the
# environment, as EVSE_MQTT_BRIDGE__ with the table and the key, and wins there:
# EVSE_MQTT_BRIDGE__MQTT__HOST=broker.example.com
#
# Names of files are relative to the folder of this file.
"""

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


def tables() -> str:
    """A heading and a table of keys for each table of the file, as Markdown."""
    return "\n".join(_table(header, keys) for header, keys in _sections())


def refreshed(document: str) -> str:
    """`document` with what stands between the two marks made anew."""
    before, _, rest = document.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


def example() -> str:
    """A configuration file with every setting, explained, in which only what has no default is set."""
    return "\n".join([_EXAMPLE_HEAD, *(_example_table(header, keys) for header, keys in _sections())])


def _sections() -> Iterator[tuple[Setting, list[Setting]]]:
    """Each table of the file with its own keys."""
    leaves = (setting for setting in settings() if setting.section is None and setting.path[-1] != EACH)
    for path, keys in groupby(leaves, key=lambda setting: setting.path[:-1]):
        header = setting_at(path)
        if header is not None:
            yield header, list(keys)


def _about(header: Setting) -> tuple[str, str]:
    """How a table's header is written, and what it is for: both stand in the docstring of its class."""
    written, _, words = str(header.section.__doc__).partition(": ")
    return written.strip("`"), words


def _table(header: Setting, keys: list[Setting]) -> str:
    written, words = _about(header)
    return "\n".join(
        [
            f"### `{written}`",
            "",
            words[0].upper() + words[1:],
            "",
            "| key | value | default | meaning | environment variable |",
            "| --- | --- | --- | --- | --- |",
            *(_row(key) for key in keys),
            "",
        ]
    )


def _row(key: Setting) -> str:
    path: KeyPath = tuple(0 if part == EACH else part for part in key.path)
    default = "**required**" if key.required else "none" if key.default is None else f"`{_literal(key.default)}`"
    cells = (f"`{key.path[-1]}`", key.expected, default, key.description, f"`{variable(path)}`")
    return f"| {' | '.join(cells)} |"


def _example_table(header: Setting, keys: list[Setting]) -> str:
    written, words = _about(header)
    # a table that means something by its mere presence stays a comment, as do its keys
    mark = "#" if header.default is None and not header.required else ""
    lines = [*_comment(words), f"{mark}{written}", ""]
    for key in keys:
        value = _EXAMPLES.get(shown(key.path), key.default)
        sets = key.required and not mark
        lines += [*_comment(key.description), *_comment(f"Value: {key.expected}.")]
        lines += [f"{'' if sets else '#'}{key.path[-1]} = {_literal(value)}", ""]
    return "\n".join(lines)


def _comment(words: str) -> list[str]:
    return textwrap.wrap(words[0].upper() + words[1:], 110, initial_indent="# ", subsequent_indent="# ")


def _literal(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_literal(inner)}" for key, inner in value.items()) + " }" if value else "{}"
    return tomlkit.item(value).as_string()


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
    EXAMPLE.write_text(example())
