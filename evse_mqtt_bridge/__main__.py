"""`python -m evse_mqtt_bridge` and the `evse-mqtt-bridge` script."""

import os
import sys

from evse_mqtt_bridge.cli.main import cli

__all__ = ["main"]


def main() -> None:
    """Run the command line; ends the process with the command's exit code."""
    _open_standard_streams()
    cli(prog_name="evse-mqtt-bridge")


def _open_standard_streams() -> None:
    """Where one was closed by who started this, nothing comes and nothing goes; no other file gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115, PTH123  # for the process's life


if __name__ == "__main__":
    main()
