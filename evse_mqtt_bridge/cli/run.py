"""The command `run`: runs the bridge."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from evse_mqtt_bridge.cli.common.options import config_option
from evse_mqtt_bridge.support.optional_imports import without

if TYPE_CHECKING:
    from evse_mqtt_bridge.support.signals import SignalHandler

__all__ = ["run"]


@click.command()
@config_option
@click.option("--watch", is_flag=True, help="Reload when a file of the configuration changes, including its secrets.")
@click.pass_obj
def run(signals: "SignalHandler", config: Path | None, *, watch: bool) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    On SIGHUP the bridge reloads the configuration. Stations that did not change are not interrupted. If the new
    configuration is invalid, the bridge logs the errors and keeps the current one.

    \b
    Examples:
      evse-mqtt-bridge run
      evse-mqtt-bridge run --config /etc/evse-mqtt-bridge/config.toml
      evse-mqtt-bridge run --watch
      EVSE_MQTT_BRIDGE__LOG__LEVEL=debug evse-mqtt-bridge run
    """
    # structlog and httpx import rich and httpx._main for output in a terminal, which takes 4 MB of memory. structlog
    # imports greenlet for loggers per greenlet, which takes 1 MB. shutil and zipfile import lzma and bz2 for archives,
    # which takes 0.4 MB.
    with without("rich", "httpx._main", "greenlet", "lzma", "bz2"):
        from evse_mqtt_bridge.cli.actions.run import run_bridge  # noqa: PLC0415  # imported when the command runs

    run_bridge(config, signals, is_watching=watch)
