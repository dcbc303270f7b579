"""`watch`: the picture of a running bridge, live."""

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

from evse_mqtt_bridge.cli.common.options import config_option
from evse_mqtt_bridge.cli.common.render import heading, listing, window
from evse_mqtt_bridge.cli.common.status_client import Viewer, only_stations, url_option, where
from evse_mqtt_bridge.observability.snapshot import Snapshot
from evse_mqtt_bridge.support.durations import format_duration
from evse_mqtt_bridge.support.errors import UnavailableError

__all__ = ["frame", "watch"]

_REDRAW = 1.0  # seconds
_SHARE = 0.1
"""Of the time, how much looking may take: the bridge makes each picture, and has better things to do."""


@click.command()
@click.argument("stations", metavar="[STATION]...", nargs=-1)
@config_option
@url_option
def watch(*, stations: tuple[str, ...], config: Path | None, url: str | None) -> None:
    """Show what a running bridge knows, live, until Ctrl-C.

    The same as `status`, made to fit the window: what is unavailable comes first, then what has a problem, then what
    charges. A bridge that cannot be reached is tried on, and what it showed last stays.

    \b
    Examples:
      evse-mqtt-bridge watch
      evse-mqtt-bridge watch "Garage north" "Garage south"
      evse-mqtt-bridge watch --url http://192.0.2.10:9480

    Exit codes: 0 ended with Ctrl-C, 1 this is no terminal, 2 no such station, 69 the configuration says that nothing
    is shown, 78 the configuration is wrong.
    """
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        raise click.ClickException("this is no terminal; `evse-mqtt-bridge status` prints the same once")
    address = where(config, url)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it, too, leaves the terminal as it was
    try:
        with Viewer(address) as viewer, Live(console=console, screen=True, auto_refresh=False) as live:
            _watch(viewer, stations, console, lambda lines: live.update(Group(*lines), refresh=True))
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def frame(picture: Snapshot, shown: Snapshot, width: int, height: int, trouble: str = "") -> list[Text]:
    """A window full: the whole bridge in short, what is `shown` of it, and at the top the `trouble`, if any."""
    head = [line.text for line in heading(picture)]
    if trouble:
        head.insert(0, Text(trouble, style="bold red"))
    foot = Text(f"{picture.at:%H:%M:%S} UTC, Ctrl-C ends it", style="dim")
    rows = window(listing(shown, width, worst_first=True), height - len(head) - 2)
    body = [*head, Text(), *(line.text for line in rows)]
    lines = [*body[: height - 1], foot]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _watch(viewer: Viewer, names: tuple[str, ...], console: Console, show: Callable[[list[Text]], None]) -> NoReturn:
    picture: Snapshot | None = None
    wanted: frozenset[str] | None = None
    seen = 0.0
    while True:
        began = time.monotonic()
        pause, trouble = _REDRAW, ""
        try:
            _, picture = viewer.look()
        except UnavailableError as error:
            old = f"this is from {format_duration(began - seen)} ago: " if picture else ""
            trouble = f"{old}{error}; trying on"
        else:
            seen = time.monotonic()
            pause = max(_REDRAW, (seen - began) / _SHARE)
            if wanted is None:  # those of the names, whatever they are called later
                wanted = frozenset(station.uuid for station in only_stations(picture, names).stations)
        if picture is None:
            show([Text(trouble, style="bold red"), Text("Ctrl-C ends it", style="dim")])
        else:
            show(frame(picture, _only(picture, wanted, names), console.width, console.height, trouble))
        time.sleep(pause)


def _only(picture: Snapshot, wanted: frozenset[str] | None, names: tuple[str, ...]) -> Snapshot:
    """The stations that were named, as far as they are still there; without names, all."""
    if not names or wanted is None:
        return picture
    return replace(picture, stations=tuple(station for station in picture.stations if station.uuid in wanted))
