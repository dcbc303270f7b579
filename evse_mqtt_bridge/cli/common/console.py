"""The console of commands that style their output."""

import os
import sys

from rich.console import Console

from evse_mqtt_bridge.support.colours import wants_colours

__all__ = ["stdout_console"]


def stdout_console() -> Console:
    """Return a console for stdout, with colours as the environment wants them.

    Only a real terminal is one, because FORCE_COLOR asks for colours, not for a full-screen view in a pipe. Without
    colours there are no other styles either.
    """
    is_terminal = sys.stdout.isatty()
    colours = wants_colours(sys.stdout, os.environ)
    can_detect = is_terminal and os.environ.get("TERM") != "dumb"
    return Console(
        highlight=False,
        force_terminal=is_terminal,
        color_system=("auto" if can_detect else "standard") if colours else None,
        no_color=not colours,
    )
