"""Runs the bridge with its counting of energy switched off: its meters wait, and `WaitingMeters.follow` is replaced."""

from evse_mqtt_bridge.__main__ import main
from evse_mqtt_bridge.domain.waiting_meters import WaitingMeters


def _count_nothing(*_: object) -> None:
    """Replace `WaitingMeters.follow`."""


if __name__ == "__main__":
    WaitingMeters.follow = _count_nothing  # type: ignore[method-assign,assignment]  # see the module
    main()
