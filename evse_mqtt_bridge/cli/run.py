"""`run`: the bridge itself."""

import asyncio
import gc
import os
from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, load_config
from evse_mqtt_bridge.observability.log import make_logger
from evse_mqtt_bridge.observability.log_events import LogEvent, log_event
from evse_mqtt_bridge.service import supervisor as app
from evse_mqtt_bridge.service.systemd import ServiceNotifier

__all__ = ["run"]

_COLLECT_AFTER = 20_000
"""New objects between two searches for cycles. A poll makes many, of which the states stay and none are in a cycle: at
Python's 700 the searches took a tenth of all CPU with 5,000 stations, and held the loop for up to 0.1 s."""


@click.command()
@config_option
def run(config: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    SIGHUP takes a changed file over; stations that stayed the same are not disturbed. A wrong file is refused and said
    in the log, and the bridge goes on with what it had.

    \b
    Examples:
      evse-mqtt-bridge run
      evse-mqtt-bridge run --config /etc/evse-mqtt-bridge/config.toml
      EVSE_MQTT_BRIDGE__LOG__LEVEL=debug evse-mqtt-bridge run
    """
    loaded = load_config(config)
    log = make_logger(loaded.config.log.level, loaded.config.log.format)
    for warning in loaded.warnings:
        log_event(log, LogEvent.CONFIGURATION_WARNING, detail=warning)

    async def main() -> None:
        controls = app.Controls()
        controls.on_signals()
        notifier = ServiceNotifier.from_environment(os.environ, os.getpid())
        await app.run(loaded.config, controls, log, lambda: load_config(config), notifier)

    gc.set_threshold(_COLLECT_AFTER, 10, 10)
    asyncio.run(main())
