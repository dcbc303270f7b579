"""Runs the bridge in this process: configuration, log and signals around the supervisor."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from evse_mqtt_bridge.cli.common.options import load_config
from evse_mqtt_bridge.cloud.transport import why_slow
from evse_mqtt_bridge.config.load import Loaded
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.observability.log_writer import LogWriter
from evse_mqtt_bridge.service import supervisor
from evse_mqtt_bridge.service.descriptors import raise_descriptor_limit
from evse_mqtt_bridge.service.systemd import ServiceNotifier
from evse_mqtt_bridge.support.errors import ConfigError, Problem
from evse_mqtt_bridge.support.signals import SignalHandler

if TYPE_CHECKING:
    from evse_mqtt_bridge.service.components.file_watch import FileWatch

__all__ = ["run_bridge"]


def run_bridge(config: Path | None, signals: SignalHandler, *, is_watching: bool = False) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Args:
        config: The configuration file, as named on the command line.
        signals: Receives the signals of this process.
        is_watching: Whether to reload when a file of the configuration changes.

    Raises:
        ConfigError: The configuration is invalid, or there is no library to watch files with.
    """
    raise_descriptor_limit()
    log_writer = LogWriter.replace_stderr()
    loaded = load_config(config)
    log = make_logger(loaded.config.log.level, loaded.config.log.format)
    for warning in loaded.warnings:
        log_event(log, LogEvent.CONFIGURATION_WARNING, detail=warning)
    if reason := why_slow(loaded.config.cloud):
        log_event(log, LogEvent.HTTP_LIBRARY_SLOW, detail=reason)

    async def main() -> None:
        controls = supervisor.Controls()
        file_watch = _file_watch(loaded, controls.reload.set) if is_watching else None

        def load() -> Loaded:
            return load_config(config)

        notifier = ServiceNotifier.from_environment(os.environ, os.getpid())
        with signals.forwarded(controls.stop.set, controls.reload.set):
            await supervisor.run(
                loaded.config,
                controls,
                log,
                file_watch.follow(load) if file_watch else load,
                notifier,
                log_writer=log_writer,
                file_watch=file_watch,
            )

    asyncio.run(main())


def _file_watch(loaded: Loaded, on_change: Callable[[], None]) -> "FileWatch":
    """Return what watches the files of the configuration.

    Raises:
        ConfigError: The library for it is missing.
    """
    try:
        from evse_mqtt_bridge.service.components.file_watch import FileWatch  # noqa: PLC0415  # an optional extra
    except ImportError:
        text = "--watch needs watchfiles; install it with: pip install 'evse-mqtt-bridge[watch]'"
        raise ConfigError(Problem(text)) from None
    return FileWatch(loaded, on_change)
