"""The commands `fleet`: show the members of a fleet and their shards, and drain a member."""

from pathlib import Path

import click

from evse_mqtt_bridge.cli.common.options import config_option

__all__ = ["fleet"]


@click.group()
def fleet() -> None:
    """Show the members of a fleet, and drain one.

    The commands connect to the engine that [fleet] names, so they run on any machine that has the configuration.
    """


@fleet.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(config: Path | None, *, as_json: bool) -> None:
    """Show the members that are alive, the shards that each of them holds, and what is wrong.

    \b
    Examples:
      evse-mqtt-bridge fleet status
      evse-mqtt-bridge fleet status --json | jq '.free'

    Exit codes: 0 a member holds each shard, 1 a shard is free, 2 the configuration has no engine, 69 the engine does
    not answer, 78 the configuration is invalid.
    """
    from evse_mqtt_bridge.cli.actions.fleet import show_fleet  # noqa: PLC0415  # imported when the command runs

    if not show_fleet(config, as_json=as_json):
        raise SystemExit(1)


@fleet.command()
@config_option
@click.argument("member", required=False)
@click.option("--undo", is_flag=True, help="Let the member have shards again.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    help="Seconds to wait for the other members.",
)
def drain(config: Path | None, member: str | None, *, undo: bool, timeout: int) -> None:
    """Let a member hand over all its shards, and wait until it has none. It gets none until it restarts.

    Without MEMBER, it is the one that this configuration, or this host, names. Stopping a member hands over its shards,
    too; drain it first to see that the others can run them.

    \b
    Examples:
      evse-mqtt-bridge fleet drain bridge-1
      evse-mqtt-bridge fleet drain bridge-1 --undo

    Exit codes: 0 the member holds no shard, 1 it still holds some, or there is no such member, 2 the configuration has
    no engine, 69 the engine does not answer, 78 the configuration is invalid.
    """
    from evse_mqtt_bridge.cli.actions.fleet import drain_member  # noqa: PLC0415  # imported when the command runs

    drain_member(config, member, is_on=not undo, timeout=timeout)
