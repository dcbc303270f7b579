"""Publishes EV charging stations of the CLEMAP cloud as retained MQTT topics."""

from functools import cache

__version__: str
"""Version of the installed package, read on first use: the import of importlib.metadata takes as long as `--help`."""


@cache
def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415  # see above

    return version("evse-mqtt-bridge")
