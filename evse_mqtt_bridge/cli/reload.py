"""The command `reload`: makes a running bridge read its configuration again, and reports the outcome."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option, url_option

__all__ = ["reload"]


@click.command()
@config_option
@url_option
def reload(config: Path | None, url: str | None) -> None:
    """Make the running bridge read its configuration again.

    The command finds the bridge at the address of [http], sends it SIGHUP, and waits for the outcome. Stations that did
    not change are not interrupted. If the new configuration is invalid, the command prints the errors, and the bridge
    keeps the current one. If the address itself has changed, use --url with the old one.

    Run it on the machine, or in the container, of the bridge, as its user or as root.

    \b
    Examples:
      evse-mqtt-bridge reload
      evse-mqtt-bridge reload --url http://127.0.0.1:9481
      docker exec evse-mqtt-bridge evse-mqtt-bridge reload

    Exit codes: 0 the bridge applied the configuration, 1 this user may not send signals to the bridge, or the bridge
    runs elsewhere, 69 no bridge answers, or it does not complete the reload, 78 the configuration is invalid.
    """
    from evse_mqtt_bridge.cli.actions.reload import reload_bridge  # noqa: PLC0415  # imported when the command runs

    reload_bridge(config, url)
