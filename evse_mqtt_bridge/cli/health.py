"""The command `health`: reports whether the bridge is healthy, for health checks of containers and monitoring."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["health"]


@click.command()
@config_option
def health(config: Path | None) -> None:
    """Report whether the bridge is healthy.

    Use it for health checks of containers and monitoring. If [http] is enabled, the command requests /healthz from
    the bridge. If nothing listens there, or another bridge does, it reads the bridge's retained availability from the
    broker.

    Exit codes: 0 the bridge is healthy, or its availability is `online`; 69 it is not, another program listens on its
    port, or neither the bridge nor the broker answers; 78 the file cannot be read or is not TOML, or a setting that
    this command needs is invalid, and no bridge answers.

    \b
    Example:
      evse-mqtt-bridge health --config /etc/evse-mqtt-bridge/config.toml
    """
    from evse_mqtt_bridge.cli.actions.health import bridge_health  # noqa: PLC0415  # imported when the command runs

    click.echo(bridge_health(config))
