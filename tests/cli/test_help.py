"""Help pages fit a terminal of 80 columns."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from evse_mqtt_bridge.cli.main import cli


def _commands() -> Iterator[tuple[str, ...]]:
    """Yield the arguments that select each command, none for the group itself."""
    yield ()
    for name in cli.list_commands(click.Context(cli)):
        yield (name,)
        found = cli.get_command(click.Context(cli), name)
        if isinstance(found, click.Group):
            yield from ((name, inner) for inner in found.list_commands(click.Context(found)))


@pytest.mark.parametrize("command", list(_commands()), ids=" ".join)
def test_help_fits_80_columns(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*command, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if cell_len(line) > 80] == []
