"""The command `purge`: clears retained topics that no configuration needs any more."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["purge"]


@click.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="Select every topic of this bridge, to decommission it.")
@click.option("--yes", is_flag=True, help="Clear the topics instead of only listing them.")
def purge(config: Path | None, *, everything: bool, yes: bool) -> None:
    """List retained topics that are no longer in the configuration. With --yes, clear them.

    A running bridge clears the topics of removed stations by itself, including those removed while it was stopped. Use
    this command for the other topics: those that a bridge with another client_id left under the same base topic, and
    those that the broker did not allow the bridge to clear. Topics that the bridge did not publish are never touched.

    With --all, the command selects every topic that the bridge published, including the topics of configured
    stations and its own device in Home Assistant. Stop the bridge first: while it is online, nothing is cleared.

    \b
    Examples:
      evse-mqtt-bridge purge
      evse-mqtt-bridge purge --yes
      evse-mqtt-bridge purge --all --yes

    Exit codes: 0 success, 1 the bridge is online, 69 the broker does not answer or allow it, 78 the configuration is
    invalid.
    """
    from evse_mqtt_bridge.cli.actions.purge import purge_topics  # noqa: PLC0415  # imported when the command runs

    purge_topics(config, everything=everything, confirmed=yes)
