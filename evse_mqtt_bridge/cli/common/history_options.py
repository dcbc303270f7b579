"""Options that the commands `sessions` and `energy` share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["history_options", "output_format"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--since", metavar="TIME", help="From this day, month or time on: 2026-03-25, 2026-03."),
    click.option("--until", metavar="TIME", help="Up to, and without, this day, month or time.  [default: now]"),
    click.option("--station", metavar="STATION", help="Only this station: its name, UUID or alias."),
    click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts."),
)


def history_options(command: _Command) -> _Command:
    """Add --since, --until, --station, --csv and --json."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def output_format(*, as_csv: bool, as_json: bool) -> str:
    """Return "csv", "json" or "text".

    Raises:
        click.UsageError: Both options are given.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    return "csv" if as_csv else "json" if as_json else "text"
