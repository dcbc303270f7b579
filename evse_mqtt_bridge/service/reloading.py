"""Loads a changed configuration for a reload, and rejects one that is probably truncated."""

import asyncio
from collections.abc import Callable

from evse_mqtt_bridge.config.load import Loaded
from evse_mqtt_bridge.config.schema import Config
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.threads import in_daemon_thread

__all__ = ["load_in_time", "reject_truncated"]

_TIMEOUT = 30.0
"""Seconds to read the configuration and every file that it names."""

_TIMED_OUT = (
    f"the files of the configuration cannot be read within {_TIMEOUT:g} s; is a file on a network share that does not "
    "respond?"
)


async def load_in_time(load: Callable[[], Loaded]) -> Loaded:
    """Return the result of `load`, which runs in a thread: a file may be on a network share that hangs.

    Raises:
        ConfigError: The configuration is invalid, or cannot be read in time.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await in_daemon_thread(load, "load")
    except TimeoutError:
        raise ConfigError(Problem(_TIMED_OUT)) from None


def reject_truncated(old: Config, new: Config) -> None:
    """Reject a configuration without stations: a truncated file is often valid, and would clear every topic.

    Raises:
        ConfigError: The new configuration has no stations, but the old one has.
    """
    if old.stations and not new.stations:
        text = "none is left, as in a truncated file; restart the bridge if that is intended"
        raise ConfigError(Problem(text, key="stations"))
