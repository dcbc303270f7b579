"""Entry point of `python -m evse_mqtt_bridge` and of the `evse-mqtt-bridge` script."""

import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evse_mqtt_bridge.support.signals import SignalHandler

__all__ = ["main"]

_GC_THRESHOLD = 20_000
"""Net new objects between two runs of the cyclic garbage collector.

A start creates many objects that stay, and a poll many that form no cycles. At Python's default of 700, collection took
a twentieth of the CPU time of a start, and a tenth of all CPU time with 5,000 stations, where it blocked the event loop
for up to 0.1 s.
"""


def main() -> None:
    """Run the command line. The process exits with the exit code of the command."""
    gc.set_threshold(_GC_THRESHOLD, 10, 10)
    signals = _handle_signals() if sys.argv[1:2] == ["run"] else None  # other commands end at a signal
    _open_standard_streams()
    from evse_mqtt_bridge.cli.main import cli  # noqa: PLC0415  # imports take most of the start; signals come before

    cli(prog_name="evse-mqtt-bridge", obj=signals)


def _handle_signals() -> "SignalHandler":
    from evse_mqtt_bridge.support.signals import SignalHandler  # noqa: PLC0415  # only `run` needs it

    return SignalHandler()


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that the parent process closed.

    Otherwise the next file or socket would get the descriptor of that stream, and output would end up there.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            stream = open(descriptor, mode, encoding="utf-8")  # noqa: SIM115, PTH123  # open until the process ends
            setattr(sys, name, stream)


if __name__ == "__main__":
    main()
