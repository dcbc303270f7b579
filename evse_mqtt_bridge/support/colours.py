"""Whether output has colours: the conventions of NO_COLOR (no-color.org), FORCE_COLOR (force-color.org) and TERM."""

from collections.abc import Mapping
from typing import TextIO

__all__ = ["colour_setting", "wants_colours"]


def colour_setting(environ: Mapping[str, str]) -> bool | None:
    """Return whether the environment turns colours on or off; `None`: a terminal has colours, other output has none.

    NO_COLOR takes precedence over FORCE_COLOR, and both over TERM, as in Python's own tracebacks since 3.13.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return False if environ.get("TERM") == "dumb" else None


def wants_colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether text that is written to `stream` has colours."""
    setting = colour_setting(environ)
    return stream.isatty() if setting is None else setting
