"""The command `check`: validates the configuration, and with `--online` tests the broker and each station."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["check"]


@click.command()
@config_option
@click.option(
    "--online", is_flag=True, help="Also connect to the broker and the engine of a fleet, and poll each station once."
)
def check(config: Path | None, *, online: bool) -> None:
    """Validate the configuration. With --online, test the broker, the engine of a fleet, and each station.

    \b
    Examples:
      evse-mqtt-bridge check
      evse-mqtt-bridge check --online --config /etc/evse-mqtt-bridge/config.toml

    Exit codes: 0 everything is fine, 78 the configuration is invalid, 69 the broker, the engine
    or a station failed the test.
    """
    from evse_mqtt_bridge.cli.actions.check import check_config  # noqa: PLC0415  # imported when the command runs

    check_config(config, online=online)
