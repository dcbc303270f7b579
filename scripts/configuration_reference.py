"""Generates config.toml.example, and the tables in docs/configuration.md, from the schema.

    python -m scripts.configuration_reference

Run it in the project's directory.
"""

from pathlib import Path

from evse_mqtt_bridge.config.schema_index import EACH, KeyPath, Setting, variable_name
from evse_mqtt_bridge.config.template import header_and_purpose, render_template, sections, toml_literal
from scripts.generated_section import replace_section

__all__ = ["DOCUMENT", "EXAMPLE", "example", "refreshed", "tables"]

DOCUMENT = Path("docs/configuration.md")
EXAMPLE = Path("config.toml.example")

_BEGIN = "<!-- generated from the schema: begin -->\n"
_END = "<!-- generated from the schema: end -->\n"

_EXAMPLE_HEAD = """\
# Example configuration of evse-mqtt-bridge with every setting. Copy it to config.toml and edit it. A line that starts
# with # and no space is a setting at its default, or an example if there is no default.
#
# Check your changes with `evse-mqtt-bridge check`. Environment variables override this file; their names are
# EVSE_MQTT_BRIDGE__, the table, two underscores and the key:
# EVSE_MQTT_BRIDGE__MQTT__HOST=broker.example.com
#
# File paths are relative to the directory of this file.
"""


def tables() -> str:
    """Return a heading and a list of keys for each table of the file, as Markdown."""
    return "\n".join(_table(section, keys) for section, keys in sections())


def refreshed(page: str) -> str:
    """Return `page` with new tables between the two marks.

    Raises:
        ValueError: A mark is missing.
    """
    return replace_section(page, _BEGIN, _END, f"\n{tables()}\n")


def example() -> str:
    """Return a configuration file that explains every setting, and sets only the required one."""
    return render_template(_EXAMPLE_HEAD, {"mqtt": {"host": "localhost"}})


def _table(section: Setting, keys: list[Setting]) -> str:
    header, purpose = header_and_purpose(section)
    return "\n".join(
        [
            f"### `{header}`",
            "",
            purpose[0].upper() + purpose[1:],
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
