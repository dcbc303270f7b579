"""docs/commands.md lists every command and key, and shows the output of `status`."""

from pathlib import Path

import click
from pydantic import TypeAdapter

from evse_mqtt_bridge.cli.common.render import heading, listing
from evse_mqtt_bridge.cli.main import cli
from evse_mqtt_bridge.observability.fleet_snapshot import FleetMemberSnapshot, FleetSnapshot
from evse_mqtt_bridge.observability.snapshot import (
    BridgeSnapshot,
    BrokerSnapshot,
    Health,
    PlugSnapshot,
    Snapshot,
    StationSnapshot,
)
from tests.cli.snapshots import SITE, snapshot

_PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()


def test_docs_commands_explain_every_json_key() -> None:
    kinds = (
        Snapshot,
        FleetSnapshot,
        FleetMemberSnapshot,
        BridgeSnapshot,
        BrokerSnapshot,
        Health,
        StationSnapshot,
        PlugSnapshot,
    )
    for key in {key for kind in kinds for key in TypeAdapter(kind).json_schema()["properties"]}:
        assert f"`{key}`" in _PAGE, key


def test_docs_commands_show_the_rendered_example() -> None:
    health = Health(healthy=True, ready=True, messages=("1 of 4 stations unavailable: 1 unauthorized",))
    rendered = [line.text.plain for line in heading(snapshot(*SITE, health=health))] + [
        "",
        *(line.text.plain.rstrip() for line in listing(snapshot(*SITE), 80)),
    ]
    assert "\n```text\n" + "\n".join(rendered) + "\n```\n" in _PAGE


def test_docs_commands_list_every_command() -> None:
    assert isinstance(cli, click.Group)
    for name in cli.list_commands(click.Context(cli)):
        assert f"\n| `{name}` | " in _PAGE, name
