"""The command group `evse-mqtt-bridge`: imports its commands on demand, and reports their errors."""

import io
import os
import sys
from importlib import import_module
from typing import Any

import click

from evse_mqtt_bridge.support.colours import colour_setting
from evse_mqtt_bridge.support.errors import BridgeError
from evse_mqtt_bridge.support.optional_imports import without

__all__ = ["cli"]

_COMMANDS = (
    "init",
    "run",
    "check",
    "station",
    "reload",
    "fleet",
    "status",
    "watch",
    "sessions",
    "energy",
    "topics",
    "purge",
    "simulate",
    "demo",
    "health",
)
"""Names of the commands. Each is the attribute of the same name in the module of the same name."""


class _Group(click.Group):
    """A command group that imports commands on demand and reports every `BridgeError` as its text.

    Importing on demand keeps the modules of other commands out of the memory of a running bridge.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # signature of click
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # same
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"evse_mqtt_bridge.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # same
        ctx.color = colour_setting(os.environ)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(
                    errors="replace"
                )  # a character that the terminal cannot encode must not end a command
        try:
            with without("httpx._main"):  # httpx's own command line, a tenth of the start of most commands
                return super().invoke(ctx)
        except BridgeError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evse-mqtt-bridge", prog_name="evse-mqtt-bridge")
def cli() -> None:
    """Publish EV charging stations of the CLEMAP cloud as retained MQTT topics.

    \b
    First steps:
      evse-mqtt-bridge demo            try it with simulated stations
      evse-mqtt-bridge init            answer a few questions; writes config.toml
      evse-mqtt-bridge check --online  test the broker and each station
      evse-mqtt-bridge run             run the bridge until Ctrl-C
      evse-mqtt-bridge status          show stations and plugs; live: `watch`

    Exit codes: 0 success, 1 failure, 2 wrong usage, 69 a required service is unavailable, 78 the configuration is
    invalid.
    """
