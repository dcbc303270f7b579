"""The configuration reference, made from the schema: the tables in docs/configuration.md, and config.toml.example.

    python -m scripts.configuration_reference

writes both anew, when it is run in the folder of the project.
"""

from pathlib import Path

from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, variable_name
from evse_mqtt_bridge.config.template import header_and_purpose, render_template, sections, toml_literal

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


def tables() -> str:
    """A heading and a table of keys for each table of the file, as Markdown."""
    return "\n".join(_table(header, keys) for header, keys in sections())


def refreshed(page: str) -> str:
    """`page` with what stands between the two marks made anew."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{tables()}\n{_END}{after}"


def example() -> str:
    """A configuration file with every setting, explained, in which only what has no default is set."""
    return render_template(_EXAMPLE_HEAD, {"mqtt": {"host": "localhost"}})


def _table(header: Setting, keys: list[Setting]) -> str:
    written, words = header_and_purpose(header)
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
    default = "**required**" if key.required else "none" if key.default is None else f"`{toml_literal(key.default)}`"
    cells = (f"`{key.path[-1]}`", key.expected, default, key.description, f"`{variable_name(path)}`")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(refreshed(DOCUMENT.read_text()))
    EXAMPLE.write_text(example())
