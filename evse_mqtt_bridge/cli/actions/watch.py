"""Shows snapshots of a running bridge in a full-screen view that refreshes every second."""

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from evse_mqtt_bridge.cli.common.console import stdout_console
from evse_mqtt_bridge.cli.common.render import fit_height, heading, listing
from evse_mqtt_bridge.cli.common.status_client import StatusClient, running_bridge_address, select_stations
from evse_mqtt_bridge.observability.snapshot import Snapshot
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["frame", "watch_status"]

_REFRESH = 1.0  # seconds
_MAX_LOAD = 0.1
"""Maximum share of the time for fetching: large snapshots cost the bridge CPU time, so fetch them less often."""
_QUIT_HINT = "Ctrl-C to quit"


def watch_status(names: tuple[str, ...], config: Path | None, url: str | None) -> None:
    """Show the stations of these names, or all, until SIGINT or SIGTERM.

    Raises:
        click.ClickException: Stdout is not a terminal.
        click.BadParameter: A name matches no station.
        UnavailableError: The status page is disabled.
        ConfigError: The configuration is invalid.
    """
    console = stdout_console()
    if not console.is_terminal or console.is_dumb_terminal:
        raise click.ClickException("stdout is not a terminal; use `evse-mqtt-bridge status`, which prints once")
    address = running_bridge_address(config, url)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM restores the terminal, too
    try:
        with StatusClient(address) as client, Live(console=console, screen=True, auto_refresh=False) as live:
            _watch(client, names, console, lambda lines: live.update(Group(*lines), refresh=True))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, previous)


def frame(snapshot: Snapshot, shown: Snapshot, width: int, height: int, error: str = "") -> list[Text]:
    """Return the lines of one view.

    Args:
        snapshot: The whole bridge, for the heading.
        shown: The stations to list.
        width: Width of the window, in cells.
        height: Height of the window, in lines.
        error: Why the snapshot is outdated; empty: it is current.
    """
    head = [line.text for line in heading(snapshot)]
    if error:
        head.insert(0, Text(error, style="bold red"))
    foot = Text(f"{snapshot.at:%H:%M:%S} UTC, {_QUIT_HINT}", style="dim")
    rows = fit_height(listing(shown, width, worst_first=True), height - len(head) - 2)
    body = [*head, Text(), *(line.text for line in rows)]
    lines = [*body[: height - 1], foot]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _watch(
    client: StatusClient, names: tuple[str, ...], console: Console, show: Callable[[list[Text]], None]
) -> NoReturn:
    snapshot: Snapshot | None = None
    selected: frozenset[str] | None = None
    fetched_at = 0.0
    while True:
        started_at = time.monotonic()
        pause, error_line = _REFRESH, ""
        try:
            _, snapshot = client.fetch()
        except UnavailableError as error:
            age = f"last update {format_duration(started_at - fetched_at)} ago: " if snapshot else ""
            error_line = f"{age}{error}; retrying"
        else:
            fetched_at = time.monotonic()
            pause = max(_REFRESH, (fetched_at - started_at) / _MAX_LOAD)
            if selected is None:  # by uuid, so that a renamed station stays in view
                selected = frozenset(station.uuid for station in select_stations(snapshot, names).stations)
        if snapshot is None:
            show([Text(error_line, style="bold red"), Text(_QUIT_HINT, style="dim")])
        else:
            shown = _only(snapshot, selected) if names else snapshot
            show(frame(snapshot, shown, console.width, console.height, error_line))
        time.sleep(pause)


def _only(snapshot: Snapshot, uuids: frozenset[str] | None) -> Snapshot:
    """Return the snapshot with only the stations of these uuids that still exist; unchanged for `None`."""
    if uuids is None:
        return snapshot
    return replace(snapshot, stations=tuple(station for station in snapshot.stations if station.uuid in uuids))
