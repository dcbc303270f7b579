"""The command group: what all commands share, and nothing of what they do."""

import io
import sys
from importlib import import_module
from typing import Any

import click

from evse_mqtt_bridge import __version__
from evse_mqtt_bridge.support.errors import BridgeError

__all__ = ["cli"]

_COMMANDS = ("init", "run", "check", "station", "status", "watch", "topics", "purge", "simulate", "demo", "health")
"""Each is the attribute of the same name in the module of the same name."""


class _Group(click.Group):
    """Imports a command when it is asked for, and shows errors that are meant for people as their text.

    The service then holds nothing in memory that only other commands need.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # as click declares it
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # same
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"evse_mqtt_bridge.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # same
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # where some letters cannot be written, the rest is
        try:
            return super().invoke(ctx)
        except BridgeError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="evse-mqtt-bridge")
def cli() -> None:
    """Publishes EV charging stations of the CLEMAP cloud as retained MQTT topics.

    \b
    First steps:
      evse-mqtt-bridge demo                          look at it, with nothing installed or configured
      evse-mqtt-bridge init                          ask for broker and stations, try them, write config.toml
      evse-mqtt-bridge check --online                try the broker and each station
      evse-mqtt-bridge run                           the bridge, until SIGTERM or Ctrl-C
      evse-mqtt-bridge status                        what it knows of each plug; `watch` shows it live

    Exit codes: 0 done, 1 failed, 2 unknown option, 69 a service that was asked for is not available,
    78 the configuration is wrong.
    """
